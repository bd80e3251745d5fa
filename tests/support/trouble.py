"""A call's way with scripted stages: real runner, real rows, real recorder of dead letters, any trouble at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from google.cloud.spanner_v1 import param_types

from schemas.calls import CrmRecord
from schemas.events import (
    CallAnalyzed,
    CallLeftIncomplete,
    CallReceived,
    CallSynced,
    CallTranscribed,
    Event,
    RecordingStored,
    WebhookKind,
)
from schemas.tenant import Tenant
from shared.circuits import Breaker
from shared.dead_letters import TOPIC as DEAD_LETTERS
from shared.deliveries import Delivery
from shared.desk_letters import letter_of
from shared.gateways.call_merger import SpannerCallMerger
from shared.gateways.circuit_store import SpannerCircuits
from shared.gateways.dead_letter_store import SpannerDeadLetters
from shared.gateways.run_store import SpannerRunStore
from shared.gateways.story import SpannerStories
from shared.incomplete import admit_incomplete, left_incomplete
from shared.names import first_request_id, side_request_id
from shared.pipeline import load_pipeline
from shared.runner import Runner
from shared.stage import CallChanges, Completed, StageContext
from shared.stage_spec import StageSpec
from shared.story import STAGES, SchemaGap
from shared.whereabouts.situations import Pace
from shared.why import Answer, explain
from stages.download import intake
from tests.support.pipeline_database import OTHER_TENANT, OUR_TENANT, PipelineDatabase
from tests.support.ports import HandClock, MemoryPublisher, MemoryTenants

CALL = "CAL019aa0c4d1f07b2e9c3d5a6f70819203"
WORKER = "download-00007/worker-1/42"
STALE_AFTER = timedelta(minutes=25)
_ACCEPTS: dict[str, tuple[type[Event], ...]] = {
    "download": (CallReceived,),
    "transcribe": (RecordingStored,),
    "analyze": (CallTranscribed,),
    "crm_sync": (CallAnalyzed, CallLeftIncomplete),
}

Behave = Callable[[StageContext], Completed]


class Killed(BaseException):
    """The worker's end under SIGKILL: nothing more is written."""


@dataclass
class Trouble:
    """One tenant's calls, and what the stages do with them next."""

    database: PipelineDatabase
    clock: HandClock = field(default_factory=lambda: HandClock(datetime.now(UTC)))
    publisher: MemoryPublisher = field(default_factory=MemoryPublisher)
    tenant: Tenant = OUR_TENANT
    schema: SchemaGap = field(default_factory=SchemaGap)
    inbox: tuple[str, ...] = ()

    # -- what happens -----------------------------------------------------------------------------------

    def webhook(self, kind: WebhookKind = "post_call", *, call_id: str = CALL, **payload: Any) -> CallReceived:
        """The event that the receiver publishes for a webhook."""
        tenant_id = self.tenant.tenant_id
        request_id = (
            first_request_id(tenant_id, call_id)
            if kind == "post_call"
            else side_request_id(tenant_id, call_id, kind, str(payload))
        )
        return CallReceived(
            tenant_id=tenant_id,
            request_id=request_id,
            call_id=call_id,
            kind=kind,
            received_at=self.clock(),
            payload={"resource_id": call_id, "duration": "30", **payload},
        )

    def deliver(self, event: Event, behave: Behave, *, stage: str = "download") -> int:
        """Hand the event to the stage's worker; returns the status it answers."""
        delivery = Delivery("m-1", event.model_dump_json().encode(), event.attributes(), "projects/p/s/x")
        return self.runner(stage, behave).handle(delivery, event).status

    def side_webhook(self, event: CallReceived) -> int:
        """Hand a webhook that is no post-call to the real intake."""
        deps = intake.IntakeDeps(merger=SpannerCallMerger(self.database.open, self.database.vault), now=self.clock)
        return self.deliver(event, partial(intake.run, deps=deps))

    def reach(self, stage: str, behave: Behave, *, call_id: str = CALL) -> int:
        """Take a call through the stages before `stage`, then let that one do as it likes."""
        event: Event = self.webhook(call_id=call_id)
        for name in STAGES[: STAGES.index(stage)]:
            assert self.deliver(event, finishing, stage=name) == 204
            event = following(name, event)
        return self.deliver(event, behave, stage=stage)

    def record_letters(self) -> None:
        """What service `dead_letter` does with the messages of its subscription."""
        letters = SpannerDeadLetters(self.database.open, self.database.vault)
        for number, message in enumerate(self.publisher.messages):
            if message.topic == DEAD_LETTERS:
                sent = Delivery(f"dl-{number}", message.data, message.attributes, "projects/p/s/d")
                letters.record(letter_of(sent, load_pipeline()))

    def give_up_in_pubsub(self, event: Event, *, stage: str) -> None:
        """Pub/Sub's own dead-letter policy: the original message with attributes of Pub/Sub's."""
        subscription = Pace.of(load_pipeline(), stale_after=STALE_AFTER).stages[stage].subscription
        added = {
            "CloudPubSubDeadLetterSourceSubscription": subscription,
            "CloudPubSubDeadLetterSourceDeliveryCount": "20",
        }
        self.publisher.publish(DEAD_LETTERS, event.model_dump_json().encode(), {**event.attributes(), **added})

    def replay(self, stage: str) -> None:
        """What a replay writes before it sends the event: the letter is marked, the run reopened."""
        key = {"tenant_id": self.tenant.tenant_id, "request_id": self.request_id, "stage": stage}
        mark = (
            "UPDATE dead_letters SET state = 'replaying', replays = replays + 1,"
            " updated_at = PENDING_COMMIT_TIMESTAMP() WHERE stage = @stage"
        )
        reopen = (
            "UPDATE stage_runs SET state = 'retrying', attempt = 1, due_at = NULL,"
            " updated_at = PENDING_COMMIT_TIMESTAMP()"
            " WHERE tenant_id = @tenant_id AND request_id = @request_id AND stage = @stage AND state = 'failed'"
        )

        def work(transaction: Any) -> None:
            types = dict.fromkeys(key, param_types.STRING)
            transaction.execute_update(mark, params={"stage": stage}, param_types={"stage": param_types.STRING})
            transaction.execute_update(reopen, params=key, param_types=types)

        self.database.database.run_in_transaction(work)

    def change(self, statement: str) -> None:
        """A change that nobody's code makes: what an operator's tool or another release did."""
        self.database.database.run_in_transaction(lambda transaction: transaction.execute_update(statement))

    @property
    def breaker(self) -> Breaker:
        return Breaker(SpannerCircuits(self.database.open), self.clock, look_s=0.001)

    @property
    def request_id(self) -> str:
        return first_request_id(self.tenant.tenant_id, CALL)

    def runner(self, stage: str, behave: Behave) -> Runner:
        service = load_pipeline().services[stage]
        spec = StageSpec(
            name=stage,
            accepts=_ACCEPTS[stage],
            run=behave,
            resume=behave if stage == "transcribe" else None,
            admit={"download": _admit, "crm_sync": admit_incomplete}.get(stage),
            after_failure=None if stage == "crm_sync" else partial(left_incomplete, now=self.clock),
            lease=timedelta(seconds=service.ack_deadline_s),
            max_attempts=service.max_delivery_attempts,
        )
        store = SpannerRunStore(self.database.open, self.database.vault)
        tenants = MemoryTenants((self.tenant, OTHER_TENANT))
        return Runner(spec, store, tenants, self.publisher, self.clock, worker=WORKER)

    # -- what is asked ----------------------------------------------------------------------------------

    def why(self, *, call_id: str = CALL, request_id: str = "") -> Answer:
        """The answer of `pipeline why` at this moment."""
        return explain(
            SpannerStories(self.database.open).tell(self.tenant.tenant_id, call_id),
            now=self.clock(),
            pace=Pace.of(load_pipeline(), stale_after=STALE_AFTER),
            request_id=request_id,
            inbox=self.inbox,
            schema=self.schema,
        )


def following(stage: str, event: Event) -> Event:
    """The event that a stage produces from its own."""
    ids = {"tenant_id": event.tenant_id, "request_id": event.request_id, "call_id": event.call_id}
    events: dict[str, type[Event]] = {
        "download": RecordingStored,
        "transcribe": CallTranscribed,
        "analyze": CallAnalyzed,
        "crm_sync": CallSynced,
    }
    return events[stage].model_validate(ids)


def finishing(context: StageContext) -> Completed:
    """A stage that has nothing to complain of."""
    assert isinstance(context.event, Event)
    stage = next(name for name, accepted in _ACCEPTS.items() if isinstance(context.event, accepted))
    if stage != "crm_sync":
        return Completed(next_event=following(stage, context.event))
    record = CrmRecord(
        provider="hubspot",
        person_id="101",
        person_type="contact",
        activity_id="202",
        activity_type="call",
        synced_at=context.now(),
    )
    done = None if context.event.type == "call_left_incomplete" else following(stage, context.event)
    return Completed(next_event=done, changes=CallChanges(crm=(record,)), request_state="done")


def raising(error: BaseException) -> Behave:
    """A stage that ends with this error."""

    def behave(_context: StageContext) -> Completed:
        raise error

    return behave


def _admit(event: Event) -> Any:
    assert isinstance(event, CallReceived)
    return intake.admit(event)
