"""The runner's protocol against real Spanner rows: once, twice, late, taken over and woken from a wait (design §4)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from schemas.analysis import CallAnalysis
from schemas.events import CallAnalyzed, CallSynced, TranscriptionOutput
from schemas.transcript import Transcript
from shared.claims import ClaimLost, RunKey
from shared.crash_points import crashing
from shared.deliveries import Delivery, parse_event
from shared.errors import PermanentFailure, TransientFailure, Waiting
from shared.gateways.calls import SpannerCalls
from shared.gateways.run_store import SpannerRunStore
from shared.stage import CallChanges, Completed, StageContext, Usage
from shared.traces import trace_of_request
from tests.support.crashing import CrashNow, Doom
from tests.support.pipeline_database import OTHER_TENANT, OUR_TENANT
from tests.support.ports import NOON
from tests.support.runner_bench import CALL, IDS, RECEIVED, REQUEST, STORED, Bench, bench, delivery_of, raising

__all__ = ["bench"]

pytestmark = pytest.mark.emulators

ANALYSIS = CallAnalysis(
    basis="transcript",
    summary="Wants a quote.",
    sentiment="neutral",
    intent="new_lead",
    lead_score=81,
    lead_score_reasons=("asks for a price",),
    next_step="Call back.",
    qualified=True,
    model="test",
    prompt_version="1",
)


def test_a_first_delivery_is_run_recorded_and_published(bench: Bench) -> None:
    assert bench.deliver(traceparent="00-" + "1" * 32 + "-" + "2" * 16 + "-01") == 204

    assert bench.run_row()["state"] == "done"
    assert bench.publisher.topics() == ["recording-stored"]
    assert parse_event(bench.publisher.messages[0].data) == STORED
    assert bench.publisher.messages[0].attributes["traceparent"].startswith("00-111")
    assert bench.request_state() == "active"
    call = SpannerCalls(bench.database.open, bench.database.vault).get(OUR_TENANT.tenant_id, CALL)
    assert call is not None
    assert call.details.duration_s == 30


@pytest.mark.parametrize("given", [{}, {"traceparent": "rubbish"}, {"swept": "true"}])
def test_a_message_that_names_no_trace_goes_on_in_its_requests_own(bench: Bench, given: dict[str, str]) -> None:
    """The sweeper and Cloud Storage name none; a retry, a replay and they all meet in the same trace."""
    assert bench.deliver(RECEIVED, stage="download", **given) == 204
    own = trace_of_request(OUR_TENANT.tenant_id, REQUEST, ratio=0)
    assert [message.attributes["traceparent"] for message in bench.publisher.messages] == [own.header]


def test_a_request_of_its_own_has_a_trace_of_its_own(bench: Bench) -> None:
    """What goes on when a stage is given up is another request: its unfinished call's way to the CRM."""
    bench.behave = raising(PermanentFailure("recording_gone", "told to"))
    other = CallAnalyzed(**IDS | {"request_id": "i-0123456789abcdef"})
    runner = bench.runner()
    given_up = replace(runner, stage=replace(runner.stage, after_failure=lambda _run: other))
    trace = "00-" + "1" * 32 + "-" + "2" * 16 + "-01"
    assert given_up.handle(delivery_of(RECEIVED, traceparent=trace), RECEIVED).status == 204
    beside, letter = bench.publisher.messages

    assert beside.attributes["traceparent"] == trace_of_request(OUR_TENANT.tenant_id, other.request_id, ratio=0).header
    assert letter.attributes["traceparent"] == trace


def test_a_second_delivery_of_finished_work_publishes_the_next_event_again_and_runs_nothing(bench: Bench) -> None:
    bench.deliver()
    assert bench.deliver() == 204

    assert len(bench.contexts) == 1
    assert bench.publisher.topics() == ["recording-stored", "recording-stored"]
    assert bench.publisher.messages[0].data == bench.publisher.messages[1].data


def test_a_crash_between_record_and_publish_is_repaired_by_the_redelivery(bench: Bench) -> None:
    bench.publisher.failing = 1
    assert bench.deliver() == 503
    assert bench.run_row()["state"] == "done"
    assert bench.publisher.topics() == []

    assert bench.deliver() == 204
    assert bench.publisher.topics() == ["recording-stored"]
    assert len(bench.contexts) == 1


def test_a_delivery_during_a_live_claim_is_put_back(bench: Bench) -> None:
    statuses: list[int] = []

    def while_working(_context: StageContext) -> Completed:
        bench.behave = lambda _context: Completed(next_event=None)
        statuses.append(bench.deliver())
        return Completed(next_event=STORED)

    bench.behave = while_working
    assert bench.deliver() == 204
    assert statuses == [503]
    assert len(bench.contexts) == 1


def test_a_dead_workers_claim_is_taken_over_when_its_lease_is_over(bench: Bench) -> None:
    bench.behave = raising(KeyboardInterrupt())  # dies without a word, as under SIGKILL
    with pytest.raises(KeyboardInterrupt):
        bench.deliver()
    bench.behave = lambda _context: Completed(next_event=STORED)

    assert bench.deliver() == 503
    bench.clock.advance(61)
    assert bench.deliver() == 204
    assert bench.contexts[-1].attempt == 2
    assert bench.run_row()["state"] == "done"


def test_of_two_workers_that_find_the_same_lease_over_one_takes_the_run_over(bench: Bench) -> None:
    bench.behave = raising(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        bench.deliver()
    store = SpannerRunStore(bench.database.open, bench.database.vault)
    seen_by_both = store.read(RunKey(OUR_TENANT.tenant_id, REQUEST, "download"))
    assert seen_by_both is not None
    until = NOON + timedelta(hours=1)

    store.take_over(seen_by_both, claim_token="first", worker="a", lease_until=until)
    with pytest.raises(ClaimLost):
        store.take_over(seen_by_both, claim_token="second", worker="b", lease_until=until)

    taken = store.read(seen_by_both.key)
    assert taken is not None
    assert (taken.claim_token, taken.attempt) == ("first", 2)


def test_the_worker_that_lost_its_claim_writes_nothing_over_the_winner(bench: Bench) -> None:
    def slow(_context: StageContext) -> Completed:
        bench.clock.advance(61)
        bench.behave = lambda _context: Completed(next_event=STORED, usage=Usage(model="winner"))
        assert bench.deliver() == 204
        return Completed(next_event=None, usage=Usage(model="loser"))

    bench.behave = slow
    assert bench.deliver() == 204

    assert bench.database.rows("SELECT model FROM usage_ledger") == [["winner"]]
    assert parse_event(str(bench.run_row()["next_event"]).encode()) == STORED
    assert set(bench.publisher.topics()) == {"recording-stored"}


def test_whoever_finishes_second_publishes_what_the_first_could_not(bench: Bench) -> None:
    def slow(_context: StageContext) -> Completed:
        bench.clock.advance(61)
        bench.behave = lambda _context: Completed(next_event=STORED)
        bench.publisher.failing = 1
        assert bench.deliver() == 503
        return Completed(next_event=None)

    bench.behave = slow
    assert bench.deliver() == 204
    assert bench.publisher.topics() == ["recording-stored"]


def test_a_lost_claim_cannot_put_the_winners_row_to_sleep(bench: Bench) -> None:
    def slow_then_failing(_context: StageContext) -> Completed:
        bench.clock.advance(61)
        bench.behave = lambda _context: Completed(next_event=STORED)
        bench.deliver()
        raise PermanentFailure("too_late", "the loser's verdict")

    bench.behave = slow_then_failing
    assert bench.deliver() == 503
    assert bench.run_row()["state"] == "done"
    assert "dead-letters" not in bench.publisher.topics()


def test_a_waiting_stage_is_woken_by_its_outside_job_and_keeps_its_checkpoint(bench: Bench) -> None:
    bench.deliver()
    waiting = Waiting(checkpoint={"operation": "op-1"}, until=NOON + timedelta(hours=1))
    bench.behave = raising(waiting)
    assert bench.deliver(STORED, stage="transcribe") == 204
    assert bench.run_row("transcribe")["state"] == "waiting"
    assert bench.deliver(STORED, stage="transcribe") == 204, "the same event again finds it waiting"
    assert len(bench.contexts) == 2

    transcript = Transcript(language="en-US", model="test")
    bench.behave = lambda _context: Completed(next_event=None, changes=CallChanges(transcript=transcript))
    notice = TranscriptionOutput(
        tenant_id=OUR_TENANT.tenant_id,
        request_id=REQUEST,
        object_name=f"transcripts/{OUR_TENANT.tenant_id}/{REQUEST}/x",
    )
    delivery = Delivery("m-2", b"{}", {"objectId": notice.object_name}, "projects/p/s/y")
    assert bench.runner("transcribe").handle(delivery, notice).status == 204

    assert bench.contexts[-1].checkpoint == {"operation": "op-1"}
    assert bench.contexts[-1].attempt == 1
    assert bench.run_row("transcribe")["state"] == "done"


def test_an_output_that_overtakes_the_record_of_the_wait_is_put_back(bench: Bench) -> None:
    """PCA's fault: the completion came before the waiting token was stored, and was lost."""
    bench.deliver()
    notice = TranscriptionOutput(tenant_id=OUR_TENANT.tenant_id, request_id=REQUEST, object_name="transcripts/a/b/c")
    delivery = Delivery("m-2", b"{}", {"objectId": "x"}, "projects/p/s/y")
    statuses: list[int] = []

    def submit(_context: StageContext) -> Completed:
        statuses.append(bench.runner("transcribe").handle(delivery, notice).status)
        raise Waiting(checkpoint={"operation": "op-1"}, until=NOON + timedelta(hours=1))

    assert bench.runner("transcribe").handle(delivery, notice).status == 503, "before submit has even started"
    bench.behave = submit
    bench.deliver(STORED, stage="transcribe")
    assert statuses == [503]
    assert bench.run_row("transcribe")["state"] == "waiting"


def test_a_checkpoint_survives_a_crash(bench: Bench) -> None:
    def save_then_fail(context: StageContext) -> Completed:
        context.save_checkpoint({"hubspot": "done"})
        raise TransientFailure("salesforce_unavailable", "503")

    bench.behave = save_then_fail
    bench.deliver()
    bench.behave = lambda _context: Completed(next_event=STORED)
    bench.deliver()
    assert bench.contexts[-1].checkpoint == {"hubspot": "done"}


def test_a_checkpoint_of_a_lost_claim_is_refused(bench: Bench) -> None:
    bench.deliver()
    store = SpannerRunStore(bench.database.open, bench.database.vault)
    with pytest.raises(ClaimLost):
        store.save_checkpoint(RunKey(OUR_TENANT.tenant_id, REQUEST, "download"), "somebody-else", {})


def test_a_lost_claim_writes_nothing_while_the_winner_still_works(bench: Bench) -> None:
    """The row says `running` for both: only the token tells them apart."""

    def loser(context: StageContext) -> Completed:
        def winner(winners: StageContext) -> Completed:
            winners.save_checkpoint({"by": "the winner"})
            with pytest.raises(ClaimLost):
                context.save_checkpoint({"by": "the loser"})
            raise TransientFailure("vendor_unavailable", "503")

        bench.clock.advance(61)
        bench.behave = winner
        assert bench.deliver() == 503
        return Completed(next_event=STORED)

    bench.behave = loser
    bench.deliver()
    assert bench.run_row()["checkpoint"] == '{"by": "the winner"}'


def test_a_clients_own_repeat_of_the_claim_is_not_somebody_elses(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer to the claim's commit was lost, the client commits again and meets its own row."""
    insert = SpannerRunStore.insert

    def insert_twice(self: SpannerRunStore, run, admission):  # type: ignore[no-untyped-def] # the store's own signature
        insert(self, run, admission)
        insert(self, run, admission)

    monkeypatch.setattr(SpannerRunStore, "insert", insert_twice)
    assert bench.deliver() == 204
    row = bench.run_row()
    assert (row["state"], row["attempt"]) == ("done", 1)
    assert bench.database.value("SELECT COUNT(*) FROM stage_runs") == 1


def test_the_end_of_a_request_is_recorded_with_its_analysis(bench: Bench) -> None:
    bench.deliver()
    bench.behave = lambda _context: Completed(
        next_event=CallSynced(**IDS), changes=CallChanges(analysis=ANALYSIS), request_state="done"
    )
    assert bench.deliver(CallAnalyzed(**IDS), stage="crm_sync") == 204
    assert bench.request_state() == "done"
    assert bench.database.rows("SELECT intent, lead_score FROM call_records") == [["new_lead", 81]]


def test_a_first_claim_ends_its_request_with_the_commit_of_its_results(bench: Bench) -> None:
    bench.behave = lambda _context: Completed(CallSynced(**IDS), request_state="done")
    with crashing(Doom("recorded")), pytest.raises(CrashNow):
        bench.deliver()

    assert bench.request_state() == "done", "its message comes again, and publishes the event"
    assert bench.deliver() == 204
    assert bench.publisher.topics() == [CallSynced.topic]


def test_a_claim_that_outlived_its_lease_ends_its_request_only_after_the_publish(bench: Bench) -> None:
    """Somebody else may have taken it over meanwhile, put it to sleep and answered for the message."""

    def slowly(_context: StageContext) -> Completed:
        bench.clock.advance(61)
        return Completed(CallSynced(**IDS), request_state="done")

    bench.behave = slowly
    with crashing(Doom("recorded")), pytest.raises(CrashNow):
        bench.deliver()
    assert bench.request_state() == "active"

    assert bench.deliver() == 204
    assert bench.publisher.topics() == [CallSynced.topic]
    assert bench.request_state() == "done"


def test_a_request_is_not_ended_twice(bench: Bench) -> None:
    """A late duplicate must not move the moment at which the call was finished."""
    bench.behave = lambda _context: Completed(CallSynced(**IDS), request_state="done")
    bench.deliver()
    finished_at = "SELECT finished_at, updated_at FROM processing_requests"
    before = bench.database.rows(finished_at)

    assert bench.deliver() == 204

    assert bench.database.rows(finished_at) == before


def test_two_tenants_with_the_same_ids_do_not_meet(bench: Bench) -> None:
    theirs = RECEIVED.model_copy(update={"tenant_id": OTHER_TENANT.tenant_id})
    assert bench.deliver() == 204
    assert bench.deliver(theirs) == 204
    assert len(bench.contexts) == 2
    calls = SpannerCalls(bench.database.open, bench.database.vault)
    assert calls.get(OUR_TENANT.tenant_id, CALL) is not None
    assert calls.get("third-tenant", CALL) is None
