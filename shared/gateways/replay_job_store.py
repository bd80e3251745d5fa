"""Replay jobs in Spanner: who holds a job, what is left of it, and the one commit that begins a letter's replay."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from google.cloud.spanner_v1 import COMMIT_TIMESTAMP, param_types

from shared.dead_letters import AuditEntry
from shared.desk_jobs import (
    ItemState,
    JobSelection,
    JobState,
    ReplayItem,
    ReplayJob,
    ReplayOptions,
    ReplayStart,
    SentItem,
)
from shared.desk_pace import LiveTime
from shared.gateways.database import OpenDatabase, blind_commit, read_rows, transact, update_rows
from shared.gateways.dead_letter_changes import Statement, execute, write_audit
from shared.gateways.queries import query
from shared.gateways.replay_starts import start_replay
from shared.gateways.vault import Vault

_JOB_KEY = {"tenant_id": param_types.STRING, "job_id": param_types.STRING}
_ITEMS_A_COMMIT = 1000
"""A commit takes 80,000 values; an item and its index entry are about twenty."""
_MAX_REASON = 500


class ReplayJobs:
    """Implements `shared.desk_ports.ReplayJobs`."""

    def __init__(self, open_database: OpenDatabase, vault: Vault) -> None:
        self._open = open_database
        self._vault = vault

    def create_job(self, job: ReplayJob, items: Sequence[ReplayItem], audit: AuditEntry) -> None:
        """The items first and the job last: a job that can be found is complete."""
        for part in _parts(items, _ITEMS_A_COMMIT):
            with blind_commit(self._open, what="write replay items") as batch:
                batch.insert(table="replay_items", columns=_ITEM_COLUMNS, values=[_item_row(job, one) for one in part])

        def work(transaction: Any) -> None:
            row = _job_row(job)
            transaction.insert(table="replay_jobs", columns=tuple(row), values=[tuple(row.values())])
            write_audit(transaction, job.owner, audit)

        transact(self._open, work, what="create a replay", tag="create_replay")

    def find_job(self, job_id: str) -> ReplayJob | None:
        rows = read_rows(
            self._open,
            query("replays", "find_job"),
            {"job_id": job_id},
            {"job_id": param_types.STRING},
            what="find a replay",
        )
        return _job_of(rows[0]) if rows else None

    def recent_jobs(self, *, limit: int) -> list[ReplayJob]:
        params, types = {"row_limit": limit}, {"row_limit": param_types.INT64}
        rows = read_rows(self._open, query("replays", "recent_jobs"), params, types, what="list replays")
        return [_job_of(row) for row in rows]

    def items(self, job: ReplayJob) -> list[ReplayItem]:
        found = [
            ReplayItem(*row)
            for tenant_id in job.tenants
            for row in read_rows(
                self._open,
                query("replays", "items_of_job"),
                {"tenant_id": tenant_id, "job_id": job.job_id},
                _JOB_KEY,
                what="read replay items",
            )
        ]
        return sorted(found, key=lambda item: item.position)

    def item_counts(self, job: ReplayJob) -> Counter[tuple[ItemState, str]]:
        counts: Counter[tuple[ItemState, str]] = Counter()
        key, statement = {"job_id": job.job_id}, query("replays", "counts_of_job")
        for tenant_id in job.tenants:
            params = {"tenant_id": tenant_id, **key}
            for state, reason, letters in read_rows(self._open, statement, params, _JOB_KEY, what="count replay items"):
                counts[(state, reason)] += letters
        return counts

    def live_times(self, *, received_after: datetime, ended_after: datetime) -> list[LiveTime]:
        rows = read_rows(
            self._open,
            query("replays", "live_times"),
            {"received_after": received_after, "ended_after": ended_after},
            {"received_after": param_types.TIMESTAMP, "ended_after": param_types.TIMESTAMP},
            what="look at live calls",
        )
        return [LiveTime(ended_us / 1e6, took_us / 1e6) for ended_us, took_us in rows]

    def take_job(self, job: ReplayJob, *, lock_token: str, lease_s: int) -> bool:
        values = {"lock_token": (lock_token, param_types.STRING), "lease_s": (lease_s, param_types.INT64)}
        return self._update(_job_statement(job, "take_job", values), tag="take_replay")

    def renew_job(self, job: ReplayJob, *, lock_token: str, lease_s: int, judged_steps: int) -> bool:
        values = {
            "lock_token": (lock_token, param_types.STRING),
            "lease_s": (lease_s, param_types.INT64),
            "judged_steps": (judged_steps, param_types.INT64),
        }
        return self._update(_job_statement(job, "renew_job", values), tag="renew_replay")

    def leave_job(
        self,
        job: ReplayJob,
        *,
        lock_token: str,
        state: JobState,
        stop_reason: str,
        judged_steps: int,
        audit: AuditEntry,
    ) -> None:
        values = {
            "lock_token": (lock_token, param_types.STRING),
            "state": (state, param_types.STRING),
            "stop_reason": (stop_reason[:_MAX_REASON] or None, param_types.STRING),
            "judged_steps": (judged_steps, param_types.INT64),
        }
        self._with_audit(job, _job_statement(job, "leave_job", values), audit)

    def stop_job(self, job: ReplayJob, *, reason: str, audit: AuditEntry) -> bool:
        values = {"stop_reason": (reason[:_MAX_REASON], param_types.STRING)}
        return self._with_audit(job, _job_statement(job, "stop_job", values), audit)

    def start_replay(self, start: ReplayStart) -> bool:
        return start_replay(self._open, start, self._vault)

    def mark_items(self, job: ReplayJob, items: Sequence[ReplayItem]) -> None:
        for part in _parts(items, _ITEMS_A_COMMIT):
            with blind_commit(self._open, what="note outcomes") as batch:
                batch.update("replay_items", _OUTCOME_COLUMNS, [_outcome_row(job.job_id, item) for item in part])

    def look_at_sent(self, job: ReplayJob) -> list[SentItem]:
        found = [
            SentItem(*row)
            for tenant_id in job.tenants
            for row in read_rows(
                self._open,
                query("replays", "looks_at_sent"),
                {"tenant_id": tenant_id, "job_id": job.job_id},
                _JOB_KEY,
                what="look at what was sent",
            )
        ]
        return sorted(found, key=lambda sent: sent.position)

    def _update(self, statement: Statement, *, tag: str) -> bool:
        return update_rows(self._open, [statement], what=tag.replace("_", " "), tag=tag)[0] == 1

    def _with_audit(self, job: ReplayJob, statement: Statement, audit: AuditEntry) -> bool:
        def work(transaction: Any) -> bool:
            if not execute(transaction, statement):
                return False
            write_audit(transaction, job.owner, audit)
            return True

        changed: bool = transact(self._open, work, what="change a replay", tag="change_replay")
        return changed


# --- statements ---------------------------------------------------------------------------------------


def _job_statement(job: ReplayJob, name: str, values: dict[str, tuple[Any, Any]]) -> Statement:
    params = {"tenant_id": job.owner, "job_id": job.job_id} | {key: value for key, (value, _) in values.items()}
    return query("replays", name), params, _JOB_KEY | {key: kind for key, (_, kind) in values.items()}


# --- rows ---------------------------------------------------------------------------------------------

_ITEM_COLUMNS = ("tenant_id", "dead_letter_id", "job_id", "position", "state", "reason", "created_at", "updated_at")


def _item_row(job: ReplayJob, item: ReplayItem) -> tuple[Any, ...]:
    key = (item.tenant_id, item.dead_letter_id, job.job_id)
    return (*key, item.position, item.state, item.reason, COMMIT_TIMESTAMP, COMMIT_TIMESTAMP)


_OUTCOME_COLUMNS = ("tenant_id", "dead_letter_id", "job_id", "state", "reason", "replay_number", "updated_at")


def _outcome_row(job_id: str, item: ReplayItem) -> tuple[Any, ...]:
    key = (item.tenant_id, item.dead_letter_id, job_id)
    return (*key, item.state, item.reason, item.replay_number, COMMIT_TIMESTAMP)


def _job_row(job: ReplayJob) -> dict[str, Any]:
    return {
        "tenant_id": job.owner,
        "job_id": job.job_id,
        "state": job.state,
        "actor": job.actor[:200],
        "selection": job.selection.model_dump_json(),
        "options": job.options.model_dump_json(),
        "tenants": list(job.tenants),
        "total": job.total,
        "judged_steps": job.judged_steps,
        "created_at": COMMIT_TIMESTAMP,
        "updated_at": COMMIT_TIMESTAMP,
    }


def _job_of(row: list[Any]) -> ReplayJob:
    owner, job_id, state, actor, selection, options, tenants, total, judged, reason, is_locked, *moments = row
    return ReplayJob(
        owner,
        job_id,
        state,
        actor,
        JobSelection.model_validate_json(selection),
        ReplayOptions.model_validate_json(options),
        tuple(tenants),
        total,
        judged,
        reason or "",
        bool(is_locked),
        *moments,
    )


def _parts(items: Sequence[ReplayItem], size: int) -> Iterator[Sequence[ReplayItem]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
