"""Closes the letters whose call has arrived: found by a query, closed by key in a short transaction.

Also those whose call was given up again by a later stage, which has a letter of its own, and those that nobody replayed
and whose stage was done in another way: neither could be replayed any more.

A replay of ten thousand letters closes hundreds at a time beside live calls: a statement that looks at whole tables
would hold their database, or be aborted by them again and again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from google.cloud.spanner_v1 import COMMIT_TIMESTAMP, param_types

from shared.dead_letters import AuditEntry
from shared.desk_jobs import ENDED
from shared.gateways.database import OpenDatabase, read_rows, transact
from shared.gateways.dead_letter_changes import PIPELINE_ACTOR, write_audit
from shared.gateways.keyed_rows import put, rows_of
from shared.gateways.queries import query

_COLUMNS = ("dead_letter_id", "state", "request_id", "current_request_id", "stage", "replayed_by")
_UNSETTLED = ("open", "replaying")


def close_arrived(open_database: OpenDatabase, tenant_id: str, *, limit: int) -> int:
    """Close letters that wait for nothing any more, at most `limit`; how many."""
    params: dict[str, Any] = {"tenant_id": tenant_id, "row_limit": limit}
    types = {"tenant_id": param_types.STRING, "row_limit": param_types.INT64}
    rows = read_rows(open_database, query("dead_letters", "arrived_letters"), params, types, what="find arrivals")
    ids = [row[0] for row in rows]
    if not ids:
        return 0
    closed: int = transact(
        open_database,
        lambda transaction: _close(transaction, tenant_id, ids),
        what="close dead letters",
        tag="close_letters",
    )
    return closed


@dataclass(frozen=True)
class _Letter:
    """`_COLUMNS` of a row."""

    dead_letter_id: str
    state: str
    request_id: str
    current_request_id: str | None
    stage: str
    replayed_by: str | None

    @property
    def run(self) -> tuple[str, str]:
        """Request and stage that it waits for."""
        return self.current_request_id or self.request_id, self.stage


def _close(transaction: Any, tenant_id: str, ids: Sequence[str]) -> int:
    """Close those of the letters that still stand as they were found: one may just have been given up again."""
    keys = [{"tenant_id": tenant_id, "dead_letter_id": dead_letter_id} for dead_letter_id in ids]
    found = [_Letter(*row) for row in rows_of(transaction, "dead_letters", _COLUMNS, keys)]
    letters = [letter for letter in found if letter.state in _UNSETTLED]
    done = _done_runs(transaction, tenant_id, {letter.run for letter in letters})
    requests = _request_states(transaction, tenant_id, {request_id for request_id, _ in done})
    outcomes = {
        letter: outcome
        for letter in letters
        if letter.run in done and (outcome := _outcome(letter, requests.get(letter.run[0])))
    }
    for letter, outcome in outcomes.items():
        put(
            transaction.update,
            "dead_letters",
            tenant_id=tenant_id,
            dead_letter_id=letter.dead_letter_id,
            state="closed",
            closed_at=COMMIT_TIMESTAMP,
            updated_at=COMMIT_TIMESTAMP,
        )
        action = "dead_letter.replay_ended" if letter.replayed_by else "dead_letter.close"
        actor = letter.replayed_by or PIPELINE_ACTOR
        write_audit(transaction, tenant_id, AuditEntry(actor, action, letter.dead_letter_id, {}, outcome=outcome))
    return len(outcomes)


def _outcome(letter: _Letter, request_state: str | None) -> str:
    """As the audit log names it; empty while the letter has to wait for its call."""
    if request_state in ENDED:
        return "arrived"
    if letter.state == "open":
        return "stage_done"
    return "given_up_later" if request_state == "failed" else ""


def _done_runs(transaction: Any, tenant_id: str, runs: set[tuple[str, str]]) -> set[tuple[str, str]]:
    keys = [{"tenant_id": tenant_id, "request_id": request_id, "stage": stage} for request_id, stage in sorted(runs)]
    rows = rows_of(transaction, "stage_runs", ("request_id", "stage", "state"), keys) if keys else []
    return {(request_id, stage) for request_id, stage, state in rows if state == "done"}


def _request_states(transaction: Any, tenant_id: str, request_ids: set[str]) -> dict[str, str]:
    keys = [{"tenant_id": tenant_id, "request_id": request_id} for request_id in sorted(request_ids)]
    return dict(rows_of(transaction, "processing_requests", ("request_id", "state"), keys)) if keys else {}
