"""A replay has succeeded when its call has arrived, not when the stage that had failed is done."""

from __future__ import annotations

from datetime import timedelta

import pytest

from schemas.events import CallAnalyzed
from shared.dead_letters import LETTER_STATES, LetterFilter
from shared.errors import Deferred, PermanentFailure
from tests.support.desk_bench import CALL, OURS, REQUEST, DeskBench, failing, received
from tests.support.pipeline_database import PipelineDatabase

pytestmark = pytest.mark.emulators

NOT_AUDIO = PermanentFailure("recording_not_audio", "the recording is a page")
REFUSED = PermanentFailure("hubspot_refused", "HubSpot refused the record")


@pytest.fixture
def bench(pipeline_database: PipelineDatabase) -> DeskBench:
    return DeskBench(pipeline_database)


def letters(bench: DeskBench) -> dict[str, str]:
    """State by stage."""
    return {letter.stage: letter.state for letter in bench.desk.find(LetterFilter(states=LETTER_STATES))}


def closings(bench: DeskBench) -> list[tuple[str, str]]:
    closed = {"dead_letter.replay_ended", "dead_letter.close"}
    return [(action, outcome) for _, _, action, _, outcome in bench.audit() if action in closed]


def test_a_letter_stays_until_its_call_is_in_the_crm(bench: DeskBench) -> None:
    """Fault found here: a quota ended in the middle of ten thousand letters, and the desk said that all had arrived."""
    (letter,) = bench.fail("download", NOT_AUDIO)
    tomorrow = bench.clock() + timedelta(hours=20)
    bench.behaviours["crm_sync"] = failing(Deferred("salesforce_quota", "tomorrow", until=tomorrow))
    job_id = bench.job(letter.dead_letter_id)

    report = bench.run(job_id)

    assert (report.state, report.counts, report.remaining) == ("finished", {"parked": 1}, 1)
    assert (letters(bench), closings(bench)) == ({"download": "replaying"}, [])

    bench.behaviours.clear()
    bench.clock.advance(21 * 3600)
    waiting = CallAnalyzed(tenant_id=OURS, request_id=REQUEST, call_id=CALL)
    bench.queue.publish(waiting.topic, waiting.model_dump_json().encode(), {**waiting.attributes(), "swept": "true"})
    bench.work()

    assert letters(bench) == {"download": "closed"}
    assert closings(bench) == [("dead_letter.replay_ended", "arrived")]
    bench.replays.settle(bench.replays.job(job_id))
    assert bench.replays.report(bench.replays.job(job_id)).counts == {"arrived": 1}


def test_steps_stop_when_the_calls_fail_again_in_a_later_stage(bench: DeskBench) -> None:
    bench.fail("download", NOT_AUDIO, *(received(number) for number in range(1, 11)))
    bench.behaviours["crm_sync"] = failing(REFUSED)

    report = bench.run(bench.job(steps=(2, 8)))

    assert report.stop_reason == "2 of 2 letters of step 1 failed again: 100% is more than 20%"
    assert report.counts == {"failed": 2, "pending": 8}


def test_a_letter_gives_way_to_the_one_of_the_later_stage_that_gave_its_call_up(bench: DeskBench) -> None:
    """It has nothing left to replay; the call's way on is the other letter's, and one replay of that ends it."""
    (letter,) = bench.fail("download", NOT_AUDIO)
    bench.behaviours["crm_sync"] = failing(REFUSED)

    assert bench.replay(letter.dead_letter_id).counts == {"failed": 1}

    assert letters(bench) == {"download": "closed", "crm_sync": "open"}
    assert closings(bench) == [("dead_letter.replay_ended", "given_up_later")]
    bench.behaviours.clear()
    assert bench.run(bench.job()).counts == {"arrived": 1}
    assert letters(bench) == {"download": "closed", "crm_sync": "closed"}
    assert bench.ran.count(("download", REQUEST)) == 1


def test_a_letter_that_nobody_replayed_closes_when_its_stage_is_done_in_another_way(bench: DeskBench) -> None:
    """Pub/Sub gave the message up, and the sweeper was faster than the operator: there is nothing left to replay."""
    bench.fail("analyze", REFUSED)
    with bench.database.database.batch() as batch:
        batch.update("stage_runs", ("tenant_id", "request_id", "stage", "state"), [(OURS, REQUEST, "analyze", "done")])
        batch.update("processing_requests", ("tenant_id", "request_id", "state"), [(OURS, REQUEST, "active")])

    assert letters(bench) == {"analyze": "closed"}
    assert closings(bench) == [("dead_letter.close", "stage_done")]
