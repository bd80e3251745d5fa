"""Replay jobs: slowly, in growing steps, stopped by themselves or by a person, and resumed where they were."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from shared.dead_letters import UNASSIGNED_TENANT, LetterFilter
from shared.desk_jobs import LEASE_S, PAUSE_AFTER_TROUBLE_S, Progress, ReplayJob, ReplayOptions, SentItem
from shared.errors import ConfigurationError, PermanentFailure, TransientFailure
from shared.gateways.dead_letter_store import SpannerDeadLetters
from shared.gateways.tenant_keys import SEALED
from shared.stage import Completed, StageContext
from tests.support.desk_bench import OURS, THEIRS, DeskBench, done, failing, received
from tests.support.pipeline_database import PipelineDatabase

pytestmark = pytest.mark.emulators

REFUSED = PermanentFailure("model_refused", "the model said no", fix="another model")


@pytest.fixture
def bench(pipeline_database: PipelineDatabase) -> DeskBench:
    return DeskBench(pipeline_database)


def given_up(bench: DeskBench, count: int, *, tenant_id: str = OURS, first: int = 1) -> None:
    """So many calls that the analysis gave up; the oldest has the lowest number."""
    numbers = range(first, first + count)
    bench.fail("analyze", REFUSED, *(received(number, tenant_id=tenant_id) for number in numbers))


def sent_requests(bench: DeskBench) -> list[str]:
    return [event.request_id for event in bench.queue.events("call-transcribed")]


def failing_again(*numbers: int) -> dict[str, object]:
    refused = {f"r-{number:016d}" for number in numbers}

    def behave(context: StageContext) -> Completed:
        if context.request_id in refused:
            raise REFUSED
        return done(context)

    return {"analyze": behave}


# -- steps ---------------------------------------------------------------------------------------------


def test_growing_steps_wait_for_the_outcome_of_each(bench: DeskBench) -> None:
    """1, 2, 5, and 5 again and again; no step begins before the one before it has arrived."""
    given_up(bench, 15)
    seen: list[tuple[int, int, int]] = []

    def note(progress: Progress) -> None:
        seen.append((progress.step, progress.counts["arrived"], progress.counts["pending"]))

    report = bench.run(bench.job(steps=(1, 2, 5)), report=note)
    assert (report.state, report.counts) == ("finished", {"arrived": 15})
    assert max(step for step, _, _ in seen) == 5
    before = {1: 0, 2: 1, 3: 3, 4: 8, 5: 13}
    assert all(arrived >= before[step] for step, arrived, _ in seen if step)


def test_steps_stop_by_themselves_when_too_many_fail_again(bench: DeskBench) -> None:
    given_up(bench, 20)
    bench.behaviours.update(failing_again(2, 4))  # type: ignore[arg-type] # behaviours by stage
    job_id = bench.job(steps=(1, 5), max_failures=0.2)
    report = bench.run(job_id)

    assert report.state == "stopped"
    assert report.stop_reason == "2 of 5 letters of step 2 failed again: 40% is more than 20%"
    assert report.counts == {"arrived": 4, "failed": 2, "pending": 14}
    assert len(sent_requests(bench)) == 6, "nothing of the third step was sent"

    bench.behaviours.clear()
    resumed = bench.run(job_id)
    assert (resumed.state, resumed.counts) == ("finished", {"arrived": 18, "failed": 2})
    assert resumed.remaining == 2
    assert len(set(sent_requests(bench))) == len(sent_requests(bench)) == 20


def test_a_share_at_the_mark_goes_on(bench: DeskBench) -> None:
    given_up(bench, 10)
    bench.behaviours.update(failing_again(1))  # type: ignore[arg-type] # behaviours by stage
    report = bench.run(bench.job(steps=(5,), max_failures=0.2))
    assert (report.state, report.counts) == ("finished", {"arrived": 9, "failed": 1})


def test_a_long_step_is_stopped_in_its_middle(bench: DeskBench) -> None:
    """Without steps everything is one; twenty outcomes are enough to see that it goes wrong."""
    given_up(bench, 40)
    bench.behaviours["analyze"] = failing(REFUSED)
    job_id = bench.job(rate=10.0)
    report = bench.run(job_id)
    assert report.state == "stopped"
    assert "failed again: 100%" in report.stop_reason
    assert 20 <= report.counts["failed"] < 35
    assert report.counts["pending"] > 5

    bench.behaviours.clear()
    resumed = bench.run(job_id)
    assert (resumed.state, resumed.counts.get("pending", 0)) == ("finished", 0), "a resumed job sends the rest"
    assert resumed.counts == {"failed": report.counts["failed"], "arrived": 40 - report.counts["failed"]}


def test_a_step_without_outcomes_is_not_followed_by_the_next(bench: DeskBench) -> None:
    given_up(bench, 3)

    def nobody_works(seconds: float) -> bool:
        bench.seconds += seconds
        return False

    job_id = bench.job(steps=(1,), wait_s=30.0)
    report = bench.run(job_id, pause=nobody_works)
    assert (report.state, report.stop_reason) == ("stopped", "no outcome of 1 letters of step 1 within 30 s")
    assert bench.seconds >= 30
    assert len(sent_requests(bench)) == 1
    assert bench.run(job_id).counts == {"arrived": 3}


def test_failures_count_also_while_nobody_records_them(bench: DeskBench) -> None:
    """The dead-letter worker is down: the run says that it failed, and the letters wait in their subscription."""
    given_up(bench, 10)
    bench.behaviours["analyze"] = failing(REFUSED)
    bench.is_recorder_down = True
    report = bench.run(bench.job(steps=(2,)))
    assert (report.state, report.counts) == ("stopped", {"failed": 2, "pending": 8})
    assert len(bench.queue.waiting) == 2
    bench.is_recorder_down = False
    bench.work()
    assert Counter(one.occurrences for one in bench.desk.find(LetterFilter())) == {1: 8, 2: 2}


# -- rate ----------------------------------------------------------------------------------------------


@pytest.mark.timeout(400)
def test_a_hundred_letters_at_a_capped_rate(bench: DeskBench) -> None:
    """Each exactly once, never faster than the cap, whatever the machine could do."""
    bench.seed(100)
    bench.behaviours["analyze"] = lambda _context: Completed(next_event=None, request_state="done")
    bench.queue.moment = lambda: bench.seconds
    report = bench.run(bench.job(rate=50.0))

    assert (report.state, report.counts, report.remaining) == ("finished", {"arrived": 100}, 0)
    assert len(set(sent_requests(bench))) == len(sent_requests(bench)) == len(bench.ran) == 100
    moments = bench.queue.moments
    assert moments[-1] - moments[0] == pytest.approx(99 / 50, rel=0.01)
    assert min(later - earlier for earlier, later in pairwise(moments)) >= 1 / 50 - 1e-6
    assert bench.database.rows("SELECT state, replays, COUNT(*) FROM dead_letters GROUP BY 1, 2") == [
        ["closed", 1, 100]
    ]
    assert bench.database.value("SELECT COUNT(*) FROM usage_ledger") == 100


# -- stop and resume -----------------------------------------------------------------------------------


def test_ctrl_c_ends_between_two_letters_and_a_resume_goes_on(bench: DeskBench) -> None:
    given_up(bench, 10)
    job_id = bench.job(rate=1.0)

    def stop_after_four(seconds: float) -> bool:
        bench.pause(seconds)
        return len(sent_requests(bench)) >= 4

    report = bench.run(job_id, pause=stop_after_four)
    assert (report.state, report.stop_reason) == ("stopped", "stopped by its operator")
    assert len(sent_requests(bench)) == 4
    assert report.remaining == 10 - report.counts.get("arrived", 0)

    resumed = bench.run(job_id)
    assert (resumed.state, resumed.counts, resumed.remaining) == ("finished", {"arrived": 10}, 0)
    assert len(sent_requests(bench)) == 10


def test_a_letter_marked_but_not_published_is_sent_by_the_resumed_job(bench: DeskBench) -> None:
    """Pub/Sub did not answer, or the process died between the commit and the publish: same rows, same repair."""
    given_up(bench, 3)
    job_id = bench.job()
    bench.queue.failing = 1000
    report = bench.run(job_id)
    assert (report.state, report.counts) == ("stopped", {"sent": 1, "pending": 2})
    assert report.stop_reason == "told to fail"
    assert LEASE_S <= bench.seconds < LEASE_S + 3 * PAUSE_AFTER_TROUBLE_S

    bench.queue.failing = 0
    assert bench.run(job_id).counts == {"arrived": 3}
    assert sorted(sent_requests(bench)) == [f"r-{number:016d}" for number in (1, 2, 3)]
    assert {one.replays for one in bench.desk.list_letters(OURS, limit=5)} == {1}, "it is the same replay"


def test_pubsub_and_the_database_may_be_away_for_a_while(bench: DeskBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replay of an hour meets more than one of these, and nobody sits beside it to resume it."""
    given_up(bench, 3)
    job_id = bench.job()
    bench.queue.failing = 2
    looks = iter([TransientFailure("spanner_unavailable", "Aborted")] * 2)
    look_at_sent = SpannerDeadLetters.look_at_sent

    def look(store: SpannerDeadLetters, job: ReplayJob) -> list[SentItem]:
        if bench.queue.sent:
            for failure in looks:
                raise failure
        return look_at_sent(store, job)

    monkeypatch.setattr(SpannerDeadLetters, "look_at_sent", look)
    report = bench.run(job_id)

    assert (report.state, report.counts) == ("finished", {"arrived": 3})
    assert next(looks, None) is None
    assert sorted(set(sent_requests(bench))) == [f"r-{number:016d}" for number in (1, 2, 3)]
    assert {one.replays for one in bench.desk.list_letters(OURS, limit=5)} == {1}


def test_letters_that_cannot_be_closed_now_are_closed_later(bench: DeskBench, monkeypatch: pytest.MonkeyPatch) -> None:
    given_up(bench, 3)

    def close(*_: object, **__: object) -> int:
        raise TransientFailure("spanner_unavailable", "Aborted")

    with monkeypatch.context() as away:
        away.setattr(SpannerDeadLetters, "close_arrived", close)
        assert bench.run(bench.job()).counts == {"arrived": 3}
        assert {one.state for one in bench.desk.list_letters(OURS, limit=5)} == {"replaying"}
    assert bench.desk.close_arrived(OURS) == 3


def test_a_resumed_job_does_not_repeat_what_waits_in_pubsub(bench: DeskBench) -> None:
    """Behind a backlog every letter looks untouched; only the last one can be one that was never sent."""
    bench.seed(5)
    job_id = bench.job(rate=1.0, wait_s=0.0)

    def stop_after_four(seconds: float) -> bool:
        bench.seconds += seconds
        return len(sent_requests(bench)) >= 4

    bench.run(job_id, pause=stop_after_four)

    def nobody_works(seconds: float) -> bool:
        bench.seconds += seconds
        return False

    assert bench.run(job_id, pause=nobody_works).counts == {"sent": 5}
    first, second, third, fourth, again, fifth = sent_requests(bench)
    assert again == fourth
    assert len({first, second, third, fourth, fifth}) == 5


def test_a_re_run_that_was_not_published_is_the_same_request_when_resumed(bench: DeskBench) -> None:
    given_up(bench, 1)
    job_id = bench.job(from_stage="transcribe")
    bench.queue.failing = 1000
    bench.run(job_id)
    bench.queue.failing = 0
    (before,) = bench.database.rows("SELECT request_id FROM processing_requests WHERE origin = 'rerun'")
    assert bench.run(job_id).remaining == 0
    assert [event.request_id for event in bench.queue.events("recording-stored")] == before
    assert bench.database.value("SELECT COUNT(*) FROM processing_requests") == 2


def test_a_job_whose_process_died_can_be_resumed_once_its_lock_is_over(bench: DeskBench) -> None:
    given_up(bench, 4)
    job_id = bench.job()

    assert bench.store.take_job(bench.replays.job(job_id), lock_token="a-dead-process", lease_s=60)
    with pytest.raises(ConfigurationError, match="running somewhere else") as refused:
        bench.run(job_id)
    assert refused.value.code == "replay_not_free"
    bench.database.database.run_in_transaction(
        lambda transaction: transaction.execute_update(
            "UPDATE replay_jobs SET lock_until = TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 1 SECOND) WHERE true"
        )
    )
    (listed,) = bench.replays.jobs(limit=5)
    assert (listed.state, listed.actor) == ("interrupted", "ops@example.com")
    assert bench.run(job_id).counts == {"arrived": 4}
    assert bench.replays.jobs(limit=5)[0].state == "finished"
    with pytest.raises(ConfigurationError, match="is finished"):
        bench.run(job_id)


def test_a_job_is_stopped_from_another_place(bench: DeskBench) -> None:
    """The console, another terminal: the process that runs the job notices at its next look."""
    given_up(bench, 30)
    job_id = bench.job(rate=1.0)
    told: list[float] = []

    def tell_to_stop(seconds: float) -> bool:
        if not told and len(sent_requests(bench)) == 3:
            bench.replays.stop(job_id, actor="mo")
            told.append(bench.seconds)
        return bench.pause(seconds)

    report = bench.run(job_id, pause=tell_to_stop)
    assert (report.state, report.stop_reason) == ("stopped", "stopped by mo")
    assert bench.seconds - told[0] <= 2
    assert report.counts["pending"] >= 25
    with pytest.raises(ConfigurationError, match="is stopped"):
        bench.replays.stop(job_id, actor="mo")
    assert bench.run(job_id).counts == {"arrived": 30}


def test_outcomes_that_come_after_the_job_ended_are_seen_later(bench: DeskBench) -> None:
    given_up(bench, 2)
    job_id = bench.job(wait_s=0.0)

    def nobody_works(seconds: float) -> bool:
        bench.seconds += seconds
        return False

    report = bench.run(job_id, pause=nobody_works)
    assert (report.counts, report.remaining) == ({"sent": 2}, 0), "not waited for: sent is as good as gone"
    bench.work()
    (listed,) = bench.replays.jobs(limit=5)
    assert (listed.job_id, listed.counts) == (job_id, {"arrived": 2})


def test_a_letter_that_cannot_be_opened_holds_up_no_other(bench: DeskBench) -> None:
    """A damaged or restored row stopped its job at the same letter, however often it was resumed."""
    given_up(bench, 3)
    (damaged,) = bench.database.rows("SELECT tenant_id, dead_letter_id FROM dead_letters WHERE request_id LIKE '%2'")
    with bench.database.database.batch() as batch:
        values = [(*damaged, f"{SEALED}c2VhbGVkIGVsc2V3aGVyZQ==")]
        batch.update("dead_letters", ("tenant_id", "dead_letter_id", "event"), values)

    report = bench.run(bench.job(rate=1.0))

    assert (report.state, report.counts) == ("finished", {"arrived": 2, "skipped": 1})
    assert (report.reasons, report.remaining) == ({"personal_data_unreadable": 1}, 1)


# -- which letters -------------------------------------------------------------------------------------


def test_a_replay_across_tenants_holds_one_back(bench: DeskBench) -> None:
    given_up(bench, 3)
    given_up(bench, 2, tenant_id=THEIRS, first=11)
    bench.queue.sent.clear()
    job_id = bench.job(tenant_id=None, held=(THEIRS,))
    report = bench.run(job_id)
    assert (report.counts, report.left_out, report.remaining) == ({"arrived": 3}, {"held": 2}, 2)
    assert {event.tenant_id for event in bench.queue.events("call-transcribed")} == {OURS}

    both = bench.run(bench.job(tenant_id=None))
    assert both.counts == {"arrived": 2}


def test_a_job_of_several_tenants_belongs_to_none_of_them(bench: DeskBench) -> None:
    given_up(bench, 1)
    given_up(bench, 1, tenant_id=THEIRS, first=11)
    job_id = bench.job(tenant_id=None)
    job = bench.replays.job(job_id)
    assert (job.owner, job.tenants) == (UNASSIGNED_TENANT, (OURS, THEIRS))
    assert bench.run(job_id).remaining == 0
    for tenant_id in (OURS, THEIRS):
        assert bench.letter(tenant_id).state == "closed"
    rows = bench.database.rows(f"SELECT target FROM audit_log WHERE tenant_id = '{THEIRS}'")
    assert {row[0] for row in rows} == {bench.letter(THEIRS).dead_letter_id}, "each tenant's log speaks of its own"


def test_a_plan_counts_and_prices_and_changes_nothing(bench: DeskBench) -> None:
    bench.receive(received(90), received(91))  # what comparable calls used
    given_up(bench, 4)
    given_up(bench, 1, tenant_id=THEIRS, first=11)
    before = bench.database.rows("SELECT * FROM dead_letters")
    options = ReplayOptions(rate=2.0, steps=(1, 2))
    plan = bench.replays.plan(LetterFilter(), options, words="all")

    assert [letter.request_id[-2:] for letter in plan.letters] == ["01", "02", "03", "04", "11"]
    assert plan.groups == {(OURS, "analyze", "model_refused"): 4, (THEIRS, "analyze", "model_refused"): 1}
    assert (plan.duration_s, plan.steps) == (2.5, (1, 2, 2))
    # 2,000 tokens at $0.75 and 400 at $3.75 a million, four times; the other tenant has nothing comparable
    assert plan.cost.usd == pytest.approx(4 * 0.003)
    assert (plan.cost.comparable_calls, plan.cost.unknown_stages) == (2, ("analyze",))
    from_start = bench.replays.plan(
        LetterFilter(tenant_id=OURS), options.model_copy(update={"from_stage": "download"}), words="all"
    )
    # and two minutes of speech at $0.016
    assert from_start.cost.usd == pytest.approx(4 * (0.003 + 0.032))
    assert bench.database.rows("SELECT * FROM dead_letters") == before
    assert bench.database.rows("SELECT * FROM replay_jobs") == []
