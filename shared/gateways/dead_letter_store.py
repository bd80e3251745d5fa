"""Dead letters in Spanner: one row for each request and stage that was given up, however often it happens."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

from google.cloud.spanner_v1 import COMMIT_TIMESTAMP, JsonObject, param_types

from shared.dead_letters import UNASSIGNED_TENANT, AuditEntry, DeadLetter, DeadLetterBody, NewDeadLetter
from shared.errors import AlreadyThere
from shared.gateways.database import OpenDatabase, blind_commit, read_rows, transact, translated, update_rows
from shared.gateways.queries import query

Statement = tuple[str, dict[str, Any], dict[str, Any]]

_KEY_TYPES = {"tenant_id": param_types.STRING, "dead_letter_id": param_types.STRING}


class SpannerDeadLetters:
    """Implements `shared.dead_letters.DeadLetterStore`."""

    def __init__(self, open_database: OpenDatabase) -> None:
        self._open = open_database

    def record(self, letter: NewDeadLetter) -> None:
        """Insert, or count once more where the same request and stage was given up before."""
        try:
            self._insert(letter)
        except AlreadyThere:
            self._count_again(letter)

    def ensure_unassigned_tenant(self) -> None:
        """Create the owner of letters that belong to nobody; harmless when it is there."""
        with blind_commit(self._open, what="create the unassigned tenant") as batch:
            batch.insert_or_update(
                table="tenants",
                columns=("tenant_id", "name", "status", "config", "created_at", "updated_at"),
                values=[
                    (
                        UNASSIGNED_TENANT,
                        "dead letters that belong to nobody",
                        "system",
                        JsonObject({}),
                        COMMIT_TIMESTAMP,
                        COMMIT_TIMESTAMP,
                    )
                ],
            )

    def list_letters(self, tenant_id: str, *, limit: int) -> list[DeadLetter]:
        """Newest first."""
        params = {"tenant_id": tenant_id, "row_limit": limit}
        types = {"tenant_id": param_types.STRING, "row_limit": param_types.INT64}
        rows = read_rows(self._open, query("dead_letters", "list_letters"), params, types, what="list dead letters")
        return [DeadLetter(*row) for row in rows]

    def read(self, tenant_id: str, dead_letter_id: str) -> DeadLetterBody | None:
        params = {"tenant_id": tenant_id, "dead_letter_id": dead_letter_id}
        rows = read_rows(self._open, query("dead_letters", "read_letter"), params, _KEY_TYPES, what="read dead letter")
        if not rows:
            return None
        *fields, topic, event, attributes, note = rows[0]
        return DeadLetterBody(DeadLetter(*fields), topic, event, dict(attributes), note or "")

    def start_replay(self, letter: DeadLetter, audit: AuditEntry) -> bool:
        """Reopen the failed run and mark the letter, in one commit; False when somebody was faster."""
        key = {"tenant_id": letter.tenant_id, "dead_letter_id": letter.dead_letter_id}
        run_key = {"tenant_id": letter.tenant_id, "request_id": letter.request_id, "stage": letter.stage}
        run_types = dict.fromkeys(run_key, param_types.STRING)
        mark = (query("dead_letters", "start_replay"), key, _KEY_TYPES)
        also = [
            (query("runs", "reopen_run"), run_key, run_types),
            (query("runs", "reopen_request"), run_key, run_types),
            _audit_statement(letter.tenant_id, audit),
        ]
        return self._change(mark, also, what="start replay", tag="replay")

    def discard(self, letter: DeadLetter, reason: str, audit: AuditEntry) -> bool:
        """Give the letter up for good, with a reason; False when it is not open."""
        params = {"tenant_id": letter.tenant_id, "dead_letter_id": letter.dead_letter_id, "note": reason}
        types = {**_KEY_TYPES, "note": param_types.STRING}
        mark = (query("dead_letters", "discard"), params, types)
        also = [_audit_statement(letter.tenant_id, audit)]
        return self._change(mark, also, what="discard dead letter", tag="discard")

    def _change(self, mark: Statement, also: list[Statement], *, what: str, tag: str) -> bool:
        """Run `mark`, and the others only if it found its row: what was not done must not stand in the audit log."""

        def work(transaction: Any) -> bool:
            if not _execute(transaction, mark):
                return False
            for statement in also:
                _execute(transaction, statement)
            return True

        with translated(what):
            return transact(self._open(), work, tag=tag)

    def _insert(self, letter: NewDeadLetter) -> None:
        row = {
            "tenant_id": letter.tenant_id,
            "dead_letter_id": letter.dead_letter_id,
            "request_id": letter.request_id,
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
            "event": letter.event,
            "attributes": JsonObject(dict(letter.attributes)),
            "created_at": COMMIT_TIMESTAMP,
            "updated_at": COMMIT_TIMESTAMP,
        }
        with blind_commit(self._open, what="record dead letter") as batch:
            batch.insert(table="dead_letters", columns=tuple(row), values=[tuple(row.values())])

    def _count_again(self, letter: NewDeadLetter) -> None:
        params = {
            "tenant_id": letter.tenant_id,
            "dead_letter_id": letter.dead_letter_id,
            "attempts": letter.attempts,
            "reason": letter.reason,
            "detail": letter.detail,
            "fix": letter.fix,
        }
        types = dict.fromkeys(params, param_types.STRING) | {"attempts": param_types.INT64}
        statement = (query("dead_letters", "count_again"), params, types)
        update_rows(self._open, [statement], what="count dead letter again", tag="dead_letter_again")


def _execute(transaction: Any, statement: Statement) -> int:
    sql, params, types = statement
    count: int = transaction.execute_update(sql, params=params, param_types=types)
    return count


def _audit_statement(tenant_id: str, audit: AuditEntry) -> Statement:
    params = {
        "tenant_id": tenant_id,
        "audit_id": str(uuid4()),
        "actor": audit.actor,
        "action": audit.action,
        "target": audit.target,
        "detail": json.dumps(dict(audit.detail)),
        "outcome": "done",
    }
    return query("dead_letters", "write_audit"), params, dict.fromkeys(params, param_types.STRING)
