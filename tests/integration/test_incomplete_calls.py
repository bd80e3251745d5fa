"""A failed model is a state, never a text: the call reaches the CRM as far as it is known, and is completed later.

Runner, store and both stages are real, on real Spanner; model and CRM are ports in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

import pytest

from schemas.calls import CrmRecord, Provider
from schemas.crm import CrmCall
from schemas.events import CallAnalyzed, CallLeftIncomplete, CallReceived, CallTranscribed, Event
from schemas.tenant import Tenant
from schemas.transcript import Transcript, Turn
from shared.crash_points import crashing
from shared.deliveries import Delivery, parse_event
from shared.errors import PermanentFailure
from shared.gateways.calls import SpannerCalls
from shared.gateways.run_store import SpannerRunStore
from shared.incomplete import admit_incomplete, left_incomplete
from shared.ports import CrmGateway, ModelAnswer, ModelRequest
from shared.runner import Runner
from shared.stage import CallChanges, Completed, StageContext
from shared.stage_spec import StageSpec
from stages.analyze import stage as analyze
from stages.crm_sync import stage as crm_sync
from stages.download.intake import admit
from tests.support.pipeline_database import OUR_TENANT, PipelineDatabase
from tests.support.ports import NOON, HandClock, MemoryPublisher, MemoryTenants
from tests.support.webhooks import CALL, POST_CALL

pytestmark = pytest.mark.emulators

REQUEST = "r-0123456789abcdef"
IDS = {"tenant_id": OUR_TENANT.tenant_id, "request_id": REQUEST, "call_id": CALL}
TRANSCRIPT = Transcript(
    language="en-US",
    model="test",
    turns=(Turn(speaker="caller", start_s=0, end_s=2, text="My basement is flooding, please come today."),),
)
TENANT = OUR_TENANT.model_copy(
    update={
        "config": OUR_TENANT.config.model_copy(
            update={
                "crm_config": OUR_TENANT.config.crm_config.model_validate(
                    {"hubspot": {"token_secret": "hubspot-token"}}
                )
            }
        )
    }
)
REPLY = (
    '{"summary": "Flooded basement.", "sentiment": "negative", "intent": "new_lead", "topics": ["plumbing"],'
    ' "lead_score": 90, "lead_score_reasons": ["\\"My basement is flooding\\""], "next_step": "Go there today."}'
)


@dataclass
class Model:
    """Refuses, or answers."""

    refuses: bool = True

    def generate(self, request: ModelRequest) -> ModelAnswer:
        if self.refuses:
            raise PermanentFailure("prompt_blocked", "the model refused")
        return ModelAnswer(REPLY, request.model, input_tokens=10, output_tokens=10)


@dataclass
class Crm:
    """Keeps what it was given, by call id."""

    held: dict[str, CrmCall] = field(default_factory=dict)
    provider: Provider = "hubspot"
    meanwhile: list[Callable[[], object]] = field(default_factory=list)
    """What happens while a call is on its way to the CRM, once each."""

    def sync_call(self, call: CrmCall) -> CrmRecord:
        if self.meanwhile:
            self.meanwhile.pop()()
        self.held[call.call_id] = call
        return CrmRecord(provider="hubspot", activity_id="1", activity_type="call", synced_at=NOON)

    def prepare(self) -> list[str]:
        return []

    def inspect(self) -> list[str]:
        return []

    def for_tenant(self, tenant: Tenant, provider: Provider) -> CrmGateway:
        del tenant, provider
        return self


@dataclass
class World:
    """The stages after transcription."""

    database: PipelineDatabase
    model: Model = field(default_factory=Model)
    crm: Crm = field(default_factory=Crm)
    clock: HandClock = field(default_factory=HandClock)
    publisher: MemoryPublisher = field(default_factory=MemoryPublisher)

    def deliver(self, stage: str, event: Event) -> list[Event]:
        """Deliver an event; returns what was published because of it."""
        seen = len(self.publisher.messages)
        assert self.answer(stage, event) == 204
        return [parse_event(message.data) for message in self.publisher.messages[seen:]]

    def answer(self, stage: str, event: Event) -> int:
        """The status of one delivery."""
        data = event.model_dump_json().encode()
        return self._runner(stage).handle(Delivery("m", data, event.attributes(), "s"), event).status

    def _runner(self, stage: str) -> Runner:
        specs = {"download": self._transcribed, "analyze": self._analyze, "crm_sync": self._crm_sync}
        store = SpannerRunStore(self.database.open, self.database.vault)
        return Runner(specs[stage](), store, MemoryTenants((TENANT,)), self.publisher, self.clock, worker="test")

    def _transcribed(self) -> StageSpec:
        def run(_context: StageContext) -> Completed:
            return Completed(next_event=CallTranscribed(**IDS), changes=CallChanges(transcript=TRANSCRIPT))

        def admit_call(event: Event):  # type: ignore[no-untyped-def] # narrows for the stage under test
            assert isinstance(event, CallReceived)
            return admit(event)

        return StageSpec("download", (CallReceived,), run, timedelta(seconds=60), 3, admit=admit_call)

    def _analyze(self) -> StageSpec:
        deps = analyze.AnalyzeDeps(self.model, SpannerCalls(self.database.open, self.database.vault), "gemini-test")
        return StageSpec(
            "analyze",
            (CallTranscribed,),
            partial(analyze.run, deps=deps),
            timedelta(seconds=60),
            3,
            after_failure=partial(left_incomplete, now=self.clock),
        )

    def _crm_sync(self) -> StageSpec:
        deps = crm_sync.CrmSyncDeps(self.crm, SpannerCalls(self.database.open, self.database.vault))
        run = partial(crm_sync.run, deps=deps)
        accepts = (CallAnalyzed, CallLeftIncomplete)
        return StageSpec("crm_sync", accepts, run, timedelta(seconds=60), 3, admit=admit_incomplete)


@pytest.fixture
def world(pipeline_database: PipelineDatabase) -> World:
    world = World(pipeline_database)
    payload = {**POST_CALL, "resource_id": CALL}
    world.deliver("download", CallReceived(**IDS, kind="post_call", received_at=NOON, payload=payload))
    return world


def test_a_call_whose_model_refuses_reaches_the_crm_marked_and_without_invented_words(world: World) -> None:
    incomplete, letter = world.deliver("analyze", CallTranscribed(**IDS))
    assert isinstance(incomplete, CallLeftIncomplete)
    assert isinstance(letter, CallTranscribed), "the dead letter holds the event that a replay sends again"
    assert world.deliver("crm_sync", incomplete) == [], "an unfinished call is no `CallSynced`"

    held = world.crm.held[CALL]
    assert held.analysis is None
    assert "not analyzed yet" in held.title
    assert "flooding" in str(held.sections)
    row = world.database.rows("SELECT analysis, analysis_state, lead_score FROM call_records")
    assert row == [[None, "failed", None]]


def test_it_is_completed_by_the_replay(world: World) -> None:
    incomplete, _ = world.deliver("analyze", CallTranscribed(**IDS))
    world.deliver("crm_sync", incomplete)
    completed_by_a_replay(world)

    held = world.crm.held[CALL]
    assert held.analysis is not None
    assert held.analysis.lead_score == 90
    assert world.database.value("SELECT analysis_state FROM call_records") == "done"
    assert len(world.crm.held) == 1


def completed_by_a_replay(world: World) -> None:
    world.model.refuses = False
    world.database.database.run_in_transaction(
        lambda transaction: transaction.execute_update(
            "UPDATE stage_runs SET state = 'retrying' WHERE stage = 'analyze'"
        )
    )
    (analyzed,) = world.deliver("analyze", CallTranscribed(**IDS))
    world.deliver("crm_sync", analyzed)


def test_a_slow_sync_of_the_unfinished_call_does_not_have_the_last_word(world: World) -> None:
    """It read the call before the replay had completed it, and reaches the CRM after it."""
    incomplete, _ = world.deliver("analyze", CallTranscribed(**IDS))
    world.crm.meanwhile.append(lambda: completed_by_a_replay(world))

    assert world.answer("crm_sync", incomplete) == 503, "what it wrote is out of date"
    assert world.answer("crm_sync", incomplete) == 204

    assert "not analyzed yet" not in world.crm.held[CALL].title
    assert world.crm.held[CALL].analysis is not None
    assert world.database.value("SELECT analysis_state FROM call_records") == "done"


def test_it_does_not_call_the_analysis_failed_that_comes_before_its_record(world: World) -> None:
    """Between the checkpoint of the last CRM and the record, the replay completes the call."""
    incomplete, _ = world.deliver("analyze", CallTranscribed(**IDS))
    replays = [lambda: completed_by_a_replay(world)]

    def replay_before_the_record(point: str) -> None:
        if point == "stage_run" and replays:
            replays.pop()()

    with crashing(replay_before_the_record):
        assert world.answer("crm_sync", incomplete) == 503
    assert world.answer("crm_sync", incomplete) == 204

    assert world.database.value("SELECT analysis_state FROM call_records") == "done"
    assert world.crm.held[CALL].analysis is not None


def test_a_repeated_failure_sends_the_same_incomplete_call_once(world: World) -> None:
    first, _ = world.deliver("analyze", CallTranscribed(**IDS))
    again, _ = world.deliver("analyze", CallTranscribed(**IDS))
    assert first.request_id == again.request_id
    world.deliver("crm_sync", first)
    assert world.deliver("crm_sync", again) == []
    states = world.database.rows("SELECT kind, state FROM processing_requests ORDER BY kind")
    assert states == [["incomplete", "done"], ["post_call", "failed"]]
