"""A runner with a scripted stage on real Spanner rows, and the events of one call for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from schemas.events import CallAnalyzed, CallReceived, Event, RecordingStored
from shared.deliveries import Delivery
from shared.gateways.run_store import SpannerRunStore
from shared.runner import Runner
from shared.stage import Completed, StageContext
from shared.stage_spec import StageSpec
from stages.download.intake import admit
from tests.support.pipeline_database import OTHER_TENANT, OUR_TENANT, PipelineDatabase
from tests.support.ports import NOON, HandClock, MemoryPublisher, MemoryTenants

CALL = "CAL019aa0c4d1f07b2e9c3d5a6f70819203"
REQUEST = "r-0123456789abcdef"
IDS = {"tenant_id": OUR_TENANT.tenant_id, "request_id": REQUEST, "call_id": CALL}
RECEIVED = CallReceived(**IDS, kind="post_call", received_at=NOON, payload={"resource_id": CALL, "duration": "30"})
STORED = RecordingStored(**IDS)


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


def raising(error: BaseException) -> Callable[[StageContext], Completed]:
    def behave(_context: StageContext) -> Completed:
        raise error

    return behave
