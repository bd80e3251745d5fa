"""The sweeper closes the dead letters of calls that arrived, and has a failure told whose letter nobody recorded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from schemas.events import CallReceived
from shared import sweeper as sweeping
from shared.claims import RunKey
from shared.dead_letters import LETTER_STATES, LetterFilter
from shared.dead_letters import TOPIC as DEAD_LETTERS
from shared.deliveries import Delivery
from shared.desk import Desk
from shared.desk_letters import failure_id, replay_attributes
from shared.errors import PermanentFailure
from shared.gateways.dead_letter_store import SpannerDeadLetters
from shared.pipeline import load_pipeline
from shared.stage import Completed
from shared.sweeper import Sweeper
from tests.support.pipeline_database import OUR_TENANT
from tests.support.ports import HandClock
from tests.support.runner_bench import RECEIVED, STORED, Bench, bench, raising
from tests.support.sweeps import deliver_swept, long_after, sweep, sweeper_of, sweeps_at_once, works

__all__ = ["bench"]

pytestmark = pytest.mark.emulators

ANY_LETTER = LetterFilter(tenant_id=OUR_TENANT.tenant_id, states=LETTER_STATES)
FINAL_NO = PermanentFailure("model_refused", "the model said no", fix="another model")


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


def test_a_letter_whose_call_arrived_is_closed_without_anybody_looking(bench: Bench) -> None:
    bench.behave = raising(FINAL_NO)
    bench.deliver()
    record_letters(bench)
    assert letter_states(bench) == ["open"]
    assert sweep(bench) == {}, "not arrived"
    works(bench)
    desk_of(bench).replay(OUR_TENANT.tenant_id, letter_id_of(RECEIVED), actor="ops@example.com")
    assert bench.deliver() == 204
    assert sweep(bench) == {}, "its call is on its way"
    bench.behave = lambda _context: Completed(next_event=None, request_state="done")
    assert bench.deliver(STORED, stage="transcribe") == 204

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
    reports = sweeps_at_once(bench, 2)
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
