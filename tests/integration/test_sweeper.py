"""The sweeper finds the runs and requests that do not move, those that wait for Speech too, and pushes each on once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from infra.local.standins.faults import FaultRule
from schemas.events import CallReceived, CallSynced, Event
from shared import sweeper as sweeping
from shared.crash_points import crashing
from shared.errors import Deferred, TenantBlocked, TransientFailure
from shared.gateways.circuit_store import SpannerCircuits
from shared.runner import Runner
from shared.stage import Completed
from tests.support.audio import wav
from tests.support.crashing import CrashNow, Doom
from tests.support.flaky import Chain
from tests.support.office import Office, open_chain
from tests.support.pipeline_database import OUR_TENANT
from tests.support.ports import NOON, HandClock, MemoryTenants
from tests.support.runner_bench import IDS, RECEIVED, STORED, Bench, bench, delivery_of, raising
from tests.support.sweeps import deliver_swept, long_after, sweep, sweeper_of, works

__all__ = ["bench"]

pytestmark = pytest.mark.emulators

LAST_EVENTS = (CallSynced(**IDS), STORED.model_copy(update={"request_id": "l-0123456789abcdef"}))
"""Neither starts another stage of its request."""


# -- runs --------------------------------------------------------------------------------------------------------


def test_an_expired_lease_is_sent_again_and_not_before(bench: Bench) -> None:
    bench.behave = raising(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        bench.deliver()
    works(bench)
    bench.clock.advance(59)
    assert sweep(bench) == {}

    bench.clock.advance(2)
    assert sweep(bench) == {"running_sent_again": 1}
    assert deliver_swept(bench) == 204
    assert bench.run_row()["state"] == "done"
    assert sweep(bench) == {}


def test_a_deferral_is_sent_again_when_it_is_due_and_not_before(bench: Bench) -> None:
    bench.behave = raising(Deferred("crm_quota", "tomorrow", until=NOON + timedelta(hours=3)))
    bench.deliver()
    works(bench)
    bench.clock.advance(3 * 3600 - 1)
    assert sweep(bench) == {}

    bench.clock.advance(1)
    assert sweep(bench) == {"deferred_sent_again": 1}
    assert deliver_swept(bench) == 204
    assert bench.contexts[-1].attempt == 1, "waiting for a quota is no failed attempt"
    assert bench.run_row()["state"] == "done"


def test_a_deferral_is_not_taken_for_a_lost_event(bench: Bench) -> None:
    """Fault found here: a request whose next stage slept was pushed on every 25 minutes, and woke it each time."""
    bench.deliver()
    bench.behave = raising(Deferred("crm_quota", "tomorrow", until=datetime.now(UTC) + timedelta(days=30)))
    bench.deliver(STORED, stage="transcribe")
    works_left = len(bench.publisher.messages)

    report = long_after(bench).sweep()

    assert report.actions == {}
    assert len(bench.publisher.messages) == works_left


def test_a_blocked_run_flows_once_the_tenant_has_mended_it(bench: Bench) -> None:
    bench.behave = raising(TenantBlocked("token_refused", "401", fix="give a new token", vendor="hubspot"))
    bench.deliver()
    works(bench)
    assert sweep(bench) == {}

    SpannerCircuits(bench.database.open).close(OUR_TENANT.tenant_id, "hubspot", now=bench.clock())

    assert sweep(bench) == {"blocked_sent_again": 1}
    assert deliver_swept(bench) == 204
    assert bench.run_row()["state"] == "done"
    assert bench.request_state() == "active"


def test_a_resumed_tenants_calls_go_on_at_the_next_sweep(bench: Bench) -> None:
    suspended = OUR_TENANT.model_copy(update={"status": "suspended"})
    runner = bench.runner()
    held = Runner(runner.stage, runner.store, MemoryTenants((suspended,)), bench.publisher, bench.clock, worker="test")
    assert held.handle(delivery_of(RECEIVED), RECEIVED).status == 204
    set_status(bench, "suspended")
    assert sweep(bench) == {}, "suspended: not before it is due"

    set_status(bench, "active")

    assert sweep(bench) == {"blocked_sent_again": 1}
    assert deliver_swept(bench) == 204
    assert bench.run_row()["state"] == "done"


def set_status(bench: Bench, status: str) -> None:
    with bench.database.database.batch() as batch:
        batch.update(table="tenants", columns=("tenant_id", "status"), values=[(OUR_TENANT.tenant_id, status)])


def test_a_run_that_fails_and_is_not_redelivered_is_sent_again(bench: Bench) -> None:
    """Pub/Sub gave the message up (its own dead-letter policy), or lost it."""
    bench.behave = raising(TransientFailure("speech_unavailable", "503"))
    assert bench.deliver() == 503
    works(bench)
    assert sweep(bench) == {}

    report = long_after(bench).sweep()

    assert report.actions == {"retrying_sent_again": 1}
    assert deliver_swept(bench) == 204
    assert bench.contexts[-1].attempt == 2
    assert bench.run_row()["state"] == "done"


def test_a_request_whose_next_event_was_lost_is_pushed_on(bench: Bench) -> None:
    bench.deliver()
    bench.publisher.messages.clear()

    report = long_after(bench).sweep()

    assert report.actions == {"request_pushed_on": 1}
    assert deliver_swept(bench) == 204
    assert bench.publisher.topics() == [RECEIVED.topic, STORED.topic]
    assert bench.deliver(STORED, stage="transcribe") == 204
    assert bench.run_row("transcribe")["state"] == "done"


@pytest.mark.parametrize("last", LAST_EVENTS, ids=["call_synced", "another_request"])
@pytest.mark.parametrize("point", ["recorded", "published"])
def test_the_last_event_of_a_run_whose_message_is_acknowledged_is_published_by_a_sweep(
    bench: Bench, last: Event, point: str
) -> None:
    """Fault found here: a duplicate finished the last stage and died; the call was in the CRM and no event said so."""
    bench.behave = raising(Deferred("crm_quota", "soon", until=NOON))
    assert bench.deliver() == 204, "acknowledged: Pub/Sub owes no delivery any more"
    bench.clock.advance(1)
    bench.behave = lambda _context: Completed(last, request_state="done")
    with crashing(Doom(point)), pytest.raises(CrashNow):
        bench.deliver()
    assert (bench.run_row()["state"], bench.request_state()) == ("done", "active")

    assert long_after(bench).sweep().actions == {"request_pushed_on": 1}

    assert deliver_swept(bench) == 204
    assert bench.publisher.topics()[-1] == last.topic
    assert bench.request_state() == "done"
    assert long_after(bench).sweep().actions == {}


def test_a_run_that_was_sent_and_does_not_move_is_sent_again_only_later(bench: Bench) -> None:
    bench.behave = raising(Deferred("crm_quota", "soon", until=NOON))
    bench.deliver()
    bench.clock.advance(1)
    assert sweep(bench) == {"deferred_sent_again": 1}
    assert sweep(bench) == {}
    bench.clock.advance(sweeping.SENT_AGAIN_AFTER.total_seconds())
    assert sweep(bench) == {"deferred_sent_again": 1}


def test_behind_a_backlog_what_looks_still_is_repeated_ever_more_seldom_but_every_hour(bench: Bench) -> None:
    bench.behave = raising(TransientFailure("speech_unavailable", "503"))
    bench.deliver()
    clock = HandClock(datetime.now(UTC) + sweeping.STALE_AFTER)
    sent_at: list[int] = []

    for minute in range(0, 240, 5):
        if sweeper_of(bench, now=clock).sweep().actions:
            sent_at.append(minute)
        clock.advance(300)

    waits = [later - earlier for earlier, later in pairwise(sent_at)]
    assert waits == [30, 60, 60, 60], "as long as it has been still, an hour at most"


# -- waiting for Speech --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chain(spanner_emulator: str, gcs_server: str) -> Iterator[Chain]:
    with open_chain(spanner_emulator, gcs_server, name="sweeper") as chain:
        yield chain


@pytest.fixture
def office(chain: Chain) -> Iterator[Office]:
    yield Office(chain)
    chain.neighbours.speech.book.wait_until_idle()
    chain.neighbours.plans["speech"].clear()


LONG_ENOUGH_S = 24 * 3600


def asleep(office: Office, *faults: FaultRule) -> CallReceived:
    """A call whose recognition was started and whose notice never comes."""
    office.chain.neighbours.plans["speech"].add(*faults)
    event = office.received(office.chain.new_tenant(), audio=wav(2.0, channels=2))
    office.carry(event, notices=False)
    assert office.runs(event)["transcribe"] == "waiting"
    return event


def test_a_recognition_whose_notice_was_lost_is_finished_and_paid_once(office: Office) -> None:
    event = asleep(office)
    assert not office.sweep().actions.get("waiting_sent_again"), "not yet due"

    office.clock.advance(LONG_ENOUGH_S)
    assert office.sweep().actions["waiting_sent_again"] >= 1
    office.carry(event, notices=False)

    assert office.request_state(event) == "done"
    assert office.speech_jobs(event) == 1
    assert office.crm_calls(event) == (1, 1)


def test_a_recognition_that_still_runs_is_left_alone_and_looked_at_later(office: Office) -> None:
    """Speech says that it is busy: nobody pays twice, and the run has a new time to be looked at."""
    book = office.chain.neighbours.speech.book
    office.chain.neighbours.plans["speech"].add(FaultRule(operation="recognition", kind="stall", delay_s=3.0))
    event = office.received(office.chain.new_tenant(), audio=wav(2.0, channels=2))
    download, submit = office.publisher.messages[-1], "recording-stored"
    assert office.take(download) == 204
    stored = next(message for message in office.publisher.messages if message.topic == submit)
    assert office.take(stored) == 204
    first_due = due_at(office, event)

    office.clock.advance(3600)
    office.sweep()
    assert office.take(stored, swept="true") == 204

    assert [job["done"] for job in book.state()["operations"] if event.call_id in str(job)] == [False]
    assert office.runs(event)["transcribe"] == "waiting"
    assert due_at(office, event) > first_due
    assert office.speech_jobs(event) == 1


def due_at(office: Office, event: CallReceived) -> Any:
    return office.chain.database.value(
        f"SELECT due_at FROM stage_runs WHERE request_id = '{event.request_id}' AND stage = 'transcribe'"
    )


def test_a_recognition_that_failed_is_submitted_once_more(office: Office) -> None:
    event = asleep(office, FaultRule(operation="recognition", kind="status", grpc_code="INTERNAL"))
    office.clock.advance(LONG_ENOUGH_S)
    office.sweep()

    office.carry(event)

    assert office.request_state(event) == "done"
    assert office.speech_jobs(event) == 2


def test_a_recognition_that_failed_for_good_is_a_dead_letter_and_the_call_reaches_the_crm_marked(
    office: Office,
) -> None:
    event = asleep(office, FaultRule(operation="output", kind="status", grpc_code="PERMISSION_DENIED"))
    office.clock.advance(LONG_ENOUGH_S)
    office.sweep()

    office.carry(event)

    assert office.runs(event)["transcribe"] == "failed"
    (letter,) = [one for one in office.letters() if one.attributes["request_id"] == event.request_id]
    assert letter.attributes["dl_reason"] == "speech_failed"
    assert office.crm_calls(event) == (1, 1)
