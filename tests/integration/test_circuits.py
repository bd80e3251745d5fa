"""Circuits on real Spanner rows in front of HubSpot's stand-in: who may ask, who waits, what wakes everybody."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest

from infra.local.standins.faults import FaultRule
from schemas.events import CallReceived
from shared.circuits import OPENS_AFTER, Breaker, Circuit
from shared.errors import Deferred, NotReady, PipelineError, TenantBlocked, Throttled, TransientFailure
from shared.gateways.circuit_store import SpannerCircuits
from shared.gateways.sweep_store import SpannerSweepStore
from shared.guarded import GuardedCrm
from shared.inbox import Inbox
from shared.stage import Completed, StageContext
from shared.sweeper import Sweeper
from tests.support.crm_calls import crm_call
from tests.support.hubspot_portal import HubSpotHarness
from tests.support.pipeline_database import OTHER_TENANT, OUR_TENANT, PipelineDatabase
from tests.support.ports import HandClock, MemoryObjects
from tests.support.runner_bench import RECEIVED, STORED, Bench, delivery_of

pytestmark = pytest.mark.emulators

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


# -- opening -----------------------------------------------------------------------------------------------------


def test_a_circuit_opens_after_three_refusals_in_a_row_and_then_nobody_asks(guarded: Guarded) -> None:
    guarded.hubspot.revoke_secret()
    for failures in range(1, OPENS_AFTER):
        assert guarded.refused().code == "hubspot_401"
        assert (guarded.circuit().state, guarded.circuit().failures) == ("closed", failures)
    guarded.refused()
    assert guarded.circuit().state == "blocked"
    asked = guarded.asked()

    told = [guarded.refused() for _ in range(10)]

    assert guarded.asked() == asked
    assert {(error.code, error.fix != "") for error in told} == {("hubspot_401", True)}
    assert {getattr(error, "retry_at", None) for error in told} == {guarded.clock() + PROBE_EVERY}


def test_a_success_in_between_starts_the_count_again(guarded: Guarded) -> None:
    for _ in range(3):
        guarded.hubspot.revoke_secret()
        for _ in range(OPENS_AFTER - 1):
            guarded.refused()
        guarded.mend()
        guarded.sync()
    assert guarded.circuit().state == "closed"
    assert guarded.circuit().failures == 0


def test_what_time_mends_never_opens_a_circuit(guarded: Guarded) -> None:
    guarded.hubspot.fault("search", kind="status", status=503, times=200)
    gateway = guarded.hubspot.bare_gateway("own", budget_s=0.2)
    for _ in range(OPENS_AFTER + 1):
        with pytest.raises(TransientFailure):
            GuardedCrm(gateway, guarded.breaker(), TENANT).sync_call(crm_call())
    assert guarded.store.read(TENANT, "hubspot") is None


def test_a_vendor_that_throttles_again_and_again_is_left_alone_for_a_while(guarded: Guarded) -> None:
    """Each 503 of ours would slow the subscription for every tenant."""
    gateway = guarded.hubspot.bare_gateway("own", budget_s=0.2)

    def throttled() -> PipelineError:
        with pytest.raises((TransientFailure, Deferred)) as caught:
            GuardedCrm(gateway, guarded.breaker(), TENANT).sync_call(crm_call())
        return caught.value

    policy = {"policyName": "TEN_SECONDLY_ROLLING"}
    guarded.hubspot.plan.add(FaultRule(operation="*", kind="status", status=429, body=policy, times=1000))
    kinds = [type(throttled()) for _ in range(OPENS_AFTER)]
    assert kinds == [Throttled] * (OPENS_AFTER - 1) + [Deferred]
    assert guarded.circuit().state == "throttled"
    asked = guarded.asked()

    told = throttled()
    assert isinstance(told, Deferred)
    assert (told.code, told.until, told.vendor) == ("hubspot_throttled", guarded.clock() + PROBE_EVERY, "hubspot")
    assert guarded.asked() == asked, "nobody asks any more"

    guarded.hubspot.clear_faults()
    guarded.clock.moment += PROBE_EVERY
    guarded.sync()
    assert (guarded.circuit().state, guarded.circuit().failures) == ("closed", 0)


def test_one_tenants_circuit_is_nobody_elses(guarded: Guarded) -> None:
    guarded.open()
    guarded.sync(tenant=OTHER_TENANT.tenant_id)
    assert guarded.store.read(OTHER_TENANT.tenant_id, "hubspot") is None
    assert len(guarded.hubspot.calls("other")) >= 1


# -- probing -----------------------------------------------------------------------------------------------------


def test_one_probe_is_let_through_when_it_is_due_and_a_refused_one_postpones_the_next(guarded: Guarded) -> None:
    guarded.open()
    guarded.clock.advance(PROBE_EVERY.total_seconds())
    asked = guarded.asked()

    guarded.refused()
    assert guarded.asked() > asked, "the probe asks"
    asked = guarded.asked()
    for _ in range(5):
        guarded.refused()

    assert guarded.asked() == asked
    assert guarded.circuit().probe_at == guarded.clock() + PROBE_EVERY


def test_two_workers_that_want_to_probe_at_once_are_one_probe(guarded: Guarded) -> None:
    guarded.open()
    guarded.clock.advance(PROBE_EVERY.total_seconds())
    circuit, start = guarded.circuit(), threading.Barrier(4)

    def claim(_number: int) -> bool:
        start.wait()
        return guarded.store.claim_probe(circuit, next_probe_at=guarded.clock() + PROBE_EVERY)

    with ThreadPoolExecutor(max_workers=4) as pool:
        assert sorted(pool.map(claim, range(4))) == [False, False, False, True]


def test_while_the_probe_is_under_way_everybody_else_sleeps(guarded: Guarded) -> None:
    guarded.open()
    guarded.mend()
    guarded.clock.advance(PROBE_EVERY.total_seconds())
    others: list[PipelineError] = []

    def probing() -> str:
        others.extend(guarded.refused() for _ in range(3))
        return "reached"

    assert guarded.breaker().call(TENANT, "hubspot", probing) == "reached"
    assert {error.code for error in others} == {"hubspot_401"}
    assert guarded.circuit().state == "closed"


def test_a_worker_that_loses_the_probe_to_one_that_already_succeeded_goes_on(guarded: Guarded) -> None:
    """Fault found here: it was sent to sleep with the reason of a closed circuit, which has none."""
    guarded.open()
    guarded.mend()
    guarded.clock.advance(PROBE_EVERY.total_seconds())
    slow = guarded.breaker()
    late_store = WonByAnother(guarded)
    slow.store = late_store

    guarded.sync(slow, call_id="CAL-late")

    assert late_store.was_late
    assert guarded.circuit().state == "closed"


class WonByAnother(SpannerCircuits):
    """Between this worker's look and its probe, another worker's probe succeeds."""

    def __init__(self, guarded: Guarded) -> None:
        super().__init__(guarded.bench.database.open)
        self._guarded = guarded
        self.was_late = False

    def claim_probe(self, circuit: Circuit, *, next_probe_at: datetime) -> bool:
        self._guarded.sync(call_id="CAL-winner")
        self.was_late = True
        return super().claim_probe(circuit, next_probe_at=next_probe_at)


def test_a_probe_that_meets_a_hiccup_leaves_the_circuit_for_the_next_one(guarded: Guarded) -> None:
    guarded.open()
    guarded.clock.advance(PROBE_EVERY.total_seconds())

    def hiccup() -> None:
        raise NotReady("recording_not_ready", "soon")

    with pytest.raises(NotReady):
        guarded.breaker().call(TENANT, "hubspot", hiccup)

    assert guarded.circuit().state == "blocked"
    assert guarded.circuit().probe_at == guarded.clock() + PROBE_EVERY


# -- closing -----------------------------------------------------------------------------------------------------


def test_once_mended_one_probe_wakes_every_call_that_waited(guarded: Guarded) -> None:
    guarded.hubspot.revoke_secret()
    events = [event_of(number) for number in range(8)]
    for event in events:
        assert guarded.deliver(event) == 204
    assert guarded.states() == ["blocked"] * 8
    assert guarded.bench.publisher.topics() == [], "a tenant's mistake makes no dead letters"
    asked = guarded.asked()
    assert guarded.sweep() == {}, "nobody is due before the probe"

    guarded.mend()
    guarded.clock.advance(PROBE_EVERY.total_seconds())
    first = guarded.sweep()
    guarded.deliver_swept()

    assert sum(first.values()) == 8
    guarded.sweep()
    guarded.deliver_swept()
    assert guarded.states() == ["done"] * 8
    assert guarded.asked() > asked
    assert len({call.call_id for call in guarded.hubspot.calls()} & {event.request_id for event in events}) == 8


def test_while_it_is_refused_eight_calls_cost_three_requests_and_one_probe_per_interval(guarded: Guarded) -> None:
    guarded.hubspot.revoke_secret()
    refusals = guarded.hubspot.asked("contacts.search")
    for number in range(8):
        guarded.deliver(event_of(number))
    for _ in range(3):
        guarded.clock.advance(PROBE_EVERY.total_seconds())
        guarded.sweep()
        guarded.deliver_swept()

    assert guarded.states() == ["blocked"] * 8
    per_refusal = 2  # the secret is read again once, and tried once more where it changed
    assert guarded.hubspot.asked("contacts.search") - refusals <= (OPENS_AFTER + 3) * per_refusal


def test_another_tenants_calls_go_through_meanwhile(guarded: Guarded) -> None:
    guarded.open()
    for number in range(5):
        assert guarded.deliver(event_of(number)) == 204
        assert guarded.deliver(event_of(number, tenant_id=OTHER_TENANT.tenant_id)) == 204

    theirs = guarded.bench.database.rows(
        f"SELECT state, attempt FROM stage_runs WHERE tenant_id = '{OTHER_TENANT.tenant_id}'"
    )
    assert theirs == [["done", 1]] * 5


# -- quota -------------------------------------------------------------------------------------------------------


def test_a_spent_quota_throttles_until_its_time_and_then_one_call_asks(guarded: Guarded) -> None:
    daily: dict[str, Any] = {"kind": "status", "status": 429, "body": {"policyName": "DAILY"}}
    guarded.hubspot.plan.add(FaultRule(operation="contacts.*", times=1, **daily))
    assert guarded.deliver(event_of(0)) == 204
    until = guarded.circuit().probe_at
    assert guarded.circuit().state == "throttled"
    asked = guarded.asked()

    for number in range(1, 5):
        assert guarded.deliver(event_of(number)) == 204
    assert guarded.asked() == asked, "one refusal is enough: nobody else asks"
    assert guarded.states() == ["deferred"] * 5
    due = guarded.bench.database.rows("SELECT DISTINCT due_at FROM stage_runs")
    assert due == [[until]]

    guarded.clock.moment = until
    guarded.sweep()
    guarded.deliver_swept()
    guarded.sweep()
    guarded.deliver_swept()
    assert guarded.states() == ["done"] * 5
    assert guarded.circuit().state == "closed"


def test_a_worker_looks_at_a_circuit_once_in_a_while_and_not_for_each_call(guarded: Guarded) -> None:
    store = Counting(guarded)
    busy = Breaker(store, guarded.clock, PROBE_EVERY, look_s=30)
    for number in range(5):
        guarded.sync(busy, call_id=f"CAL{number}")
    assert store.reads == 1


class Counting(SpannerCircuits):
    """Counts the looks."""

    def __init__(self, guarded: Guarded) -> None:
        super().__init__(guarded.bench.database.open)
        self.reads = 0

    def read(self, tenant_id: str, vendor: str) -> Circuit | None:
        self.reads += 1
        return super().read(tenant_id, vendor)


def test_a_run_that_sleeps_says_whom_it_waits_for_until_when_and_what_would_help(guarded: Guarded) -> None:
    guarded.open()
    assert guarded.deliver(event_of(1)) == 204
    row = guarded.bench.database.rows("SELECT state, due_at, vendor, error_fix FROM stage_runs")
    assert row == [["blocked", guarded.circuit().probe_at, "hubspot", guarded.circuit().fix]]
    assert "token secret" in guarded.circuit().fix
