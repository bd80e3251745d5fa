"""The dead-letter desk on real Spanner: discarded, restored, closed, edited, and audited."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from schemas.events import Event
from shared.dead_letters import (
    KEPT_DISCARDED,
    LetterFilter,
)
from shared.desk_edit import requeue_edited
from shared.errors import ConfigurationError, PermanentFailure
from tests.support.desk_bench import CALL, OURS, REQUEST, THEIRS, DeskBench, failing, received
from tests.support.desk_letters import NOT_AUDIO, gave_up, letter_message
from tests.support.pipeline_database import PipelineDatabase

pytestmark = pytest.mark.emulators


@pytest.fixture
def bench(pipeline_database: PipelineDatabase) -> DeskBench:
    return DeskBench(pipeline_database)


# -- discard, restore, note ---------------------------------------------------------------------------


def test_a_discarded_letter_can_be_restored_until_the_date_that_is_shown(bench: DeskBench) -> None:
    (letter,) = bench.fail("download", NOT_AUDIO)
    until = bench.desk.discard(OURS, letter.dead_letter_id, reason="test call", actor="op")
    discarded = bench.letter()
    assert (discarded.state, discarded.discard_reason, discarded.restorable_until) == ("discarded", "test call", until)

    bench.desk.restore(OURS, letter.dead_letter_id, actor="mo")
    restored = bench.letter()
    assert (restored.state, restored.discard_reason, restored.restorable_until) == ("open", None, None)
    assert restored.kept_until is not None
    assert restored.kept_until > until
    assert [row[1:3] for row in bench.audit()] == [["op", "dead_letter.discard"], ["mo", "dead_letter.restore"]]


def test_after_that_date_it_is_too_late(bench: DeskBench) -> None:
    (letter,) = bench.fail("download", NOT_AUDIO)
    bench.desk.discard(OURS, letter.dead_letter_id, reason="test call", actor="op")
    later = replace(bench.desk, now=lambda: datetime.now(UTC) + KEPT_DISCARDED + timedelta(minutes=1))
    with pytest.raises(ConfigurationError, match="could be restored until"):
        later.restore(OURS, letter.dead_letter_id, actor="op")
    with pytest.raises(ConfigurationError, match="must say something"):
        bench.desk.discard(OURS, letter.dead_letter_id, reason="  ", actor="op")


def test_a_discarded_letter_stays_discarded_when_the_failure_is_reported_again(bench: DeskBench) -> None:
    (letter,) = bench.fail("download", NOT_AUDIO)
    bench.desk.discard(OURS, letter.dead_letter_id, reason="test call", actor="op")
    bench.desk.record(letter_message(received(), gave_up(), message_id="m-new"))
    assert bench.letter().state == "discarded"


def test_what_was_not_discarded_does_not_stand_in_the_audit_log(bench: DeskBench) -> None:
    (letter,) = bench.fail("download", NOT_AUDIO)
    bench.desk.discard(OURS, letter.dead_letter_id, reason="first", actor="op")
    with pytest.raises(ConfigurationError, match="discarded, not open"):
        bench.desk.discard(OURS, letter.dead_letter_id, reason="second", actor="op")
    with pytest.raises(ConfigurationError, match="discarded"):
        bench.desk.replay(OURS, letter.dead_letter_id, actor="op")
    assert [row[2] for row in bench.audit()] == ["dead_letter.discard"]


# -- closing ------------------------------------------------------------------------------------------


def test_a_letter_closes_when_its_stage_is_done_whoever_did_it(bench: DeskBench) -> None:
    """A redelivery of the message itself did it, nobody replayed; the sweep finds out."""
    (letter,) = bench.fail("analyze", PermanentFailure("model_refused", "no"))
    bench.database.database.run_in_transaction(
        lambda transaction: transaction.execute_update(
            "UPDATE stage_runs SET state = 'retrying' WHERE state = 'failed'"
        )
    )
    bench.queue.publish(
        "call-transcribed", bench.desk.body(OURS, letter.dead_letter_id).event.encode(), {"tenant_id": OURS}
    )
    bench.work()
    assert bench.database.value("SELECT state FROM dead_letters") == "open"

    assert bench.desk.close_arrived(THEIRS) == 0
    assert bench.desk.close_arrived(OURS) == 1
    assert bench.desk.close_arrived(OURS) == 0
    assert bench.database.value("SELECT state FROM dead_letters") == "closed"
    assert bench.audit() == [[OURS, "pipeline", "dead_letter.close", letter.dead_letter_id, "arrived"]]


def test_looking_closes_what_has_arrived(bench: DeskBench) -> None:
    (letter,) = bench.fail("analyze", PermanentFailure("model_refused", "no"))
    bench.desk.replay(OURS, letter.dead_letter_id, actor="op")
    assert bench.letter().state == "replaying"
    bench.work()
    assert bench.desk.find(LetterFilter(tenant_id=OURS)) == []
    assert bench.database.value("SELECT state FROM dead_letters") == "closed"


# -- requeue with an edit -----------------------------------------------------------------------------


def edited(event: Event, **payload: Any) -> bytes:
    document = event.model_dump(mode="json")
    return json.dumps({**document, "payload": {**document["payload"], **payload}}).encode()


def test_an_edited_copy_stands_in_for_its_original_and_arrives(bench: DeskBench) -> None:
    event = received()
    (letter,) = bench.fail("download", NOT_AUDIO, event)
    copy = requeue_edited(
        bench.desk, OURS, letter.dead_letter_id, edited=edited(event, duration="31"), is_allowed=True, actor="op"
    )
    assert (copy.state, copy.copy_of, copy.request_id, copy.call_id) == ("open", letter.dead_letter_id, REQUEST, CALL)
    original = bench.desk.body(OURS, letter.dead_letter_id).letter
    assert (original.state, original.discard_reason) == ("discarded", f"replaced by {copy.dead_letter_id}")
    assert original.restorable_until is not None

    assert bench.replay(copy.dead_letter_id).remaining == 0
    (sent,) = bench.queue.events("call-received")
    assert sent.model_dump()["payload"]["duration"] == "31"
    kept = bench.database.opened_event("download")
    assert kept["payload"]["duration"] == "31", "a sweep must not send the unedited event"
    assert bench.request_state() == "done"
    assert bench.desk.body(OURS, copy.dead_letter_id).letter.state == "closed"
    detail = bench.database.value("SELECT JSON_VALUE(detail, '$.fields[0]') FROM audit_log WHERE action LIKE '%edit'")
    assert detail == "payload.duration"


def test_an_edited_copy_that_fails_opens_itself_and_not_its_original(bench: DeskBench) -> None:
    event = received()
    (letter,) = bench.fail("download", NOT_AUDIO, event)
    copy = requeue_edited(
        bench.desk, OURS, letter.dead_letter_id, edited=edited(event, duration="31"), is_allowed=True, actor="op"
    )
    bench.behaviours["download"] = failing(NOT_AUDIO)
    assert bench.replay(copy.dead_letter_id).counts == {"failed": 1}
    states = {one.dead_letter_id: one.state for one in bench.desk.list_letters(OURS, limit=10)}
    assert states == {letter.dead_letter_id: "discarded", copy.dead_letter_id: "open"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tenant_id": THEIRS}, "tenant_id"),
        ({"call_id": "CAL9"}, "call_id"),
        ({"request_id": "r-fedcba9876543210"}, "request_id"),
        ({"type": "recording_stored"}, "edited"),
        ({"nonsense": 1}, "an unknown field"),
        ({}, "says what the original says"),
    ],
    ids=["tenant", "call", "request", "type", "schema", "nothing"],
)
def test_ids_and_tenant_cannot_be_edited(bench: DeskBench, changes: Mapping[str, Any], said: str) -> None:
    event = received()
    (letter,) = bench.fail("download", NOT_AUDIO, event)
    text = json.dumps({**event.model_dump(mode="json"), **changes}).encode()
    with pytest.raises(ConfigurationError, match=said):
        requeue_edited(bench.desk, OURS, letter.dead_letter_id, edited=text, is_allowed=True, actor="op")
    assert bench.letter() == letter


def test_editing_is_off_unless_it_is_switched_on(bench: DeskBench) -> None:
    event = received()
    (letter,) = bench.fail("download", NOT_AUDIO, event)
    with pytest.raises(ConfigurationError, match="editing of dead letters is off"):
        requeue_edited(
            bench.desk, OURS, letter.dead_letter_id, edited=edited(event, x="1"), is_allowed=False, actor="op"
        )
