"""What one row, one tenant or one bad moment does to a sweep: nothing to the others."""

from __future__ import annotations

from typing import Any

import pytest

from shared.claims import RunKey
from shared.errors import TransientFailure
from shared.gateways.sealed_events import seal_event
from shared.gateways.sweep_store import SpannerSweepStore
from shared.gateways.tenant_keys import SEALED
from shared.sweeper import SweepReport, sweep_forever
from tests.integration.test_sweeper import deferred_runs, sweeper_of
from tests.support.pipeline_database import OTHER_TENANT, OUR_TENANT, PipelineDatabase
from tests.support.runner_bench import RECEIVED, Bench

pytestmark = pytest.mark.emulators


@pytest.fixture
def bench(pipeline_database: PipelineDatabase) -> Bench:
    return Bench(pipeline_database)


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
