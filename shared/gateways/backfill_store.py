"""Backfill and reconciliation in Spanner: what is known of calls, finished days, reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Literal

from google.cloud.spanner_v1 import COMMIT_TIMESTAMP, param_types

from shared.backfill import Part, Tally
from shared.backfill_run import FinishedDay, KnownCalls
from shared.errors import PipelineError, TenantBlocked
from shared.gateways.database import OpenDatabase, blind_commit, read_rows, transact, update_rows
from shared.gateways.queries import query
from shared.gateways.tenant_rows import tenant_of
from shared.names import first_request_id
from shared.reconciliation import DueTenant, LookedDays, Report, ReportState, state_of

_STRINGS = param_types.Array(param_types.STRING)
_DAYS_TYPES = {"tenant_id": param_types.STRING, "since": param_types.DATE, "until": param_types.DATE}
_REPORT_TYPES = {
    "tenant_id": param_types.STRING,
    "day": param_types.DATE,
    "state": param_types.STRING,
    "provider_calls": param_types.INT64,
    "our_calls": param_types.INT64,
    "missing_calls": param_types.INT64,
    "recovered_calls": param_types.INT64,
    "waiting_calls": param_types.INT64,
    "refused_calls": param_types.INT64,
    "listed_until": param_types.TIMESTAMP,
    "error_code": param_types.STRING,
    "error_detail": param_types.STRING,
    "error_fix": param_types.STRING,
}
_MAX_CODE = 64  # column error_code
_MAX_TEXT = 1000  # columns error_detail and error_fix


class SpannerBackfillStore:
    """Implements `shared.backfill_run.BackfillStore` and `shared.reconciliation.ReconciliationStore`."""

    def __init__(self, open_database: OpenDatabase) -> None:
        self._open = open_database

    # -- calls -------------------------------------------------------------------------------------

    def known(self, tenant_id: str, call_ids: Sequence[str]) -> KnownCalls:
        """Look-ups by primary key in both tables, in one read."""
        calls_of_requests = {first_request_id(tenant_id, call_id): call_id for call_id in call_ids}
        params = {"tenant_id": tenant_id, "request_ids": list(calls_of_requests), "call_ids": list(call_ids)}
        types = {"tenant_id": param_types.STRING, "request_ids": _STRINGS, "call_ids": _STRINGS}
        rows = read_rows(self._open, query("backfill", "known_calls"), params, types, what="read known calls")
        return KnownCalls(
            started=frozenset(calls_of_requests[found] for fact, found in rows if fact == "started"),
            seen=frozenset(found for fact, found in rows if fact == "seen"),
        )

    # -- progress ----------------------------------------------------------------------------------

    def finished_days(self, tenant_id: str, since: date, until: date) -> Mapping[date, FinishedDay]:
        params = {"tenant_id": tenant_id, "since": since, "until": until}
        rows = read_rows(self._open, query("backfill", "finished_days"), params, _DAYS_TYPES, what="read progress")
        return {day: _finished_day(fields) for day, *fields in rows}

    def save_finished(self, tenant_id: str, part: Part, tally: Tally) -> None:
        row = {
            "tenant_id": tenant_id,
            "day": part.day,
            "listed_from": part.since,
            "listed_until": part.until,
            "listed_calls": tally.listed,
            "had_calls": tally.had,
            "never_seen_calls": tally.never_seen,
            "never_started_calls": tally.never_started,
            "recovered_calls": tally.recovered,
            "finished_at": COMMIT_TIMESTAMP,
        }
        with blind_commit(self._open, what="save progress") as batch:
            batch.insert_or_update(table="backfill_days", columns=tuple(row), values=[tuple(row.values())])

    def clear_finished(self, tenant_id: str, since: date, until: date) -> None:
        params = {"tenant_id": tenant_id, "since": since, "until": until}
        update_rows(
            self._open,
            [(query("backfill", "clear_finished"), params, _DAYS_TYPES)],
            what="clear progress",
            tag="backfill_clear",
        )

    # -- reports -----------------------------------------------------------------------------------

    def write_report(self, tenant_id: str, part: Part, tally: Tally) -> None:
        self._put(
            "report",
            tenant_id=tenant_id,
            day=part.day,
            state=state_of(tally, part),
            provider_calls=tally.listed,
            our_calls=tally.ours,
            missing_calls=tally.missing - tally.recovered,
            recovered_calls=tally.recovered,
            waiting_calls=tally.too_young,
            refused_calls=tally.refused,
            listed_until=part.until,
        )

    def write_partial(self, tenant_id: str, day: date, *, recovered: int) -> None:
        self._put_stopped(tenant_id, day, "open", recovered=recovered, error=None)

    def write_trouble(
        self, tenant_id: str, day: date, state: Literal["blocked", "failed"], error: PipelineError
    ) -> None:
        self._put_stopped(tenant_id, day, state, recovered=0, error=error)

    def reports(self, tenant_id: str, *, since: date) -> list[Report]:
        """Newest day first."""
        params = {"tenant_id": tenant_id, "since": since}
        types = {"tenant_id": param_types.STRING, "since": param_types.DATE}
        rows = read_rows(self._open, query("backfill", "reports"), params, types, what="read reports")
        return [_report(row) for row in rows]

    def due_tenants(self, since: date, *, oldest: date) -> list[DueTenant]:
        params, types = {"since": since, "oldest": oldest}, dict.fromkeys(("since", "oldest"), param_types.DATE)
        rows = read_rows(self._open, query("backfill", "due_tenants"), params, types, what="list tenants")
        return [_due_tenant(row) for row in rows]

    def _put_stopped(
        self, tenant_id: str, day: date, state: ReportState, *, recovered: int, error: PipelineError | None
    ) -> None:
        self._put(
            "stopped",
            tenant_id=tenant_id,
            day=day,
            state=state,
            recovered_calls=recovered,
            error_code=error.code[:_MAX_CODE] if error else None,
            error_detail=error.detail[:_MAX_TEXT] if error else None,
            error_fix=error.fix[:_MAX_TEXT] if error else None,
        )

    def _put(self, kind: str, **params: Any) -> None:
        """Update the day's row, or insert it; the callback may run several times and holds nothing but SQL."""
        types = {name: _REPORT_TYPES[name] for name in params}

        def work(transaction: Any) -> None:
            for verb in ("update", "insert"):
                statement = query("backfill", f"{verb}_{kind}")
                if transaction.execute_update(statement, params=params, param_types=types):
                    return

        transact(self._open, work, what="write reconciliation report", tag="reconciliation")


def _finished_day(fields: Sequence[Any]) -> FinishedDay:
    since, until, listed, had, never_seen, never_started, recovered = fields
    tally = Tally(listed=listed, had=had, never_seen=never_seen, never_started=never_started, recovered=recovered)
    return FinishedDay(since, until, tally)


def _report(row: Sequence[Any]) -> Report:
    *counts, code, detail, fix, looked_at = row
    return Report(*[*counts, code or "", detail or "", fix or "", looked_at])


def _due_tenant(row: Sequence[Any]) -> DueTenant:
    *fields, complete, unfinished, newest_day, _looked_at = row
    days = LookedDays(frozenset(complete or ()), frozenset(unfinished or ()), newest_day)
    try:
        return DueTenant(fields[0], tenant_of(fields), days)
    except TenantBlocked as problem:
        return DueTenant(fields[0], None, days, problem)
