"""What is written of dead letters in Spanner; every change and its line in the audit log are one commit."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from google.cloud.spanner_v1 import COMMIT_TIMESTAMP, JsonObject, param_types

from shared.dead_letters import (
    KEPT,
    UNASSIGNED_TENANT,
    AuditEntry,
    DeadLetter,
    DeadLetterBody,
    KnownLetter,
    NewDeadLetter,
    is_news,
    letter_for,
)
from shared.errors import AlreadyThere, TenantBlocked
from shared.gateways.database import OpenDatabase, blind_commit, read_rows, transact
from shared.gateways.queries import query
from shared.gateways.vault import Vault

Statement = tuple[str, dict[str, Any], dict[str, Any]]

LETTER_KEY = {"tenant_id": param_types.STRING, "dead_letter_id": param_types.STRING}
_TENANT = {"tenant_id": param_types.STRING}
_STRINGS = param_types.Array(param_types.STRING)
PIPELINE_ACTOR = "pipeline"
"""Who closes a letter that nobody replayed: its call arrived by other ways."""


class LetterChanges:
    """Implements `shared.desk_ports.LetterRecords`."""

    def __init__(self, open_database: OpenDatabase, vault: Vault) -> None:
        self._open = open_database
        self._vault = vault

    def record(self, letter: NewDeadLetter) -> None:
        sealing = _Sealing(self._vault, letter.tenant_id)

        def work(transaction: Any) -> None:
            _record(transaction, letter, sealing)

        try:
            self._transact(work, what="record dead letter", tag="record")
        except AlreadyThere:
            # Two recorders at once: the other one's row is there now, and this failure belongs to it.
            self._transact(work, what="record dead letter", tag="record")

    def ensure_unassigned_tenant(self) -> None:
        with blind_commit(self._open, what="create the unassigned tenant") as batch:
            batch.insert_or_update(
                table="tenants",
                columns=("tenant_id", "name", "status", "config", "created_at", "updated_at"),
                values=[
                    (
                        UNASSIGNED_TENANT,
                        "what belongs to no single tenant",
                        "system",
                        JsonObject({}),
                        COMMIT_TIMESTAMP,
                        COMMIT_TIMESTAMP,
                    )
                ],
            )

    def knows(self, letter: NewDeadLetter) -> bool:
        """Whether this message was recorded, under its own id or for a letter that was re-run."""
        rows = read_rows(self._open, *_find(letter), what="look for a dead letter")
        return any(KnownLetter(*row).is_known for row in rows)

    def discard(self, letter: DeadLetter, reason: str, audit: AuditEntry, *, kept_until: datetime) -> bool:
        values = {"reason": (reason, param_types.STRING), "kept_until": (kept_until, param_types.TIMESTAMP)}
        return self._change(letter, "discard", values, audit)

    def restore(self, letter: DeadLetter, audit: AuditEntry, *, now: datetime, kept_until: datetime) -> bool:
        sql, params = query("tenants", "retention_of"), {"tenant_id": letter.tenant_id}
        rows = read_rows(self._open, sql, params, _TENANT, what="read the tenant's retention")
        until = min([kept_until, *(now + timedelta(days=days) for (days,) in rows)])
        values = {"now": (now, param_types.TIMESTAMP), "kept_until": (until, param_types.TIMESTAMP)}
        return self._change(letter, "restore", values, audit)

    def note(self, letter: DeadLetter, text: str, audit: AuditEntry) -> bool:
        return self._change(letter, "note", {"note": (text, param_types.STRING)}, audit)

    def insert_copy(self, body: DeadLetterBody, audit: AuditEntry) -> bool:
        sealing = _Sealing(self._vault, body.letter.tenant_id)

        def work(transaction: Any) -> bool:
            _insert_letter(transaction, _row_of_copy(body, sealing))
            write_audit(transaction, body.letter.tenant_id, audit)
            return True

        return self._unless_there(work)

    def replace_with_copy(self, copy: DeadLetterBody, audit: AuditEntry, *, kept_until: datetime) -> bool:
        letter = copy.letter
        sealing = _Sealing(self._vault, letter.tenant_id)
        replaced = replace(letter, dead_letter_id=letter.copy_of or "")
        values = {
            "reason": (f"replaced by {letter.dead_letter_id}", param_types.STRING),
            "kept_until": (kept_until, param_types.TIMESTAMP),
        }

        def work(transaction: Any) -> bool:
            if not execute(transaction, _letter_statement(replaced, "discard", values)):
                return False
            _insert_letter(transaction, _row_of_copy(copy, sealing))
            write_audit(transaction, letter.tenant_id, audit)
            return True

        return self._unless_there(work)

    def _unless_there(self, work: Callable[[Any], bool]) -> bool:
        try:
            inserted: bool = self._transact(work, what="insert a dead letter", tag="insert_letter")
        except AlreadyThere:
            return False
        return inserted

    def _change(self, letter: DeadLetter, name: str, values: dict[str, tuple[Any, Any]], audit: AuditEntry) -> bool:
        """Run the named change, and the audit only if it found its row: what was not done must not stand there."""

        def work(transaction: Any) -> bool:
            if not execute(transaction, _letter_statement(letter, name, values)):
                return False
            write_audit(transaction, letter.tenant_id, audit)
            return True

        changed: bool = self._transact(work, what=f"{name} a dead letter", tag=f"letter_{name}")
        return changed

    def _transact(self, work: Any, *, what: str, tag: str) -> Any:
        return transact(self._open, work, what=what, tag=tag)


# --- parts of transactions, also used by the replay jobs ----------------------------------------------


def execute(transaction: Any, statement: Statement) -> int:
    """Run one DML statement; the number of rows it changed."""
    sql, params, types = statement
    count: int = transaction.execute_update(sql, params=params, param_types=types)
    return count


def write_audit(transaction: Any, tenant_id: str, audit: AuditEntry) -> None:
    """One line of the audit log, buffered until the commit: it costs no round trip."""
    row = {
        "tenant_id": tenant_id,
        "audit_id": str(uuid4()),
        "actor": audit.actor[:200],
        "action": audit.action,
        "target": audit.target,
        "detail": JsonObject(dict(audit.detail)),
        "outcome": audit.outcome,
        "occurred_at": COMMIT_TIMESTAMP,
    }
    transaction.insert(table="audit_log", columns=tuple(row), values=[tuple(row.values())])


def _letter_statement(letter: DeadLetter, name: str, values: dict[str, tuple[Any, Any]]) -> Statement:
    params = {"tenant_id": letter.tenant_id, "dead_letter_id": letter.dead_letter_id}
    params |= {key: value for key, (value, _) in values.items()}
    return query("dead_letters", name), params, LETTER_KEY | {key: kind for key, (_, kind) in values.items()}


# --- recording ----------------------------------------------------------------------------------------


class _Sealing:
    """Seals what letters of one tenant hold: anybody's bytes, so the whole of it. The keys are loaded beforehand.

    Raises `InvalidEvent` when there is no such tenant.
    """

    def __init__(self, vault: Vault, tenant_id: str) -> None:
        self._vault = vault.of(tenant_id)
        self._is_shredded = False
        try:
            vault.ensure(tenant_id, actor=PIPELINE_ACTOR)
        except TenantBlocked as blocked:
            if blocked.code != "keyset_destroyed":
                raise
            self._is_shredded = True

    def __call__(self, call_id: str, dead_letter_id: str, event: str) -> str:
        """Empty for a tenant whose keys were destroyed: its data is to be gone, late messages included."""
        return "" if self._is_shredded else self._vault.seal(call_id, f"letter/{dead_letter_id}", event)


def _find(letter: NewDeadLetter) -> Statement:
    params = {
        "tenant_id": letter.tenant_id,
        "dead_letter_id": letter.dead_letter_id,
        "request_id": letter.request_id or None,
        "message_id": letter.message_id,
    }
    return query("dead_letters", "find_for_failure"), params, dict.fromkeys(params, param_types.STRING)


def _record(transaction: Any, letter: NewDeadLetter, sealing: _Sealing) -> None:
    sql, params, types = _find(letter)
    known = [KnownLetter(*row) for row in transaction.execute_sql(sql, params=params, param_types=types)]
    if any(one.is_known for one in known):
        return
    found = letter_for(letter, known)
    kept_until = datetime.now(UTC) + _kept_for(transaction, letter.tenant_id)
    if found is None:
        _insert_letter(transaction, {**_row_of_failure(letter, sealing), "kept_until": kept_until})
    elif is_news(letter, found):
        execute(transaction, _fail_again(letter, found, sealing, kept_until=kept_until))
        if found.state == "replaying":
            write_audit(transaction, letter.tenant_id, _replay_failed(letter, found))
    else:
        key = {"tenant_id": letter.tenant_id, "dead_letter_id": found.dead_letter_id}
        execute(transaction, (query("dead_letters", "count_again"), key, LETTER_KEY))
    _insert_failure(transaction, letter, found.dead_letter_id if found else letter.dead_letter_id)


def _kept_for(transaction: Any, tenant_id: str) -> timedelta:
    """A letter holds its call's event: no longer than the tenant keeps calls."""
    sql, params = query("tenants", "retention_of"), {"tenant_id": tenant_id}
    rows = transaction.execute_sql(sql, params=params, param_types=_TENANT)
    return min([KEPT, *(timedelta(days=days) for (days,) in rows)])


def _fail_again(letter: NewDeadLetter, found: KnownLetter, sealing: _Sealing, *, kept_until: datetime) -> Statement:
    params: dict[str, Any] = {
        "tenant_id": letter.tenant_id,
        "dead_letter_id": found.dead_letter_id,
        "stage": letter.stage,
        "reason": letter.reason,
        "detail": letter.detail,
        "fix": letter.fix,
        "topic": letter.topic,
        "event": sealing(letter.call_id, found.dead_letter_id, letter.event),
        "attributes": json.dumps(dict(letter.attributes)),
        "attempts": letter.attempts,
        "published_at": letter.published_at,
        "kept_until": kept_until,
    }
    types = dict.fromkeys(params, param_types.STRING) | {
        "attempts": param_types.INT64,
        "published_at": param_types.TIMESTAMP,
        "kept_until": param_types.TIMESTAMP,
    }
    return query("dead_letters", "fail_again"), params, types


def _replay_failed(letter: NewDeadLetter, found: KnownLetter) -> AuditEntry:
    detail = {"stage": letter.stage, "reason": letter.reason}
    actor = found.replayed_by or PIPELINE_ACTOR
    return AuditEntry(actor, "dead_letter.replay_ended", found.dead_letter_id, detail, outcome="failed")


def _row_of_failure(letter: NewDeadLetter, sealing: _Sealing) -> dict[str, Any]:
    return {
        "tenant_id": letter.tenant_id,
        "dead_letter_id": letter.dead_letter_id,
        "request_id": letter.request_id,
        "current_request_id": letter.request_id or None,
        "call_id": letter.call_id,
        "stage": letter.stage,
        "state": "open",
        "reason": letter.reason,
        "detail": letter.detail,
        "fix": letter.fix,
        "attempts": letter.attempts,
        "occurrences": 1,
        "replays": 0,
        "topic": letter.topic,
        "event": sealing(letter.call_id, letter.dead_letter_id, letter.event),
        "attributes": JsonObject(dict(letter.attributes)),
        "failed_at": letter.published_at,
    }


def _row_of_copy(body: DeadLetterBody, sealing: _Sealing) -> dict[str, Any]:
    letter = body.letter
    return {
        "tenant_id": letter.tenant_id,
        "dead_letter_id": letter.dead_letter_id,
        "request_id": letter.request_id,
        "current_request_id": letter.current_request_id or None,
        "call_id": letter.call_id,
        "stage": letter.stage,
        "state": letter.state,
        "reason": letter.reason,
        "detail": letter.detail,
        "fix": letter.fix,
        "attempts": letter.attempts,
        "occurrences": letter.occurrences,
        "replays": letter.replays,
        "topic": body.topic,
        "event": sealing(letter.call_id, letter.dead_letter_id, body.event),
        "attributes": JsonObject(dict(body.attributes)),
        "failed_at": letter.failed_at,
        "replayed_at": letter.replayed_at,
        "replayed_by": letter.replayed_by,
        "closed_at": letter.closed_at,
        "note": letter.note,
        "discard_reason": letter.discard_reason,
        "copy_of": letter.copy_of,
        "kept_until": letter.kept_until or datetime.now(UTC) + KEPT,
        "created_at": COMMIT_TIMESTAMP if letter.copy_of else letter.created_at,
    }


def _insert_letter(transaction: Any, row: dict[str, Any]) -> None:
    full = {"created_at": COMMIT_TIMESTAMP, **row, "updated_at": COMMIT_TIMESTAMP}
    transaction.insert(table="dead_letters", columns=tuple(full), values=[tuple(full.values())])


def _insert_failure(transaction: Any, letter: NewDeadLetter, dead_letter_id: str) -> None:
    row = {
        "tenant_id": letter.tenant_id,
        "dead_letter_id": dead_letter_id,
        "message_id": letter.message_id,
        "stage": letter.stage,
        "reason": letter.reason,
        "detail": letter.detail,
        "fix": letter.fix,
        "attempts": letter.attempts,
        "source": letter.source,
        "published_at": letter.published_at,
        "recorded_at": COMMIT_TIMESTAMP,
    }
    transaction.insert(table="dead_letter_failures", columns=tuple(row), values=[tuple(row.values())])
