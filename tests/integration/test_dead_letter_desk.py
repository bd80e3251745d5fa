"""The dead-letter desk on real Spanner: kept once, shown to its owner only, decided about, and audited."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from schemas.events import Event, RecordingStored
from shared.dead_letters import (
    KEPT_DISCARDED,
    LETTER_STATES,
    UNASSIGNED_TENANT,
    AuditEntry,
    DeadLetter,
    GivenUp,
    LetterFilter,
    dead_letter_attributes,
)
from shared.deliveries import Delivery, parse_event
from shared.desk_edit import requeue_edited
from shared.desk_transfer import export_letters, import_letters
from shared.errors import ConfigurationError, PermanentFailure, TransientFailure
from tests.support.desk_bench import CALL, OURS, REQUEST, THEIRS, TRACE, DeskBench, failing, received
from tests.support.pipeline_database import PipelineDatabase

pytestmark = pytest.mark.emulators

NOT_AUDIO = PermanentFailure("not_audio", "the link leads to a page", fix="check the link")
STORED = RecordingStored(tenant_id=OURS, request_id=REQUEST, call_id=CALL)
ANY = LetterFilter(states=LETTER_STATES)


@pytest.fixture
def bench(pipeline_database: PipelineDatabase) -> DeskBench:
    return DeskBench(pipeline_database)


def letter_message(
    event: Event, given_up: GivenUp, *, message_id: str, published_at: datetime | None = None
) -> Delivery:
    data = event.model_dump_json().encode()
    original = Delivery("m", data, event.attributes(), "s")
    return Delivery(message_id, data, dead_letter_attributes(original, given_up), "s", published_at=published_at)


def gave_up(reason: str = "token_refused", *, stage: str = "download", attempts: int = 7) -> GivenUp:
    return GivenUp(stage, reason, "401", "give a new token", attempts=attempts)


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


# -- list, groups, stats ------------------------------------------------------------------------------


@pytest.fixture
def crowd(bench: DeskBench) -> DeskBench:
    """Five letters of two tenants, three kinds."""
    bench.fail("download", NOT_AUDIO, received(1), received(2))
    bench.fail("analyze", TransientFailure("model_busy", "Vertex said 429"), received(3))
    bench.fail("download", NOT_AUDIO, received(4, tenant_id=THEIRS))
    bench.fail("crm_sync", PermanentFailure("record_refused", "the Task's subject is too long"), received(5))
    return bench


def calls(letters: list[DeadLetter]) -> list[int]:
    return [int(letter.call_id.removeprefix("CAL")) for letter in letters]


@pytest.mark.parametrize(
    ("chosen", "found"),
    [
        ({}, [5, 4, 3, 2, 1]),
        ({"tenant_id": OURS}, [5, 3, 2, 1]),
        ({"tenant_id": THEIRS}, [4]),
        ({"stage": "download"}, [4, 2, 1]),
        ({"reason": "not_audio", "tenant_id": OURS}, [2, 1]),
        ({"error_code": "model_busy"}, [3]),
        ({"text": "SUBJECT is too"}, [5]),
        ({"text": "CAL00000000000000000000000000000002"}, [2]),
        ({"created_before": datetime(2020, 1, 1, tzinfo=UTC)}, []),
        ({"created_after": datetime(2020, 1, 1, tzinfo=UTC)}, [5, 4, 3, 2, 1]),
        ({"states": ("closed",)}, []),
        ({"sort": "oldest"}, [1, 2, 3, 4, 5]),
        ({"sort": "attempts", "limit": 1}, [3]),
        ({"sort": "newest", "limit": 2}, [5, 4]),
        ({"text": "100% _"}, []),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else None,
)
def test_letters_are_found_by_what_an_operator_knows(
    crowd: DeskBench, chosen: dict[str, Any], found: list[int]
) -> None:
    assert calls(crowd.desk.find(LetterFilter(**chosen))) == found


def test_groups_say_how_many_of_what(crowd: DeskBench) -> None:
    groups = crowd.desk.groups(LetterFilter())
    assert [(one.letters, one.tenant_id, one.stage, one.reason) for one in groups] == [
        (2, OURS, "download", "not_audio"),
        (1, OURS, "analyze", "model_busy"),
        (1, OURS, "crm_sync", "record_refused"),
        (1, THEIRS, "download", "not_audio"),
    ]
    assert groups[0].fix == "check the link"


def test_figures_by_tenant(crowd: DeskBench) -> None:
    letter = crowd.desk.find(LetterFilter(stage="analyze"))[0]
    crowd.replay(letter.dead_letter_id)
    crowd.desk.discard(THEIRS, crowd.letter(THEIRS).dead_letter_id, reason="a test", actor="op")
    ours, theirs = sorted(crowd.desk.stats(None), key=lambda one: one.tenant_id)
    assert (ours.open, ours.closed, ours.discarded, ours.replays) == (3, 1, 0, 1)
    assert (ours.new_lately, ours.closed_lately, ours.replay_outcomes) == (4, 1, {"arrived": 1})
    assert (theirs.open, theirs.discarded, theirs.oldest_open) == (0, 1, None)
    assert [one.tenant_id for one in crowd.desk.stats(OURS)] == [OURS]


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


# -- export and import --------------------------------------------------------------------------------


def remove_letters(bench: DeskBench) -> None:
    bench.database.database.run_in_transaction(
        lambda transaction: transaction.execute_update("DELETE FROM dead_letters WHERE true")
    )


def test_letters_go_out_and_come_back_once(crowd: DeskBench) -> None:
    note_on = crowd.desk.find(LetterFilter(stage="analyze"))[0]
    crowd.desk.note(OURS, note_on.dead_letter_id, "asked Google", actor="mo")
    before = {one.dead_letter_id: one for one in crowd.desk.find(ANY)}
    lines = [line.encode() for line in export_letters(crowd.desk, ANY)]
    assert len(lines) == 5
    assert import_letters(crowd.desk, lines, tenant_id=None, actor="op").known == 5
    remove_letters(crowd)

    for inserted in (5, 0):
        report = import_letters(crowd.desk, lines, tenant_id=None, actor="op")
        assert (report.inserted, report.known, report.refused) == (inserted, 5 - inserted, {})
    after = {one.dead_letter_id: one for one in crowd.desk.find(ANY)}
    for id_, letter in before.items():
        # The moment of the last change is the table's own, and nanoseconds do not survive JSON.
        same = {"updated_at": letter.updated_at, "created_at": letter.created_at, "failed_at": letter.failed_at}
        returned = replace(after[id_], **same, kept_until=letter.kept_until)  # type: ignore[arg-type] # by name
        assert returned == letter
    assert crowd.replay(note_on.dead_letter_id).remaining == 0, "what came back can be replayed"


def test_an_import_cannot_put_a_tenants_event_into_anothers_hands(bench: DeskBench) -> None:
    bench.fail("download", NOT_AUDIO)
    (line,) = export_letters(bench.desk, ANY)
    document = json.loads(line)
    remove_letters(bench)
    bad = [
        json.dumps({**document, "tenant_id": THEIRS}),
        json.dumps({**document, "call_id": "CAL9"}),
        json.dumps({**document, "event": "not json"}),
        json.dumps({**document, "dead_letter_id": "../etc"}),
        json.dumps({**document, "surprise": 1}),
        "not json",
    ]
    report = import_letters(bench.desk, [text.encode() for text in bad], tenant_id=None, actor="op")
    assert (report.inserted, sorted(report.refused)) == (0, [1, 2, 3, 4, 5, 6])
    assert "2025550142" not in str(report.refused)
    assert import_letters(bench.desk, [line.encode()], tenant_id=THEIRS, actor="op").refused
    assert bench.desk.find(ANY) == []
