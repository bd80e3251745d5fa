"""The one commit that begins a letter's replay: the letter, its run and request, the job's item, and the audit log.

Every row is read and written by its key. A replay of ten thousand letters goes beside live calls, and a statement that
looks at a whole table for each letter would take their database from them (see `keyed_rows`).
"""

from __future__ import annotations

from typing import Any

from google.cloud.spanner_v1 import COMMIT_TIMESTAMP

from shared.desk_jobs import ReplayStart
from shared.gateways.database import OpenDatabase, transact
from shared.gateways.dead_letter_changes import write_audit
from shared.gateways.keyed_rows import put, row_of
from shared.gateways.sealed_events import event_field, seal_event
from shared.gateways.vault import TenantVault, Vault

_GIVEN_UP = ("failed", "blocked")
"""What waits for a person; every other state but `done` is somebody's work, which a replay leaves to him."""


def start_replay(open_database: OpenDatabase, start: ReplayStart, vault: Vault) -> bool:
    """Write all of it, or nothing where the letter is not as `start` found it; say which."""
    tenants_vault = vault.of(start.letter.tenant_id)
    if start.edited_event is not None:
        tenants_vault.warm()

    def work(transaction: Any) -> bool:
        if not _can_start(transaction, start):
            return False
        if start.opens_request:
            _open_request(transaction, start)
        else:
            _reopen_run(transaction, start, tenants_vault)
            _reopen_request(transaction, start)
        _mark_letter(transaction, start)
        _mark_item(transaction, start)
        write_audit(transaction, start.letter.tenant_id, start.audit)
        return True

    started: bool = transact(open_database, work, what="start a replay", tag="start_replay")
    return started


def _can_start(transaction: Any, start: ReplayStart) -> bool:
    """Whether the letter's row is as expected decides about everything else: of two starts, one finds it so."""
    letter = start.letter
    row = row_of(transaction, "dead_letters", ("state", "replays", "replayed_at"), _letter_key(start))
    if row is None:
        return False
    state, replays, replayed_at = row
    has_stalled = state == "replaying" and replayed_at is not None and replayed_at <= start.stalled_before
    return replays == letter.replays and (state == "open" or has_stalled)


def _mark_letter(transaction: Any, start: ReplayStart) -> None:
    put(
        transaction.update,
        "dead_letters",
        **_letter_key(start),
        state="replaying",
        replays=start.letter.replays + 1,
        replayed_at=COMMIT_TIMESTAMP,
        replayed_by=start.audit.actor[:200],
        current_request_id=start.request_id or None,
        updated_at=COMMIT_TIMESTAMP,
    )


def _mark_item(transaction: Any, start: ReplayStart) -> None:
    put(
        transaction.update,
        "replay_items",
        **_letter_key(start),
        job_id=start.job_id,
        state="sent",
        reason=None,
        replay_number=start.letter.replays + 1,
        updated_at=COMMIT_TIMESTAMP,
    )


def _open_request(transaction: Any, start: ReplayStart) -> None:
    """A re-run's request, after the one of the letter; nothing where that one is gone."""
    letter = start.letter
    original = {"tenant_id": letter.tenant_id, "request_id": letter.request_id}
    columns = ("call_id", "kind", "received_at", "expires_at")
    row = row_of(transaction, "processing_requests", columns, original)
    if row is None:
        return
    put(
        transaction.insert,
        "processing_requests",
        tenant_id=letter.tenant_id,
        request_id=start.request_id,
        origin="rerun",
        state="active",
        stage=start.stage,
        **dict(zip(columns, row, strict=True)),
        created_at=COMMIT_TIMESTAMP,
        updated_at=COMMIT_TIMESTAMP,
    )


def _reopen_run(transaction: Any, start: ReplayStart, vault: TenantVault) -> None:
    """Count attempts anew; a run that was given up may be claimed again, with the edited event if there is one."""
    letter = start.letter
    key = {"tenant_id": letter.tenant_id, "request_id": start.request_id, "stage": start.stage}
    row = row_of(transaction, "stage_runs", ("state",), key)
    if row is None or row[0] == "done":
        return
    changes: dict[str, Any] = {"attempt": 1, "updated_at": COMMIT_TIMESTAMP}
    if row[0] in _GIVEN_UP:
        changes |= {"state": "retrying", "due_at": None}
    if start.edited_event is not None and row[0] in (*_GIVEN_UP, "retrying"):
        field = event_field(start.request_id, start.stage)
        changes["event"] = seal_event(vault, letter.call_id, field, start.edited_event)
    put(transaction.update, "stage_runs", **key, **changes)


def _reopen_request(transaction: Any, start: ReplayStart) -> None:
    key = {"tenant_id": start.letter.tenant_id, "request_id": start.request_id}
    row = row_of(transaction, "processing_requests", ("state",), key)
    if row is not None and row[0] in _GIVEN_UP:
        put(
            transaction.update,
            "processing_requests",
            **key,
            state="active",
            stage=start.stage,
            updated_at=COMMIT_TIMESTAMP,
        )


def _letter_key(start: ReplayStart) -> dict[str, str]:
    return {"tenant_id": start.letter.tenant_id, "dead_letter_id": start.letter.dead_letter_id}
