"""Replaying dead letters from an earlier stage than the one that failed: a request of its own, and the same letter."""

from __future__ import annotations

import pytest

from schemas.events import CallAnalyzed, CallReceived
from shared.dead_letters import DeadLetter, LetterFilter
from shared.desk_jobs import ReplayOptions
from shared.errors import ConfigurationError, PermanentFailure
from shared.stage import Completed
from tests.support.desk_bench import CALL, OURS, REQUEST, DeskBench, failing
from tests.support.pipeline_database import PipelineDatabase

pytestmark = pytest.mark.emulators

REFUSED = PermanentFailure("model_refused", "the model said no", fix="another model")


@pytest.fixture
def bench(pipeline_database: PipelineDatabase) -> DeskBench:
    return DeskBench(pipeline_database)


def rerun_of(bench: DeskBench) -> str:
    letter = bench.letter()
    assert letter.current_request_id != letter.request_id
    return letter.current_request_id


@pytest.mark.parametrize(
    ("from_stage", "ran"),
    [
        ("download", ["download", "transcribe", "analyze", "crm_sync"]),
        ("transcribe", ["transcribe", "analyze", "crm_sync"]),
    ],
)
def test_a_re_run_from_an_earlier_stage_is_a_request_of_its_own(
    bench: DeskBench, from_stage: str, ran: list[str]
) -> None:
    (letter,) = bench.fail("analyze", REFUSED)
    report = bench.replay(letter.dead_letter_id, from_stage=from_stage)

    assert report.remaining == 0
    new = rerun_of(bench)
    assert bench.ran == [(stage, new) for stage in ran]
    assert (bench.request_state(new), bench.request_state()) == ("done", "failed")
    origin = bench.database.value(f"SELECT origin FROM processing_requests WHERE request_id = '{new}'")
    assert origin == "rerun"
    assert bench.letter().state == "closed"
    assert bench.database.value("SELECT COUNT(*) FROM usage_ledger WHERE request_id = 'r-0123456789abcdef'") == 2


def test_a_re_run_that_fails_updates_the_same_letter_wherever_it_fails(bench: DeskBench) -> None:
    (letter,) = bench.fail("analyze", REFUSED)
    bench.behaviours["transcribe"] = failing(PermanentFailure("speech_refused", "no"))
    assert bench.replay(letter.dead_letter_id, from_stage="download").counts == {"failed": 1}
    again = bench.letter()
    assert (again.dead_letter_id, again.stage, again.reason, again.state) == (
        letter.dead_letter_id,
        "transcribe",
        "speech_refused",
        "open",
    )

    bench.behaviours.clear()
    bench.ran.clear()
    assert bench.replay(letter.dead_letter_id).remaining == 0, "a plain replay goes on with the new request"
    assert bench.ran == [(stage, rerun_of(bench)) for stage in ("transcribe", "analyze", "crm_sync")]
    assert bench.letter().replays == 2


def test_a_re_run_is_sent_with_its_own_event_and_origin(bench: DeskBench) -> None:
    (letter,) = bench.fail("analyze", REFUSED)
    bench.replay(letter.dead_letter_id, from_stage="download")
    (event,) = bench.queue.events("call-received")
    assert isinstance(event, CallReceived)
    assert (event.origin, event.request_id) == ("rerun", rerun_of(bench))
    assert bench.queue.sent[0].delivery.attributes["request_id"] == event.request_id


def test_stages_that_cannot_be_re_run_are_refused_or_left_out(bench: DeskBench) -> None:
    (letter,) = bench.fail("analyze", REFUSED)
    chosen = LetterFilter(tenant_id=OURS)
    with pytest.raises(ConfigurationError, match="no stage is called polish"):
        bench.replays.plan(chosen, ReplayOptions(from_stage="polish"), words="x")
    later = bench.replays.plan(chosen, ReplayOptions(from_stage="crm_sync"), words="x")
    assert (later.letters, later.left_out) == ((), {"stage_not_earlier": 1})
    same = bench.replay(letter.dead_letter_id, from_stage="analyze")
    assert same.remaining == 0
    assert bench.letter().current_request_id == REQUEST, "the failed stage itself: a plain replay"


def test_a_request_that_never_went_through_a_stage_cannot_be_re_run_from_there(bench: DeskBench) -> None:
    letters = _letter_without_a_transcript(bench)
    report = bench.replay(letters[0].dead_letter_id, from_stage="transcribe")
    assert (report.reasons, report.remaining) == ({"stage_never_ran": 1}, 1)
    assert bench.letter().state == "open"


def _letter_without_a_transcript(bench: DeskBench) -> list[DeadLetter]:
    bench.behaviours["download"] = lambda _context: Completed(
        next_event=CallAnalyzed(tenant_id=OURS, request_id=REQUEST, call_id=CALL)
    )
    return bench.fail("crm_sync", PermanentFailure("record_refused", "no"))
