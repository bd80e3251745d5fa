"""Replaying dead letters: the request goes on where it failed, once, whoever asks and however often."""

from __future__ import annotations

from datetime import timedelta

import pytest

from schemas.events import CallTranscribed, RecordingStored
from shared.claims import RunKey, Sleep
from shared.dead_letters import LETTER_STATES, UNASSIGNED_TENANT, LetterFilter
from shared.deliveries import Delivery, parse_event
from shared.desk import CLOSINGS_A_LOOK
from shared.desk_jobs import JobReport, ReplayOptions
from shared.desk_messages import message_for, start_of
from shared.desk_transfer import export_letters, import_letters
from shared.errors import ConfigurationError, Deferred, PermanentFailure, TenantBlocked, TransientFailure
from tests.support.desk_bench import CALL, OURS, REQUEST, THEIRS, DeskBench, failing, received
from tests.support.pipeline_database import PipelineDatabase
from tests.support.ports import NOON

pytestmark = pytest.mark.emulators

REFUSED = PermanentFailure("model_refused", "the model said no", fix="another model")


@pytest.fixture
def bench(pipeline_database: PipelineDatabase) -> DeskBench:
    return DeskBench(pipeline_database)


def outcomes(bench: DeskBench) -> list[tuple[str, str]]:
    return [(action, outcome) for _, _, action, _, outcome in bench.audit() if action.startswith("dead_letter.")]


# -- one letter ----------------------------------------------------------------------------------------


def test_a_replay_goes_on_at_the_stage_that_failed_and_keeps_what_is_finished(bench: DeskBench) -> None:
    (letter,) = bench.fail("analyze", REFUSED)
    assert bench.request_state() == "failed"

    report = bench.replay(letter.dead_letter_id)

    assert (report.state, report.counts, report.remaining) == ("finished", {"arrived": 1}, 0)
    assert bench.ran == [("analyze", REQUEST), ("crm_sync", REQUEST)]
    assert bench.request_state() == "done"
    message = bench.queue.sent[0]
    assert parse_event(message.delivery.data) == CallTranscribed(tenant_id=OURS, request_id=REQUEST, call_id=CALL)
    assert not [name for name in message.delivery.attributes if name.startswith("dl_")]
    closed = bench.letter()
    assert (closed.state, closed.replays, closed.replayed_by) == ("closed", 1, "ops@example.com")
    assert closed.closed_at is not None
    assert outcomes(bench) == [("dead_letter.replay", "sent"), ("dead_letter.replay_ended", "arrived")]


def test_the_audit_log_says_who_replayed_what_and_what_came_of_it(bench: DeskBench) -> None:
    (letter,) = bench.fail("analyze", REFUSED)
    bench.behaviours["analyze"] = failing(REFUSED)
    report = bench.replay(letter.dead_letter_id)
    assert [row[1:] for row in bench.audit()] == [
        ["ops@example.com", "replay.create", report.job_id, "done"],
        ["ops@example.com", "dead_letter.replay", letter.dead_letter_id, "sent"],
        ["ops@example.com", "dead_letter.replay_ended", letter.dead_letter_id, "failed"],
        ["ops@example.com", "replay.end", report.job_id, "finished"],
    ]


def test_a_replay_that_fails_again_opens_the_same_letter(bench: DeskBench) -> None:
    (letter,) = bench.fail("analyze", REFUSED)
    bench.behaviours["analyze"] = failing(PermanentFailure("model_gone", "retired", fix="choose another"))
    report = bench.replay(letter.dead_letter_id)
    assert (report.counts, report.remaining) == ({"failed": 1}, 1)
    again = bench.letter()
    assert again.dead_letter_id == letter.dead_letter_id
    assert (again.state, again.reason, again.occurrences, again.replays) == ("open", "model_gone", 2, 1)


def test_replaying_what_is_done_changes_nothing(bench: DeskBench) -> None:
    (letter,) = bench.fail("analyze", REFUSED)
    bench.replay(letter.dead_letter_id)
    bench.ran.clear()
    bench.queue.sent.clear()
    before = bench.letter()

    plan = bench.replays.plan(
        LetterFilter(tenant_id=OURS, states=LETTER_STATES, ids=(letter.dead_letter_id,)), ReplayOptions(), words="x"
    )
    assert (plan.letters, plan.left_out) == ((), {"closed": 1})
    with pytest.raises(ConfigurationError, match="closed"):
        bench.desk.replay(OURS, letter.dead_letter_id, actor="op")
    assert (bench.ran, bench.queue.sent, bench.letter()) == ([], [], before)


def test_a_stage_that_was_done_all_along_repeats_its_next_event_and_runs_nothing(bench: DeskBench) -> None:
    """Pub/Sub gave up a message whose stage had finished: the letter closes by itself, a replay would be harmless."""
    bench.receive()
    forwarded = {
        **received().attributes(),
        "CloudPubSubDeadLetterSourceDeliveryCount": "20",
        "CloudPubSubDeadLetterSourceSubscription": "download-call-received",
    }
    bench.desk.record(Delivery("m-late", received().model_dump_json().encode(), forwarded, "s"))
    bench.ran.clear()
    store = bench.store
    letter = store.list_letters(OURS, LetterFilter())[0]
    assert letter.state == "open"
    bench.queue.publish("call-received", received().model_dump_json().encode(), received().attributes())
    bench.work()
    assert bench.ran == []
    assert bench.letter().state == "closed"


def test_letters_that_arrived_by_other_ways_are_not_sent_however_many_they_are(
    bench: DeskBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an outage thousands arrive at once, and are closed a few hundred at a time."""
    monkeypatch.setattr("shared.desk.CLOSED_AT_ONCE", 1)
    done = CLOSINGS_A_LOOK + 2
    bench.seed(done + 1)
    rows = bench.database.rows("SELECT tenant_id, request_id, stage FROM stage_runs ORDER BY request_id")[:done]
    with bench.database.database.batch() as batch:
        batch.update("stage_runs", ("tenant_id", "request_id", "stage", "state"), [(*row, "done") for row in rows])

    plan = bench.replays.plan(LetterFilter(tenant_id=OURS), ReplayOptions(), words="all")

    assert [letter.request_id for letter in plan.letters] == [f"r-{done + 1:016d}"]
    assert plan.left_out == {"closed": 2}, "a look closes only so many"
    assert [group.letters for group in bench.desk.groups(LetterFilter(tenant_id=OURS))] == [1]


def test_a_replay_gives_fresh_attempts_also_where_pubsub_gave_up_first(bench: DeskBench) -> None:
    """Pub/Sub's own policy leaves the row `retrying` at its last attempt: one more would be one too many."""
    bench.behaviours["download"] = failing(TransientFailure("callrail_unavailable", "503"))
    event = received()
    bench.queue.publish(event.topic, event.model_dump_json().encode(), event.attributes())
    bench.work(most=3)
    bench.queue.waiting.clear()
    del bench.behaviours["download"]
    forwarded = {
        **event.attributes(),
        "CloudPubSubDeadLetterSourceDeliveryCount": "3",
        "CloudPubSubDeadLetterSourceSubscription": "download-call-received",
    }
    bench.desk.record(Delivery("m-9", event.model_dump_json().encode(), forwarded, "s"))
    letter = bench.letter()
    assert (letter.stage, letter.reason, letter.error_code) == (
        "download",
        "attempts_exhausted",
        "callrail_unavailable",
    )
    assert bench.replay(letter.dead_letter_id).remaining == 0
    assert bench.request_state() == "done"


def test_a_replay_leaves_a_waiting_run_alone(bench: DeskBench) -> None:
    """Speech is at work: sending the event again must not submit the audio a second time."""
    (letter,) = bench.fail("transcribe", PermanentFailure("speech_refused", "no"))
    bench.desk.replay(OURS, letter.dead_letter_id, actor="op")
    run_key = RunKey(OURS, REQUEST, "transcribe")
    run = bench.runs.read(run_key)
    assert run is not None
    bench.runs.take_over(run, claim_token="worker-2", worker="test", lease_until=NOON)
    bench.runs.sleep(run_key, "worker-2", Sleep("waiting", due_at=NOON, checkpoint={"operation": "op-1"}))
    bench.work()
    waiting = bench.runs.read(run_key)
    assert waiting is not None
    assert (waiting.state, waiting.checkpoint) == ("waiting", {"operation": "op-1"})


def test_a_run_that_sleeps_for_its_tenant_is_neither_a_success_nor_a_failure(bench: DeskBench) -> None:
    (letter,) = bench.fail("crm_sync", PermanentFailure("record_refused", "no"))
    bench.behaviours["crm_sync"] = failing(TenantBlocked("token_refused", "401", fix="give a new token"))
    job_id = bench.job(letter.dead_letter_id)
    report = bench.run(job_id)
    assert (report.counts, report.remaining) == ({"parked": 1}, 1)
    assert bench.letter().state == "replaying"

    del bench.behaviours["crm_sync"]
    bench.clock.advance(3600)
    event = bench.queue.sent[0]
    bench.queue.publish(event.topic, event.delivery.data, {**event.delivery.attributes, "swept": "true"})
    bench.work()
    assert bench.replays.report(bench.replays.job(job_id)).counts == {"arrived": 1}
    assert bench.letter().state == "closed"


def test_a_swept_message_that_failed_is_not_replayed_as_a_swept_one(bench: DeskBench) -> None:
    """`swept` wakes what sleeps: a replay must not, or a run deferred until tomorrow would begin today."""
    bench.behaviours["analyze"] = failing(Deferred("quota", "tomorrow", until=bench.clock() + timedelta(hours=9)))
    bench.receive()
    deferred = bench.queue.sent[-1]
    bench.queue.publish(deferred.topic, deferred.delivery.data, {**deferred.delivery.attributes, "swept": "true"})
    bench.behaviours["analyze"] = failing(REFUSED)
    bench.work()
    letter = bench.letter()
    assert "swept" in bench.desk.body(OURS, letter.dead_letter_id).attributes
    bench.queue.sent.clear()
    bench.desk.replay(OURS, letter.dead_letter_id, actor="op")
    assert "swept" not in bench.queue.sent[0].delivery.attributes


def test_an_unreadable_letter_from_nowhere_cannot_be_replayed(bench: DeskBench) -> None:
    bench.desk.record(Delivery("m-1", b"not json", {}, "s"))
    with pytest.raises(ConfigurationError, match="no topic"):
        bench.desk.replay(UNASSIGNED_TENANT, bench.letter(UNASSIGNED_TENANT).dead_letter_id, actor="op")
    assert bench.queue.sent == []


# -- never twice ---------------------------------------------------------------------------------------


def test_two_letters_of_one_call_replayed_together_have_one_effect(bench: DeskBench) -> None:
    """The same request was given up at two stages: a stage runs once, whichever message comes first."""
    (letter,) = bench.fail("analyze", REFUSED)
    stored = RecordingStored(tenant_id=OURS, request_id=REQUEST, call_id=CALL)
    forwarded = {
        **stored.attributes(),
        "CloudPubSubDeadLetterSourceDeliveryCount": "20",
        "CloudPubSubDeadLetterSourceSubscription": "transcribe-recording-stored",
    }
    bench.desk.record(Delivery("m-policy", stored.model_dump_json().encode(), forwarded, "s"))
    both = bench.store.list_letters(OURS, LetterFilter())
    assert sorted(one.stage for one in both) == ["analyze", "transcribe"]
    # Both messages, whatever the desk itself would leave out: the letter of a stage that is done closes by itself.
    bench.queue.publish("recording-stored", stored.model_dump_json().encode(), stored.attributes())
    assert bench.replay(letter.dead_letter_id).remaining == 0
    bench.work()
    assert sorted(bench.ran) == [("analyze", REQUEST), ("crm_sync", REQUEST)]
    assert bench.database.value("SELECT COUNT(*) FROM usage_ledger") == 4
    assert {one.state for one in bench.desk.list_letters(OURS, limit=10)} == {"closed"}


def test_two_operators_at_once_send_every_letter_once(bench: DeskBench) -> None:
    """Both chose the same twenty letters before either of them began."""
    bench.fail("analyze", REFUSED, *(received(number) for number in range(1, 21)))
    first, second = bench.job(), bench.job()
    begun: list[JobReport] = []

    def pass_time(seconds: float) -> bool:
        bench.seconds += seconds
        return False

    def let_the_other_begin(seconds: float) -> bool:
        if not begun and len(bench.queue.sent) >= 5:
            begun.append(bench.run(second, pause=pass_time))
        return pass_time(seconds)

    report = bench.run(first, pause=let_the_other_begin)
    bench.work()
    (other,) = begun
    sent = [event.request_id for event in bench.queue.events("call-transcribed")]
    assert sorted(sent) == sorted(set(sent))
    assert len(sent) == 20
    assert report.reasons == {"replaying": 20 - report.counts["sent"]}
    assert other.reasons == {"replaying": 20 - other.counts["sent"]}
    assert report.counts["sent"] + other.counts["sent"] == 20
    assert {letter.replays for letter in bench.desk.list_letters(OURS, limit=100)} == {1}


def test_of_two_replays_that_read_the_same_open_letter_one_marks_it(bench: DeskBench) -> None:
    """Between reading a letter and marking it, another operator's replay may have begun: the row decides."""
    (letter,) = bench.fail("analyze", REFUSED)
    job = bench.replays.job(bench.job())
    body = bench.store.read(OURS, letter.dead_letter_id)
    assert body is not None
    outgoing = message_for(body, job.options, bench.desk.pipeline.stages, bench.store, number=1)
    start = start_of(body, outgoing, job, stalled_before=bench.replays.stalled_before())

    assert [bench.store.start_replay(start), bench.store.start_replay(start)] == [True, False]
    assert bench.letter().replays == 1


def test_a_job_runs_in_one_process_at_a_time(bench: DeskBench) -> None:
    bench.fail("analyze", REFUSED, *(received(number) for number in range(1, 4)))
    job_id = bench.job()
    refused: list[str] = []

    def second_process(seconds: float) -> bool:
        if not refused:
            with pytest.raises(ConfigurationError, match="running somewhere else") as caught:
                bench.run(job_id)
            refused.append(str(caught.value))
        return bench.pause(seconds)

    assert bench.run(job_id, pause=second_process).counts == {"arrived": 3}
    assert len(refused) == 1
    with pytest.raises(ConfigurationError, match="finished"):
        bench.run(job_id)


def test_a_tenant_cannot_be_reached_through_anothers_letter(bench: DeskBench) -> None:
    (letter,) = bench.fail("analyze", REFUSED)
    with pytest.raises(ConfigurationError, match=f"tenant {THEIRS} has no dead letter"):
        bench.job(letter.dead_letter_id, tenant_id=THEIRS)
    assert bench.queue.sent == []
    assert bench.audit() == []


# -- the loop guard ------------------------------------------------------------------------------------


def test_replays_end_after_some_rounds_and_the_letter_stays_visible(bench: DeskBench) -> None:
    (letter,) = bench.fail("analyze", REFUSED)
    bench.behaviours["analyze"] = failing(REFUSED)
    for _ in range(3):
        assert bench.replay(letter.dead_letter_id).counts == {"failed": 1}
    with pytest.raises(ConfigurationError, match="no letter can be replayed"):
        bench.replay(letter.dead_letter_id)
    stuck = bench.letter()
    assert (stuck.state, stuck.replays, stuck.occurrences) == ("open", 3, 4)

    del bench.behaviours["analyze"]
    assert bench.replay(letter.dead_letter_id, is_forced=True).remaining == 0


def test_the_counter_travels_with_a_letter(bench: DeskBench) -> None:
    """Export, removal and import are no way round the guard."""
    (letter,) = bench.fail("analyze", REFUSED)
    bench.behaviours["analyze"] = failing(REFUSED)
    bench.replay(letter.dead_letter_id)
    lines = [line.encode() for line in export_letters(bench.desk, LetterFilter())]
    bench.database.database.run_in_transaction(
        lambda transaction: transaction.execute_update("DELETE FROM dead_letters WHERE true")
    )
    import_letters(bench.desk, lines, tenant_id=None, actor="op")
    assert bench.letter().replays == 1
