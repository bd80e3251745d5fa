"""The scheduled reconciliation: every customer's calls of yesterday and today against CallRail's list.

And those of earlier days that it could not finish or on which nothing ran: a schedule that stood still, or a key that
was refused for a week, must not leave a hole. Leaves one report for each tenant and day. Who was looked at longest ago
comes first, so what one run has no time or no request budget for is done by the next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Literal, Protocol

import structlog

from schemas.tenant import Tenant
from shared.backfill import NOTHING, Part, Tally, access_of, recent_days, whole_day
from shared.backfill_run import BackfillStore, CallLister, Ingester, Inspector, recover
from shared.errors import Deferred, PermanentFailure, PipelineError, TenantBlocked
from shared.ports import Clock

log = structlog.get_logger()

TIME_LIMIT = timedelta(minutes=4)
"""The operator service's requests end after five minutes (infra/pipeline.json)."""
CALLS_PER_S = 20.0
"""Recovered calls must not crowd out the calls of the day."""

CATCH_UP_DAYS = 14
"""How long a day may be unfinished before only a backfill by hand looks at it again."""

ReportState = Literal["complete", "open", "blocked", "failed"]


@dataclass(frozen=True)
class Report:
    """One tenant's day. Calls are counted as of `looked_at`; `recovered` adds up over all looks.

    complete: the day is over and nothing is missing. open: it goes on, or calls are too young or still missing.
    blocked: a person has to mend the tenant's access. failed: the last look came to nothing, the next may not.
    """

    day: date
    state: ReportState
    provider_calls: int
    our_calls: int
    missing_calls: int
    recovered_calls: int
    waiting_calls: int
    refused_calls: int
    listed_until: datetime | None
    error_code: str
    error_detail: str
    error_fix: str
    looked_at: datetime


def state_of(tally: Tally, part: Part) -> ReportState:
    """The state of a report after a look that came to its end."""
    return "complete" if part.ends_day and tally.is_settled else "open"


@dataclass(frozen=True)
class LookedDays:
    """What the reports of a tenant say: which recent days need no look, and which earlier ones wait for another."""

    complete: frozenset[date] = frozenset()
    unfinished: frozenset[date] = frozenset()
    newest: date | None = None
    """None: nobody has looked at this tenant lately, and what was before it came is not looked for."""

    def earlier(self, *, yesterday: date) -> tuple[date, ...]:
        """Days before yesterday that need a look: the unfinished ones, and all since the newest that has a report."""
        return tuple(sorted(self.unfinished | frozenset(self.skipped(yesterday=yesterday))))

    def skipped(self, *, yesterday: date) -> tuple[date, ...]:
        """Days without any report although the tenant was looked at before them: nothing ran then."""
        if self.newest is None:
            return ()
        return tuple(self.newest + timedelta(days=n) for n in range(1, (yesterday - self.newest).days))


@dataclass(frozen=True)
class DueTenant:
    """A customer to look at. `tenant` is None when its stored configuration cannot be read, and `problem` says why."""

    tenant_id: str
    tenant: Tenant | None
    days: LookedDays
    problem: TenantBlocked | None = None


class ReconciliationStore(BackfillStore, Protocol):
    """What the scheduled form needs beside."""

    def due_tenants(self, since: date, *, oldest: date) -> Sequence[DueTenant]:
        """Every active tenant, the one looked at longest ago first.

        Complete days from `since` on; unfinished ones from `oldest` until before `since`, when they were not looked at
        for hours.
        """
        ...

    def write_trouble(
        self, tenant_id: str, day: date, state: Literal["blocked", "failed"], error: PipelineError
    ) -> None:
        """Say in the day's report why the last look came to nothing; counts of earlier looks stay."""
        ...

    def write_partial(self, tenant_id: str, day: date, *, recovered: int) -> None:
        """A look stopped on its way: count what it recovered; other counts stay."""
        ...


class Outcome(StrEnum):
    """What became of one tenant in one run."""

    LOOKED_AT = "looked_at"
    NO_ACCESS = "no_access"
    """The tenant gave no API key: its lost webhooks cannot be found."""
    BLOCKED = "blocked"
    FAILED = "failed"
    POSTPONED = "postponed"
    """Out of budget or time; the next run begins with it."""


@dataclass(frozen=True)
class RunSummary:
    """What one run came to."""

    outcomes: Counter[Outcome]
    tally: Tally

    @property
    def is_whole(self) -> bool:
        return not self.outcomes[Outcome.POSTPONED] and not self.outcomes[Outcome.FAILED]


class _OutOfTime(Exception):
    """The run's own time is over."""


@dataclass(frozen=True)
class Reconciliation:
    """One object per service; `run` may be called again and again, also twice at once."""

    lister: CallLister
    store: ReconciliationStore
    ingester: Ingester
    now: Clock
    time_limit: timedelta

    def run(self) -> RunSummary:
        """One look at everybody. Raises `TransientFailure` or `PermanentFailure` only when our own database fails."""
        now = self.now()
        ends_at = now + self.time_limit
        days = recent_days(now=now).parts(now=now)
        outcomes: Counter[Outcome] = Counter()
        totals: list[Tally] = []
        oldest = days[0].day - timedelta(days=CATCH_UP_DAYS)
        for due in self.store.due_tenants(days[0].day, oldest=oldest):
            with structlog.contextvars.bound_contextvars(tenant_id=due.tenant_id):
                outcome = self._tenant(due, days, totals, ends_at=ends_at)
            outcomes[outcome] += 1
        summary = RunSummary(outcomes, sum(totals, NOTHING))
        log.info(
            "reconciliation_done",
            **{outcome.value: count for outcome, count in outcomes.items()},
            recovered=summary.tally.recovered,
            left_behind=summary.tally.left_behind,
        )
        return summary

    def _tenant(self, due: DueTenant, days: Sequence[Part], totals: list[Tally], *, ends_at: datetime) -> Outcome:
        try:
            if due.tenant is None:
                raise due.problem or TenantBlocked("tenant_config_unreadable", "the configuration cannot be read")
            return self._look(due, due.tenant, days, totals, ends_at=ends_at)
        except _OutOfTime:
            return Outcome.POSTPONED
        except Deferred as postponed:
            log.info("reconciliation_postponed", code=postponed.code, until=postponed.until.isoformat())
            return Outcome.POSTPONED
        except (TenantBlocked, PermanentFailure) as error:
            log.error("reconciliation_blocked", code=error.code, detail=error.detail, fix=error.fix)
            self._note(due, days, "blocked", error)
            return Outcome.BLOCKED
        except PipelineError as error:
            log.warning("reconciliation_failed", code=error.code, detail=error.detail)
            self._note(due, days, "failed", error)
            return Outcome.FAILED
        except Exception as error:
            # One tenant's data meeting a bug of ours must not keep the others from being looked at; and without the
            # note this tenant would be the first, and fail, in every run to come.
            log.exception("reconciliation_failed_unexpectedly")
            self._note(due, days, "failed", PermanentFailure("internal_error", f"{type(error).__name__}; see the logs"))
            return Outcome.FAILED

    def _note(
        self, due: DueTenant, days: Sequence[Part], state: Literal["blocked", "failed"], error: PipelineError
    ) -> None:
        for part in days:
            if part.day not in due.days.complete:
                self.store.write_trouble(due.tenant_id, part.day, state, error)

    def _look(
        self, due: DueTenant, tenant: Tenant, days: Sequence[Part], totals: list[Tally], *, ends_at: datetime
    ) -> Outcome:
        access = access_of(tenant)
        if access is None:
            return Outcome.NO_ACCESS
        inspector = Inspector(self.lister, self.store, tenant, access, self.now)
        yesterday = days[0].day
        for day in due.days.skipped(yesterday=yesterday):
            # Before anything can stop this run: the next one sees newer reports, and would not miss the day.
            self.store.write_partial(due.tenant_id, day, recovered=0)
        earlier = [
            part for day in due.days.earlier(yesterday=yesterday) for part in whole_day(day).parts(now=self.now())
        ]
        for part in (*days, *earlier):
            if part.day not in due.days.complete:
                self._day(inspector, part, totals, ends_at=ends_at)
        return Outcome.LOOKED_AT

    def _day(self, inspector: Inspector, part: Part, totals: list[Tally], *, ends_at: datetime) -> None:
        total = NOTHING
        try:
            self._stop_when_over(ends_at)
            for tally in recover(inspector, self.ingester, part):
                total += tally
                totals.append(tally)
                self._stop_when_over(ends_at)
        except (_OutOfTime, PipelineError):
            if total.listed:  # a tenant that a run began with goes to the end of the line
                self.store.write_partial(inspector.tenant.tenant_id, part.day, recovered=total.recovered)
            raise
        self.store.write_report(inspector.tenant.tenant_id, part, total)

    def _stop_when_over(self, ends_at: datetime) -> None:
        if self.now() >= ends_at:
            raise _OutOfTime
