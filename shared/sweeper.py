"""The sweeper: finds what does not move by itself and pushes it on.

It sends a stage's own event again, and the claim decides what that does; and it closes dead letters whose work is done,
which is one conditional commit. So two sweeps at once, or a sweep during a redelivery, change nothing but a few extra
messages. Work is bounded for each run; what is left over comes next time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from shared.crash_points import crash_point
from shared.deliveries import SWEPT_ATTRIBUTE, parse_event
from shared.errors import InvalidEvent, NotReady, PipelineError, TransientFailure
from shared.inbox import Inbox
from shared.ports import Clock, Publisher

log = structlog.get_logger()

RUNS_PER_TENANT = 200
RUNS_PER_SWEEP = 5_000
STALE_AFTER = timedelta(minutes=25)
"""Longer than two of Pub/Sub's longest back-offs (600 s): whoever is still retrying has written his row since."""
SENT_AGAIN_AFTER = timedelta(minutes=5)
"""When a run that was swept, and did not move, is swept again: then after twice as long, and so on."""
LONGEST_AGAIN = 12
"""At most so many times `SENT_AGAIN_AFTER`. Behind a backlog every run looks still, and what is sent again every few
minutes makes the backlog longer (seen with 1,000 calls: two of three deliveries were such repetitions)."""
LETTERS_PER_TENANT = 200
LOOKED_FOR = timedelta(days=20)
"""How old a failure may be whose dead letter is missed. Below the 30 days after which Spanner removes a discarded
letter: what an operator discarded must not come back."""
LONGEST_SWEEP = timedelta(minutes=4)
"""Below the operator service's time-out (`timeout_s` in infra/pipeline.json): a sweep that Pub/Sub or storage slows
down ends with a report. The inbox gets half of it."""


@dataclass(frozen=True)
class OverdueRun:
    """A run to be sent again. `state` and `updated_at` say which state of the row was seen."""

    request_id: str
    stage: str
    state: str
    event: str
    due_at: datetime | None
    updated_at: datetime


@dataclass(frozen=True)
class StuckRequest:
    """An active request in which nothing is left to do but the next event: it was lost, or never published."""

    request_id: str
    stage: str
    event: str
    """Of the stage that is done: its claim publishes the next event again."""
    updated_at: datetime


class SweepStore(Protocol):
    """What the sweeper asks of the database, one tenant at a time."""

    def tenants(self) -> list[tuple[str, bool]]:
        """Every tenant's id and whether it is active."""
        ...

    def overdue(self, tenant_id: str, *, now: datetime, stale_before: datetime, limit: int) -> list[OverdueRun]: ...

    def blocked_by_suspension(self, tenant_id: str, *, limit: int) -> list[OverdueRun]: ...

    def postpone(self, tenant_id: str, run: OverdueRun, *, next_due: datetime) -> bool:
        """Move the run's due time on if its row is still as seen; the one who succeeds sends it."""
        ...

    def failed_without_letter(
        self, tenant_id: str, *, now: datetime, stale_before: datetime, failed_after: datetime, limit: int
    ) -> list[OverdueRun]:
        """Failed runs whose failure no dead letter tells of."""
        ...

    def close_arrived(self, tenant_id: str, *, limit: int) -> int:
        """Close dead letters that wait for nothing any more; returns how many."""
        ...

    def stuck(self, tenant_id: str, *, stale_before: datetime, limit: int) -> list[StuckRequest]: ...

    def touch(self, tenant_id: str, request: StuckRequest) -> bool:
        """Note that the request was pushed if it is still as seen; the one who succeeds sends the event."""
        ...


@dataclass(frozen=True)
class SweepReport:
    """What one sweep did: how many of each kind, and how many tenants could not be looked at."""

    actions: dict[str, int]
    failed_tenants: int

    def document(self) -> dict[str, object]:
        """For the answer of `/internal/sweep` and `pipeline sweep --json`."""
        return {"actions": self.actions, "failed_tenants": self.failed_tenants}


@dataclass(frozen=True)
class Sweeper:
    """Everything it uses is passed in. `stale_after` and `again_after` are shorter in tests and drills."""

    store: SweepStore
    publisher: Publisher
    inbox: Inbox
    now: Clock
    stale_after: timedelta = STALE_AFTER
    again_after: timedelta = SENT_AGAIN_AFTER
    longest_again: timedelta | None = None
    """How far repetitions draw apart at most; None: `LONGEST_AGAIN` times `again_after`."""

    def sweep(self) -> SweepReport:
        """One bounded run. One tenant's trouble does not keep the others from being swept."""
        begun = self.now()
        actions: Counter[str] = Counter()
        failed = 0
        actions.update(self.inbox.drain(self.publisher, may_go_on=lambda: self.now() - begun < LONGEST_SWEEP / 2))
        for tenant_id, is_active in _from_another_one(self.store.tenants(), now=begun):
            if sum(actions.values()) >= RUNS_PER_SWEEP or self.now() - begun >= LONGEST_SWEEP:
                log.warning("sweep_cut_short", done=sum(actions.values()))
                break
            try:
                actions.update(self._sweep_tenant(tenant_id, is_active=is_active))
            except PipelineError as error:
                failed += 1
                log.warning("sweep_of_tenant_failed", tenant_id=tenant_id, code=error.code, detail=error.detail)
            except Exception:
                # One tenant's data meeting a bug of ours must not keep those after it from being swept.
                failed += 1
                log.exception("sweep_of_tenant_failed_unexpectedly", tenant_id=tenant_id)
        report = SweepReport(dict(sorted(actions.items())), failed)
        log.info("swept", **report.document())
        return report

    def _sweep_tenant(self, tenant_id: str, *, is_active: bool) -> Counter[str]:
        now = self.now()
        stale_before = now - self.stale_after
        actions: Counter[str] = Counter()
        runs = self.store.overdue(tenant_id, now=now, stale_before=stale_before, limit=RUNS_PER_TENANT)
        if is_active:
            runs = [*self.store.blocked_by_suspension(tenant_id, limit=RUNS_PER_TENANT), *runs]
        for run in {(run.request_id, run.stage): run for run in runs}.values():
            actions.update(self._push_run(tenant_id, run))
        for request in self.store.stuck(tenant_id, stale_before=stale_before, limit=RUNS_PER_TENANT):
            actions.update(self._push_request(tenant_id, request))
        for run in self.store.failed_without_letter(
            tenant_id,
            now=now,
            stale_before=stale_before,
            failed_after=now - LOOKED_FOR,
            limit=RUNS_PER_TENANT,
        ):
            actions.update(self._push_failure(tenant_id, run))
        actions.update(self._close_letters(tenant_id))
        return actions

    def _close_letters(self, tenant_id: str) -> Counter[str]:
        closed = self.store.close_arrived(tenant_id, limit=LETTERS_PER_TENANT)
        if closed:
            log.info("dead_letters_closed", tenant_id=tenant_id, count=closed)
        return Counter(letters_closed=closed) if closed else Counter()

    def _push_failure(self, tenant_id: str, run: OverdueRun) -> list[str]:
        """The claim meets the failed row and publishes the dead letter once more.

        Without a longest wait: while the recorder is down, every letter is missed, and most of them only wait.
        """
        return self._push_run(tenant_id, run, longest=LOOKED_FOR)

    def _push_run(self, tenant_id: str, run: OverdueRun, *, longest: timedelta | None = None) -> list[str]:
        now = self.now()
        longest = longest or self.longest_again or LONGEST_AGAIN * self.again_after
        again_after = max(self.again_after, min(now - run.updated_at, longest))
        if not self.store.postpone(tenant_id, run, next_due=now + again_after):
            return []
        crash_point("sweep_marked")
        if not self._send(run.event, tenant_id=tenant_id, request_id=run.request_id):
            return ["event_unreadable"]
        log.info("run_sent_again", tenant_id=tenant_id, request_id=run.request_id, stage=run.stage, was=run.state)
        return [f"{run.state}_sent_again"]

    def _push_request(self, tenant_id: str, request: StuckRequest) -> list[str]:
        if not self.store.touch(tenant_id, request):
            return []
        crash_point("sweep_marked")
        if not self._send(request.event, tenant_id=tenant_id, request_id=request.request_id):
            return ["event_unreadable"]
        log.info("request_pushed_on", tenant_id=tenant_id, request_id=request.request_id, after=request.stage)
        return ["request_pushed_on"]

    def _send(self, stored_event: str, **whose: str) -> bool:
        """False for an event that cannot be read; a newer worker's perhaps, and no reason to leave the others."""
        try:
            event = parse_event(stored_event.encode())
        except (InvalidEvent, NotReady) as error:
            log.error("swept_event_unreadable", code=error.code, detail=error.detail, **whose)
            return False
        self.publisher.publish(event.topic, stored_event.encode(), {**event.attributes(), SWEPT_ATTRIBUTE: "true"})
        crash_point("sweep_sent")
        return True


def _from_another_one(tenants: list[tuple[str, bool]], *, now: datetime) -> list[tuple[str, bool]]:
    """Begin elsewhere every minute: sweeps that are cut short must not leave out the same tenants each time."""
    start = int(now.timestamp() // 60) % len(tenants) if tenants else 0
    return tenants[start:] + tenants[:start]


def sweep_forever(
    sweep: Callable[[], SweepReport],
    *,
    every_s: float,
    wait: Callable[[float], bool],
    report: Callable[[SweepReport], None],
    trouble: Callable[[TransientFailure], None],
) -> None:
    """Sweep until `wait` (an event's `wait`) says that it is time to stop; what is away may be back the next time."""
    while True:
        try:
            report(sweep())
        except TransientFailure as error:
            trouble(error)
        if wait(every_s):
            return
