"""What one row, one tenant, one bad moment or another sweep does to a sweep: nothing is lost, and no other waits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from shared import sweeper as sweeping
from shared.claims import RunKey
from shared.errors import TransientFailure
from shared.gateways.sealed_events import seal_event
from shared.gateways.sweep_store import SpannerSweepStore
from shared.gateways.tenant_keys import SEALED
from shared.inbox import Inbox
from shared.sweeper import LONGEST_SWEEP, SweepReport, sweep_forever
from tests.support.pipeline_database import OTHER_TENANT, OUR_TENANT
from tests.support.ports import HandClock, MemoryObjects
from tests.support.runner_bench import RECEIVED, Bench, bench
from tests.support.sweeps import deferred_runs, sweep, sweeper_of, sweeps_at_once

__all__ = ["bench"]

pytestmark = pytest.mark.emulators


# -- one row, one tenant, one bad moment -------------------------------------------------------------------------


def test_unreadable_events_stop_neither_their_tenant_nor_the_others(bench: Bench) -> None:
    """Faults found here: the oldest run's event, or one that does not open, plugged its tenant's sweep every time.

    One that was cut off plugged everybody's.
    """
    poisoned, copied, cut, *_ = deferred_runs(bench, 5)
    others = seal_event(bench.database.vault.of(OUR_TENANT.tenant_id), "CAL-2", "event", RECEIVED.model_dump_json())
    overwrite_event(bench, RunKey(OUR_TENANT.tenant_id, copied.request_id, "download"), others)
    theirs = deferred_runs(bench, 1, tenant_id=OTHER_TENANT.tenant_id)
    overwrite_event(bench, RunKey(OUR_TENANT.tenant_id, poisoned.request_id, "download"), "not an event")
    overwrite_event(
        bench, RunKey(OUR_TENANT.tenant_id, cut.request_id, "download"), others[: others.index(SEALED) + 20]
    )

    report = sweeper_of(bench).sweep()

    assert report.actions == {"deferred_sent_again": 3, "event_unreadable": 3}
    assert report.failed_tenants == 0
    sent = {(message.attributes["tenant_id"], message.attributes["request_id"]) for message in bench.publisher.messages}
    assert (OTHER_TENANT.tenant_id, theirs[0].request_id) in sent
    assert len(sent) == 3


def test_a_bug_met_at_one_tenant_keeps_nobody_else_from_being_swept(bench: Bench) -> None:
    for tenant in (OUR_TENANT, OTHER_TENANT):
        deferred_runs(bench, 1, tenant_id=tenant.tenant_id)

    report = sweeper_of(bench, store=WithoutOneTenant(bench, ZeroDivisionError())).sweep()

    assert report.failed_tenants == 1
    assert [message.attributes["tenant_id"] for message in bench.publisher.messages] == [OTHER_TENANT.tenant_id]


def test_sweeping_again_and_again_outlives_a_database_that_was_away() -> None:
    """`pipeline sweep --every 60s` is what moves the calls where no scheduler runs."""
    answers: list[SweepReport | TransientFailure] = [
        TransientFailure("spanner_unavailable", "away"),
        SweepReport({"deferred_sent_again": 1}, 0),
    ]
    said: list[object] = []

    def sweep() -> SweepReport:
        answer = answers.pop(0)
        if isinstance(answer, TransientFailure):
            raise answer
        return answer

    sweep_forever(sweep, every_s=60, wait=lambda _s: not answers, report=said.append, trouble=said.append)

    assert [type(one) for one in said] == [TransientFailure, SweepReport]


def overwrite_event(bench: Bench, key: RunKey, event: str) -> None:
    with bench.database.database.batch() as batch:
        batch.update(table="stage_runs", columns=(*RunKey._fields, "event"), values=[(*key, event)])


class WithoutOneTenant(SpannerSweepStore):
    """A store that fails for one tenant."""

    def __init__(self, bench: Bench, trouble: Exception | None = None) -> None:
        super().__init__(bench.database.open, bench.database.vault)
        self.trouble = trouble or TransientFailure("spanner_unavailable", "this tenant's rows are away")

    def overdue(self, tenant_id: str, **options: Any) -> Any:
        if tenant_id == OUR_TENANT.tenant_id:
            raise self.trouble
        return super().overdue(tenant_id, **options)


def test_a_tenant_that_cannot_be_looked_at_is_counted_and_the_others_are_swept(bench: Bench) -> None:
    for tenant in (OUR_TENANT, OTHER_TENANT):
        deferred_runs(bench, 1, tenant_id=tenant.tenant_id)

    report = sweeper_of(bench, store=WithoutOneTenant(bench)).sweep()

    assert report.failed_tenants == 1
    assert [message.attributes["tenant_id"] for message in bench.publisher.messages] == [OTHER_TENANT.tenant_id]


# -- many at once ------------------------------------------------------------------------------------------------


def test_two_sweeps_at_once_send_each_run_once(bench: Bench) -> None:
    events = deferred_runs(bench, 8)
    reports = sweeps_at_once(bench, 3)

    sent = sorted(message.attributes["request_id"] for message in bench.publisher.messages)
    assert sent == sorted(event.request_id for event in events)
    assert sum(report.actions.get("deferred_sent_again", 0) for report in reports) == len(events)
    assert [report.failed_tenants for report in reports] == [0, 0, 0]


def test_the_work_of_one_sweep_is_bounded_and_the_rest_comes_next(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "RUNS_PER_TENANT", 3)
    events = deferred_runs(bench, 7)

    counts = [sweep(bench).get("deferred_sent_again", 0) for _ in range(4)]

    assert counts == [3, 3, 1, 0]
    assert {message.attributes["request_id"] for message in bench.publisher.messages} == {
        event.request_id for event in events
    }


def test_a_sweep_that_is_cut_short_does_not_leave_out_the_same_tenants_each_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "RUNS_PER_SWEEP", 1)
    monkeypatch.setattr(sweeping, "RUNS_PER_TENANT", 1)
    for tenant in (OUR_TENANT, OTHER_TENANT):
        deferred_runs(bench, 3, tenant_id=tenant.tenant_id)

    for _ in range(2):
        sweep(bench)
        bench.clock.advance(60)

    assert {message.attributes["tenant_id"] for message in bench.publisher.messages} == {
        OUR_TENANT.tenant_id,
        OTHER_TENANT.tenant_id,
    }


@dataclass
class SlowlyFailing:
    """Pub/Sub that does not answer: each publish takes its time-out, by the hand clock."""

    clock: HandClock
    tried: int = 0

    def publish(self, _topic: str, _data: bytes, _attributes: Any) -> str:
        self.tried += 1
        self.clock.advance(20)
        raise TransientFailure("publish_timeout", "no confirmation")


def test_a_sweep_while_pubsub_is_away_ends_in_time_and_loses_nothing(bench: Bench) -> None:
    for tenant in (OUR_TENANT, OTHER_TENANT):
        deferred_runs(bench, 3, tenant_id=tenant.tenant_id)
    objects = MemoryObjects(held={f"inbox/x/{number}.json": b"{}" for number in range(50)})
    away = SlowlyFailing(bench.clock)
    begun = bench.clock()

    report = sweeper_of(bench, publisher=away, inbox=Inbox(objects)).sweep()

    assert bench.clock() - begun < LONGEST_SWEEP + timedelta(seconds=16 * 20), "16 at once, each with its time-out"
    assert len(objects.held) == 50
    assert report.actions == {"inbox_left": 50}
    bench.clock.advance(sweeping.SENT_AGAIN_AFTER.total_seconds())
    sweep(bench)
    bench.clock.advance(60)
    sweep(bench)
    assert len(bench.publisher.messages) == 6
