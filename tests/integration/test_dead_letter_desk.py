"""The dead-letter desk on real Spanner: each failure is kept once and shown to its owner only."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from shared.dead_letters import (
    LETTER_STATES,
    UNASSIGNED_TENANT,
    AuditEntry,
    GivenUp,
    LetterFilter,
)
from shared.deliveries import Delivery, parse_event
from shared.desk_edit import requeue_edited
from shared.errors import ConfigurationError, PermanentFailure, TransientFailure
from tests.support.desk_bench import CALL, OURS, REQUEST, THEIRS, TRACE, DeskBench, received
from tests.support.desk_letters import NOT_AUDIO, STORED, gave_up, letter_message
from tests.support.pipeline_database import PipelineDatabase

pytestmark = pytest.mark.emulators


@pytest.fixture
def bench(pipeline_database: PipelineDatabase) -> DeskBench:
    return DeskBench(pipeline_database)


# -- record -------------------------------------------------------------------------------------------


def test_a_dead_letter_is_kept_with_everything_an_operator_needs(bench: DeskBench) -> None:
    event = received()
    (letter,) = bench.fail("download", NOT_AUDIO, event)

    assert (letter.tenant_id, letter.request_id, letter.call_id) == (OURS, REQUEST, CALL)
    assert (letter.stage, letter.state, letter.attempts) == ("download", "open", 1)
    assert (letter.reason, letter.detail, letter.fix) == ("not_audio", "the link leads to a page", "check the link")
    assert (letter.occurrences, letter.replays) == (1, 0)
    body = bench.desk.body(OURS, letter.dead_letter_id)
    assert body.topic == "call-received"
    assert parse_event(body.event.encode()) == event
    assert body.attributes["traceparent"] == TRACE


def test_the_same_failure_again_is_the_same_letter_counted_twice_with_the_newest_reason(bench: DeskBench) -> None:
    (first,) = bench.fail("download", NOT_AUDIO)
    bench.desk.record(letter_message(received(), gave_up(), message_id="m-3"))
    again = bench.letter()
    assert again.dead_letter_id == first.dead_letter_id
    assert (again.occurrences, again.attempts, again.reason, again.fix) == (2, 7, "token_refused", "give a new token")
    assert [one.reason for one in bench.store.failures(OURS, again.dead_letter_id)] == ["not_audio", "token_refused"]


def test_the_same_message_twice_is_recorded_once(bench: DeskBench) -> None:
    """Pub/Sub delivers a dead letter as often as it likes."""
    message = letter_message(received(), gave_up(), message_id="m-1")
    for _ in range(3):
        bench.desk.record(message)
    assert bench.letter().occurrences == 1


def test_an_older_message_that_comes_late_is_counted_and_changes_nothing_else(bench: DeskBench) -> None:
    now = datetime.now(UTC)
    bench.desk.record(letter_message(received(), gave_up("newer"), message_id="m-2", published_at=now))
    late = letter_message(received(), gave_up("older"), message_id="m-1", published_at=now - timedelta(minutes=5))
    bench.desk.record(late)
    letter = bench.letter()
    assert (letter.reason, letter.occurrences) == ("newer", 2)


def test_a_late_message_does_not_open_a_closed_letter(bench: DeskBench) -> None:
    before = datetime.now(UTC)
    (letter,) = bench.fail("analyze", PermanentFailure("model_refused", "no"))
    assert bench.replay(letter.dead_letter_id).remaining == 0
    late = letter_message(
        STORED.model_copy(update={"type": "recording_stored"}),
        gave_up(stage="analyze"),
        message_id="m-late",
        published_at=before,
    )
    bench.desk.record(late)
    assert bench.letter().state == "closed"


def test_a_very_wordy_letter_is_kept(bench: DeskBench) -> None:
    wordy = GivenUp("download", "r" * 500, "d" * 5000, "f" * 5000, attempts=1)
    bench.desk.record(letter_message(received(), wordy, message_id="m-3"))
    assert bench.letter().detail.startswith("ddd")


@pytest.mark.parametrize(
    ("data", "attributes"),
    [
        (b"not json", {}),
        (STORED.model_dump_json().encode(), STORED.attributes() | {"tenant_id": THEIRS}),
        (
            STORED.model_copy(update={"tenant_id": "nobody-known"}).model_dump_json().encode(),
            STORED.attributes() | {"tenant_id": "nobody-known"},
        ),
    ],
    ids=["unreadable", "two tenants claimed", "unknown tenant"],
)
def test_a_letter_without_a_tenant_of_ours_goes_to_unassigned(
    bench: DeskBench, data: bytes, attributes: dict[str, str]
) -> None:
    for number in range(2):
        bench.desk.record(Delivery(f"m-{number}", data, attributes, "s"))
    letter = bench.letter(UNASSIGNED_TENANT)
    assert letter.occurrences == 2
    assert bench.desk.body(UNASSIGNED_TENANT, letter.dead_letter_id).event.encode() == data
    assert bench.desk.list_letters(OURS, limit=10) == []
    assert bench.desk.list_letters(THEIRS, limit=10) == []


def test_the_owner_of_nobodys_letters_is_no_customer(bench: DeskBench) -> None:
    bench.desk.record(Delivery("m-1", b"not json", {}, "s"))
    assert bench.database.rows("SELECT status FROM tenants WHERE tenant_id = 'unassigned'") == [["system"]]


# -- show ---------------------------------------------------------------------------------------------


def test_the_story_of_a_letter(bench: DeskBench) -> None:
    """Failures, requests, stages and what people did, in the order of time."""
    bench.receive(received(9))
    (letter,) = bench.fail("analyze", TransientFailure("model_busy", "Vertex said 429"))
    bench.desk.note(OURS, letter.dead_letter_id, "asked Google", actor="mo")
    story = bench.desk.show(OURS, letter.dead_letter_id)

    assert story.error_chain[0].startswith("model_busy: gave up after 3 attempts")
    told = [entry.what for entry in story.timeline]
    assert told.index("download: done, attempt 1") < told.index("transcribe: done, attempt 1")
    assert any(line.startswith("analyze: given up by the stage after 4 attempts, model_busy") for line in told)
    assert told[-1] == "dead_letter.note by mo: asked Google"
    assert [entry.at for entry in story.timeline] == sorted(entry.at for entry in story.timeline)
    assert (story.preview.runs, story.preview.keeps) == (("analyze", "crm_sync"), ("download", "transcribe"))
    assert (story.preview.topic, story.preview.refusal) == ("call-transcribed", "")
    # 2,000 tokens at $0.75 and 400 at $3.75 a million, from the one comparable call
    assert story.preview.cost.usd == pytest.approx(0.003)
    assert story.preview.cost.comparable_calls == 1


def test_nothing_comparable_is_said_and_not_called_free(bench: DeskBench) -> None:
    (letter,) = bench.fail("transcribe", PermanentFailure("speech_refused", "no"))
    cost = bench.desk.show(OURS, letter.dead_letter_id).preview.cost
    assert "unknown" in cost.words()
    assert cost.unknown_stages == ("analyze", "transcribe")


def test_a_letter_from_nowhere_has_a_story_too(bench: DeskBench) -> None:
    bench.desk.record(Delivery("m-1", b"not json", {}, "s"))
    story = bench.desk.show(UNASSIGNED_TENANT, bench.letter(UNASSIGNED_TENANT).dead_letter_id)
    assert "which topic" in story.preview.refusal
    assert story.runs == ()


# -- whose --------------------------------------------------------------------------------------------


def test_a_tenant_neither_sees_nor_touches_anothers_letter(bench: DeskBench) -> None:
    (letter,) = bench.fail("download", NOT_AUDIO)
    desk, id_ = bench.desk, letter.dead_letter_id
    assert desk.list_letters(THEIRS, limit=10) == []
    assert desk.groups(LetterFilter(tenant_id=THEIRS, states=LETTER_STATES)) == []
    for attempt in (
        lambda: desk.show(THEIRS, id_),
        lambda: desk.replay(THEIRS, id_, actor="op"),
        lambda: desk.discard(THEIRS, id_, reason="mine now", actor="op"),
        lambda: desk.restore(THEIRS, id_, actor="op"),
        lambda: desk.note(THEIRS, id_, "mine now", actor="op"),
        lambda: requeue_edited(desk, THEIRS, id_, edited=b"{}", is_allowed=True, actor="op"),
    ):
        with pytest.raises(ConfigurationError, match="no dead letter"):
            attempt()
    stolen = replace(letter, tenant_id=THEIRS)
    entry = AuditEntry("op", "dead_letter.discard", "x", {})
    assert bench.store.discard(stolen, "x", entry, kept_until=datetime.now(UTC)) is False
    assert bench.letter() == letter
    assert bench.audit() == []
    assert bench.queue.sent == []
