"""The runner's protocol against real Spanner rows: once, twice, late, and with every kind of error (design §4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from schemas.analysis import CallAnalysis
from schemas.events import CallAnalyzed, CallReceived, CallSynced, Event, RecordingStored, TranscriptionOutput
from schemas.tenant import Tenant
from schemas.transcript import Transcript
from shared.answers import BLOCKED_PAUSE
from shared.claims import ClaimLost, RunKey
from shared.deliveries import Delivery, parse_event
from shared.errors import (
    Deferred,
    InvalidEvent,
    NotReady,
    PermanentFailure,
    TenantBlocked,
    TransientFailure,
    Waiting,
)
from shared.gateways.calls import SpannerCalls
from shared.gateways.run_store import SpannerRunStore
from shared.runner import Runner, StageSpec
from shared.stage import CallChanges, Completed, StageContext, Usage
from shared.traces import trace_of_request
from stages.download.intake import admit
from tests.support.pipeline_database import OTHER_TENANT, OUR_TENANT, PipelineDatabase
from tests.support.ports import NOON, HandClock, MemoryPublisher, MemoryTenants

pytestmark = pytest.mark.emulators

CALL = "CAL019aa0c4d1f07b2e9c3d5a6f70819203"
REQUEST = "r-0123456789abcdef"
IDS = {"tenant_id": OUR_TENANT.tenant_id, "request_id": REQUEST, "call_id": CALL}
RECEIVED = CallReceived(**IDS, kind="post_call", received_at=NOON, payload={"resource_id": CALL, "duration": "30"})
STORED = RecordingStored(**IDS)
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


def delivery_of(event: Event, **attributes: str) -> Delivery:
    return Delivery("m-1", event.model_dump_json().encode(), {**event.attributes(), **attributes}, "projects/p/s/x")


@dataclass
class Bench:
    """A runner with a scripted stage: `behave` is what the stage does next."""

    database: PipelineDatabase
    clock: HandClock = field(default_factory=HandClock)
    publisher: MemoryPublisher = field(default_factory=MemoryPublisher)
    behave: Callable[[StageContext], Completed] = lambda _context: Completed(next_event=STORED)
    contexts: list[StageContext] = field(default_factory=list)
    max_attempts: int = 3

    def runner(self, stage: str = "download") -> Runner:
        def run(context: StageContext) -> Completed:
            self.contexts.append(context)
            return self.behave(context)

        def admit_any(event: Event):  # type: ignore[no-untyped-def] # narrows for the stage under test
            assert isinstance(event, CallReceived)
            return admit(event)

        spec = StageSpec(
            name=stage,
            accepts=(CallReceived,) if stage == "download" else (RecordingStored, CallAnalyzed),
            run=run,
            resume=run if stage == "transcribe" else None,
            admit=admit_any if stage == "download" else None,
            lease=timedelta(seconds=60),
            max_attempts=self.max_attempts,
        )
        tenants = MemoryTenants((OUR_TENANT, OTHER_TENANT))
        store = SpannerRunStore(self.database.open, self.database.vault)
        return Runner(spec, store, tenants, self.publisher, self.clock, worker="test")

    def deliver(self, event: Event | None = None, *, stage: str = "download", **attributes: str) -> int:
        event = event or RECEIVED
        return self.runner(stage).handle(delivery_of(event, **attributes), event).status

    def run_row(self, stage: str = "download") -> Mapping[str, object]:
        row = self.database.rows(
            "SELECT state, attempt, error_code, due_at, checkpoint, next_event FROM stage_runs"
            f" WHERE tenant_id = '{OUR_TENANT.tenant_id}' AND stage = '{stage}'"
        )[0]
        return dict(zip(("state", "attempt", "error_code", "due_at", "checkpoint", "next_event"), row, strict=True))

    def request_state(self) -> str:
        return str(self.database.value("SELECT state FROM processing_requests"))


@pytest.fixture
def bench(pipeline_database: PipelineDatabase) -> Bench:
    return Bench(pipeline_database)


@dataclass(frozen=True)
class UnreadableTenants(MemoryTenants):
    """A directory whose every document is beyond this release."""

    tenants: tuple[Tenant, ...] = ()
    why: TenantBlocked = field(kw_only=True)

    def by_id(self, tenant_id: str) -> Tenant | None:
        raise self.why


def raising(error: BaseException) -> Callable[[StageContext], Completed]:
    def behave(_context: StageContext) -> Completed:
        raise error

    return behave


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


@pytest.mark.parametrize(
    ("error", "status", "state"),
    [
        (TransientFailure("speech_unavailable", "503"), 503, "retrying"),
        (NotReady("recording_not_ready", "not yet"), 503, "retrying"),
        (Deferred("crm_quota", "tomorrow", until=NOON + timedelta(hours=3)), 204, "deferred"),
        (TenantBlocked("token_refused", "401", fix="give a new token"), 204, "blocked"),
        (PermanentFailure("not_audio", "HTML"), 204, "failed"),
        (InvalidEvent("webhook_shape", "no id"), 204, "failed"),
        (ValueError("a bug"), 500, "retrying"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_the_error_table(bench: Bench, error: Exception, status: int, state: str) -> None:
    bench.behave = raising(error)
    assert bench.deliver() == status
    assert bench.run_row()["state"] == state
    gives_up = isinstance(error, (PermanentFailure, InvalidEvent))
    assert bench.publisher.topics() == (["dead-letters"] if gives_up else [])


def test_a_dead_letter_says_why_and_holds_the_event(bench: Bench) -> None:
    bench.behave = raising(PermanentFailure("model_not_found", "no such model", fix="set another model"))
    bench.deliver()
    letter = bench.publisher.messages[0]
    assert parse_event(letter.data) == RECEIVED
    assert letter.attributes["dl_reason"] == "model_not_found"
    assert letter.attributes["dl_fix"] == "set another model"
    assert letter.attributes["dl_stage"] == "download"
    assert bench.request_state() == "failed"


def test_a_tenants_mistake_waits_in_the_blocked_lane_and_makes_no_dead_letter(bench: Bench) -> None:
    bench.behave = raising(TenantBlocked("token_refused", "HubSpot said 401", fix="give a new token", vendor="hubspot"))
    assert bench.deliver() == 204
    assert bench.publisher.topics() == []
    assert bench.request_state() == "blocked"
    assert bench.run_row()["due_at"] == NOON + BLOCKED_PAUSE
    assert bench.deliver() == 204, "not due yet"
    assert len(bench.contexts) == 1

    bench.behave = lambda _context: Completed(next_event=STORED)
    bench.clock.advance(BLOCKED_PAUSE.total_seconds())
    assert bench.deliver() == 204
    assert bench.contexts[-1].attempt == 1, "waiting for a person is no failed attempt"
    assert bench.run_row()["state"] == "done"
    assert bench.request_state() == "active"


def test_a_vendors_long_pause_is_a_deferral_and_not_a_redelivery(bench: Bench) -> None:
    bench.behave = raising(TransientFailure("throttled", "429", retry_after_s=600))
    assert bench.deliver() == 204
    assert bench.run_row()["state"] == "deferred"
    assert bench.run_row()["due_at"] == NOON + timedelta(seconds=600)


def test_a_swept_event_wakes_a_run_that_sleeps(bench: Bench) -> None:
    bench.behave = raising(Deferred("crm_quota", "tomorrow", until=NOON + timedelta(hours=3)))
    bench.deliver()
    bench.behave = lambda _context: Completed(next_event=STORED)
    assert bench.deliver(swept="true") == 204
    assert bench.run_row()["state"] == "done"


def test_a_redelivery_of_a_failed_stage_is_a_dead_letter_again_and_not_another_attempt(bench: Bench) -> None:
    bench.behave = raising(PermanentFailure("not_audio", "HTML"))
    bench.deliver()
    assert bench.deliver() == 204
    assert len(bench.contexts) == 1
    assert bench.publisher.topics() == ["dead-letters", "dead-letters"]


def test_nothing_is_acknowledged_when_the_dead_letter_cannot_be_published(bench: Bench) -> None:
    bench.behave = raising(PermanentFailure("not_audio", "HTML"))
    bench.publisher.failing = 1
    assert bench.deliver() == 503
    assert bench.deliver() == 204
    assert bench.publisher.topics() == ["dead-letters"]


def test_attempts_are_counted_in_the_row_and_end_in_a_dead_letter(bench: Bench) -> None:
    bench.behave = raising(TransientFailure("speech_unavailable", "Speech answered 503"))
    assert [bench.deliver() for _ in range(4)] == [503, 503, 503, 204]
    assert [context.attempt for context in bench.contexts] == [1, 2, 3]
    assert bench.run_row()["state"] == "failed"
    assert bench.publisher.messages[0].attributes["dl_reason"] == "speech_unavailable"
    assert "3 attempts" in bench.publisher.messages[0].attributes["dl_detail"]


def test_a_deferred_stage_sleeps_until_it_is_due(bench: Bench) -> None:
    bench.behave = raising(Deferred("crm_quota", "tomorrow", until=NOON + timedelta(hours=3)))
    bench.deliver()
    bench.behave = lambda _context: Completed(next_event=STORED)
    assert bench.deliver() == 204
    assert len(bench.contexts) == 1
    bench.clock.advance(3 * 3600)
    assert bench.deliver() == 204
    assert len(bench.contexts) == 2
    assert bench.run_row()["state"] == "done"


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


def test_an_event_for_an_unknown_tenant_is_a_dead_letter(bench: Bench) -> None:
    stranger = RECEIVED.model_copy(update={"tenant_id": "nobody-known"})
    assert bench.deliver(stranger) == 204
    assert bench.publisher.messages[0].attributes["dl_reason"] == "unknown_tenant"
    assert bench.database.rows("SELECT * FROM stage_runs") == []


def test_an_event_for_a_request_that_does_not_exist_is_a_dead_letter(bench: Bench) -> None:
    assert bench.deliver(STORED, stage="transcribe") == 204
    assert bench.publisher.messages[0].attributes["dl_reason"] == "row_missing"


def test_an_event_of_another_stage_is_a_dead_letter(bench: Bench) -> None:
    assert bench.deliver(STORED, stage="download") == 204
    assert bench.publisher.messages[0].attributes["dl_reason"] == "wrong_topic"


def test_a_suspended_tenants_call_is_blocked_with_what_to_do(bench: Bench) -> None:
    suspended = OUR_TENANT.model_copy(update={"status": "suspended"})
    runner = bench.runner()
    held = Runner(runner.stage, runner.store, MemoryTenants((suspended,)), bench.publisher, bench.clock, worker="test")
    assert held.handle(delivery_of(RECEIVED), RECEIVED).status == 204
    assert bench.run_row()["state"] == "blocked"
    fix = bench.database.value("SELECT error_fix FROM stage_runs")
    assert "resume" in fix
    assert bench.contexts == []


def test_a_tenant_document_that_cannot_be_read_is_kept_in_the_blocked_lane(bench: Bench) -> None:
    runner, why = bench.runner(), TenantBlocked("tenant_config_unreadable", "wrong: crm_config", fix="write it anew")
    unread = replace(runner, tenants=UnreadableTenants(why=why))
    assert unread.handle(delivery_of(RECEIVED), RECEIVED).status == 204
    assert (bench.run_row()["state"], bench.run_row()["error_code"]) == ("blocked", "tenant_config_unreadable")
    assert bench.publisher.topics() == []
    assert bench.contexts == []

    bench.clock.advance(BLOCKED_PAUSE.total_seconds())
    assert bench.deliver() == 204
    assert (bench.run_row()["state"], bench.run_row()["attempt"]) == ("done", 1)


def test_the_end_of_a_request_is_recorded_with_its_analysis(bench: Bench) -> None:
    bench.deliver()
    bench.behave = lambda _context: Completed(
        next_event=CallSynced(**IDS), changes=CallChanges(analysis=ANALYSIS), request_state="done"
    )
    assert bench.deliver(CallAnalyzed(**IDS), stage="crm_sync") == 204
    assert bench.request_state() == "done"
    assert bench.database.rows("SELECT intent, lead_score FROM call_records") == [["new_lead", 81]]


def test_two_tenants_with_the_same_ids_do_not_meet(bench: Bench) -> None:
    theirs = RECEIVED.model_copy(update={"tenant_id": OTHER_TENANT.tenant_id})
    assert bench.deliver() == 204
    assert bench.deliver(theirs) == 204
    assert len(bench.contexts) == 2
    calls = SpannerCalls(bench.database.open, bench.database.vault)
    assert calls.get(OUR_TENANT.tenant_id, CALL) is not None
    assert calls.get("third-tenant", CALL) is None
