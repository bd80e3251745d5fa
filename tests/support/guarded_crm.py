"""Calls of two tenants that sync to HubSpot's stand-in through circuits on real Spanner rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from schemas.events import CallReceived
from shared.circuits import OPENS_AFTER, Breaker, Circuit
from shared.errors import Deferred, PipelineError, TenantBlocked
from shared.gateways.circuit_store import SpannerCircuits
from shared.gateways.sweep_store import SpannerSweepStore
from shared.guarded import GuardedCrm
from shared.inbox import Inbox
from shared.stage import Completed, StageContext
from shared.sweeper import Sweeper
from tests.support.crm_calls import crm_call
from tests.support.hubspot_portal import HubSpotHarness
from tests.support.pipeline_database import OUR_TENANT, PipelineDatabase
from tests.support.ports import HandClock, MemoryObjects
from tests.support.runner_bench import RECEIVED, STORED, Bench, delivery_of

TENANT = OUR_TENANT.tenant_id
PROBE_EVERY = timedelta(minutes=5)


@pytest.fixture(scope="module")
def _hubspot() -> Iterator[HubSpotHarness]:
    with ExitStack() as stack:
        yield HubSpotHarness(stack, both=True)


@pytest.fixture
def hubspot(_hubspot: HubSpotHarness) -> Iterator[HubSpotHarness]:
    """Its token works; whatever it was told ends with the test."""
    yield _hubspot
    _hubspot.clear_faults()
    _hubspot.accept({"pat-own-1": "own", "pat-other-1": "other"})


@dataclass
class Guarded:
    """Calls of two tenants that sync to HubSpot through circuits, as the CRM stage does."""

    bench: Bench
    hubspot: HubSpotHarness
    tries: list[str] = field(default_factory=list)

    @property
    def clock(self) -> HandClock:
        return self.bench.clock

    @property
    def store(self) -> SpannerCircuits:
        return SpannerCircuits(self.bench.database.open)

    def breaker(self) -> Breaker:
        """As another worker has it: with nothing remembered."""
        return Breaker(self.store, self.clock, PROBE_EVERY)

    def circuit(self) -> Circuit:
        found = self.store.read(TENANT, "hubspot")
        assert found is not None
        return found

    def asked(self) -> int:
        """Every request that HubSpot got."""
        return sum(self.hubspot.state()["requests"].values())

    def sync(self, breaker: Breaker | None = None, *, tenant: str = TENANT, call_id: str = "CAL1") -> None:
        owner = "own" if tenant == TENANT else "other"
        GuardedCrm(self.hubspot.bare_gateway(owner), breaker or self.breaker(), tenant).sync_call(crm_call(call_id))

    def refused(self, breaker: Breaker | None = None) -> PipelineError:
        with pytest.raises((TenantBlocked, Deferred)) as caught:
            self.sync(breaker)
        return caught.value

    def open(self) -> None:
        """HubSpot refuses the tenant's token until nobody asks any more."""
        self.hubspot.revoke_secret()
        for _ in range(OPENS_AFTER):
            self.refused()
        assert self.circuit().state == "blocked"

    def mend(self) -> None:
        self.hubspot.accept({"pat-own-1": "own", "pat-other-1": "other"})

    # -- whole runs

    def deliver(self, event: CallReceived, **attributes: str) -> int:
        def run(context: StageContext) -> Completed:
            self.tries.append(context.request_id)
            self.sync(tenant=context.tenant.tenant_id, call_id=context.request_id)
            return Completed(next_event=STORED.model_copy(update={"request_id": context.request_id}))

        self.bench.behave = run
        return self.bench.runner().handle(delivery_of(event, **attributes), event).status

    def sweep(self) -> dict[str, int]:
        store = SpannerSweepStore(self.bench.database.open, self.bench.database.vault)
        return Sweeper(store, self.bench.publisher, Inbox(MemoryObjects()), self.clock).sweep().actions

    def deliver_swept(self) -> None:
        """Whatever the sweeper has published since."""
        messages = [item for item in self.bench.publisher.messages if item.attributes.get("swept")]
        for message in messages:
            event = CallReceived.model_validate_json(message.data)
            assert self.deliver(event, swept="true") == 204
        self.bench.publisher.messages.clear()

    def states(self) -> list[str]:
        return [row[0] for row in self.bench.database.rows("SELECT state FROM stage_runs ORDER BY request_id")]


@pytest.fixture
def guarded(pipeline_database: PipelineDatabase, hubspot: HubSpotHarness) -> Guarded:
    return Guarded(Bench(pipeline_database), hubspot)


def event_of(number: int, *, tenant_id: str = TENANT) -> CallReceived:
    return RECEIVED.model_copy(update={"tenant_id": tenant_id, "request_id": f"r-{number:016d}"})
