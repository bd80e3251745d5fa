"""The sweeper finds what does not move, pushes it on once, and is not stopped by anybody's trouble."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from infra.local.standins.faults import FaultRule
from schemas.events import CallReceived
from shared import sweeper as sweeping
from shared.claims import RunKey
from shared.dead_letters import LETTER_STATES, LetterFilter
from shared.dead_letters import TOPIC as DEAD_LETTERS
from shared.deliveries import Delivery
from shared.desk import Desk
from shared.desk_letters import failure_id, replay_attributes
from shared.errors import Deferred, PermanentFailure, TenantBlocked, TransientFailure
from shared.gateways.circuit_store import SpannerCircuits
from shared.gateways.dead_letter_store import SpannerDeadLetters
from shared.gateways.sweep_store import SpannerSweepStore
from shared.inbox import Inbox
from shared.pipeline import load_pipeline
from shared.runner import Runner
from shared.stage import Completed
from shared.sweeper import LONGEST_SWEEP, Sweeper, SweepReport
from tests.support.audio import wav
from tests.support.flaky import Chain
from tests.support.office import Office, open_chain
from tests.support.pipeline_database import OTHER_TENANT, OUR_TENANT, PipelineDatabase
from tests.support.ports import NOON, HandClock, MemoryObjects, MemoryTenants
from tests.support.runner_bench import RECEIVED, STORED, Bench, delivery_of, raising

pytestmark = pytest.mark.emulators


@pytest.fixture
def bench(pipeline_database: PipelineDatabase) -> Bench:
    return Bench(pipeline_database)


def sweeper_of(bench: Bench, **changes: Any) -> Sweeper:
    store = SpannerSweepStore(bench.database.open, bench.database.vault)
    return replace(Sweeper(store, bench.publisher, Inbox(MemoryObjects()), bench.clock), **changes)


def sweep(bench: Bench) -> dict[str, int]:
    return sweeper_of(bench).sweep().actions


def deliver_swept(bench: Bench) -> int:
    """Deliver what the sweeper published last, as it published it."""
    message = bench.publisher.messages[-1]
    return bench.deliver(RECEIVED, swept=message.attributes["swept"])


def works(bench: Bench) -> None:
    bench.behave = lambda _context: Completed(next_event=STORED)


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


def long_after(bench: Bench) -> Sweeper:
    """A sweeper to whose clock every commit timestamp of this test is old: commit timestamps are Spanner's own."""
    return sweeper_of(bench, now=HandClock(datetime.now(UTC) + timedelta(days=1)))


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
    assert bench.publisher.topics() == [STORED.topic]
    assert bench.deliver(STORED, stage="transcribe", swept="true") == 204
    assert bench.run_row("transcribe")["state"] == "done"


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


# -- dead letters ------------------------------------------------------------------------------------------------


def desk_of(bench: Bench) -> Desk:
    return Desk(SpannerDeadLetters(bench.database.open, bench.database.vault), bench.publisher, load_pipeline())


def record_letters(bench: Bench) -> None:
    """The recorder takes every dead letter that was published so far."""
    desk = desk_of(bench)
    for number, message in enumerate(bench.publisher.messages):
        if message.topic == DEAD_LETTERS:
            attributes = dict(message.attributes)
            desk.record(Delivery(f"d-{number}", message.data, attributes, "s/dead", published_at=datetime.now(UTC)))
    bench.publisher.messages.clear()


def letter_states(bench: Bench) -> list[str]:
    return [letter.state for letter in desk_of(bench).store.list_letters(OUR_TENANT.tenant_id, ANY_LETTER)]


ANY_LETTER = LetterFilter(tenant_id=OUR_TENANT.tenant_id, states=LETTER_STATES)
FINAL_NO = PermanentFailure("model_refused", "the model said no", fix="another model")


def test_a_letter_whose_call_arrived_is_closed_without_anybody_looking(bench: Bench) -> None:
    bench.behave = raising(FINAL_NO)
    bench.deliver()
    record_letters(bench)
    assert letter_states(bench) == ["open"]
    assert sweep(bench) == {}, "not arrived"
    works(bench)
    desk_of(bench).replay(OUR_TENANT.tenant_id, letter_id_of(RECEIVED), actor="ops@example.com")
    assert bench.deliver() == 204

    assert sweep(bench) == {"letters_closed": 1}
    assert letter_states(bench) == ["closed"]
    assert sweep(bench) == {}
    outcomes = bench.database.rows("SELECT action, outcome FROM audit_log WHERE outcome = 'arrived'")
    assert outcomes == [["dead_letter.replay_ended", "arrived"]]


def letter_id_of(event: CallReceived, stage: str = "download") -> str:
    return failure_id(event, stage, b"")


def test_closing_is_bounded_and_two_sweeps_at_once_count_each_letter_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "LETTERS_PER_TENANT", 3)
    events = [RECEIVED.model_copy(update={"request_id": f"r-{number:016d}"}) for number in range(4)]
    bench.behave = raising(FINAL_NO)
    for event in events:
        bench.deliver(event)
    record_letters(bench)
    done = [(OUR_TENANT.tenant_id, event.request_id, "download", "done") for event in events]
    with bench.database.database.batch() as batch:
        batch.update(table="stage_runs", columns=(*RunKey._fields, "state"), values=done)
    start = threading.Barrier(2)

    def one(_number: int) -> SweepReport:
        start.wait()
        return sweeper_of(bench).sweep()

    with ThreadPoolExecutor(max_workers=2) as pool:
        reports = list(pool.map(one, range(2)))
    closed = sum(report.actions.get("letters_closed", 0) for report in reports)

    assert closed + sweep(bench).get("letters_closed", 0) == 4
    assert closed >= 3
    assert bench.database.value("SELECT COUNT(*) FROM audit_log WHERE action = 'dead_letter.close'") == 4


def test_a_failure_whose_dead_letter_was_never_published_gets_one(bench: Bench) -> None:
    """The publish was refused on a repeat of a message that had been acknowledged: nobody delivers it again soon."""
    bench.behave = raising(FINAL_NO)
    bench.deliver()
    bench.publisher.messages.clear()
    assert sweep(bench) == {}, "the recorder may just be at it"

    assert long_after(bench).sweep().actions == {"failed_sent_again": 1}
    assert deliver_swept(bench) == 204
    assert bench.contexts[1:] == [], "a failed stage is not run again for it"
    record_letters(bench)

    assert letter_states(bench) == ["open"]
    assert "swept" not in replay_attributes(
        desk_of(bench).body(OUR_TENANT.tenant_id, letter_id_of(RECEIVED)).attributes
    )
    assert later(bench, days=3).sweep().actions == {}


def later(bench: Bench, *, days: float) -> Sweeper:
    return sweeper_of(bench, now=HandClock(datetime.now(UTC) + timedelta(days=days)))


def test_while_the_recorder_is_down_a_missed_letter_is_published_more_and_more_seldom(bench: Bench) -> None:
    bench.behave = raising(FINAL_NO)
    bench.deliver()

    sent = [later(bench, days=days).sweep().actions.get("failed_sent_again", 0) for days in (1, 1.5, 1.9, 2.1, 3, 4.3)]

    assert sent == [1, 0, 0, 1, 0, 1]


def test_a_replay_that_failed_again_unheard_is_told_once_more(bench: Bench) -> None:
    bench.behave = raising(FINAL_NO)
    bench.deliver()
    record_letters(bench)
    desk_of(bench).replay(OUR_TENANT.tenant_id, letter_id_of(RECEIVED), actor="ops@example.com")
    bench.deliver()
    bench.publisher.messages.clear()
    assert letter_states(bench) == ["replaying"]

    assert long_after(bench).sweep().actions == {"failed_sent_again": 1}
    assert deliver_swept(bench) == 204
    record_letters(bench)

    assert letter_states(bench) == ["open"]


def test_what_an_operator_discarded_does_not_come_back_when_its_row_is_gone(bench: Bench) -> None:
    bench.behave = raising(FINAL_NO)
    bench.deliver()
    record_letters(bench)
    desk_of(bench).discard(OUR_TENANT.tenant_id, letter_id_of(RECEIVED), reason="a test call", actor="ops@example.com")
    assert long_after(bench).sweep().actions == {}

    bench.database.database.execute_partitioned_dml("DELETE FROM dead_letters WHERE true")
    assert later(bench, days=31).sweep().actions == {}


# -- many at once ------------------------------------------------------------------------------------------------


def deferred_runs(bench: Bench, count: int, *, tenant_id: str = OUR_TENANT.tenant_id) -> list[CallReceived]:
    """Runs of that many requests, all of them due."""
    bench.behave = raising(Deferred("crm_quota", "soon", until=NOON))
    events = [
        RECEIVED.model_copy(update={"tenant_id": tenant_id, "request_id": f"r-{number:016d}"})
        for number in range(count)
    ]
    for event in events:
        assert bench.deliver(event) == 204
    bench.clock.advance(1)
    return events


def test_two_sweeps_at_once_send_each_run_once(bench: Bench) -> None:
    events = deferred_runs(bench, 8)
    start = threading.Barrier(3)

    def one(_number: int) -> SweepReport:
        start.wait()
        return sweeper_of(bench).sweep()

    with ThreadPoolExecutor(max_workers=3) as pool:
        reports = list(pool.map(one, range(3)))

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
