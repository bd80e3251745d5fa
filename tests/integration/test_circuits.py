"""What opens a circuit in front of HubSpot's stand-in, on real Spanner rows: its own tenant asks no more, others do."""

from __future__ import annotations

from typing import Any

import pytest

from infra.local.standins.faults import FaultRule
from shared.circuits import OPENS_AFTER, Breaker, Circuit
from shared.errors import Deferred, PipelineError, Throttled, TransientFailure
from shared.gateways.circuit_store import SpannerCircuits
from shared.guarded import GuardedCrm
from tests.support.crm_calls import crm_call
from tests.support.guarded_crm import PROBE_EVERY, TENANT, Guarded, _hubspot, event_of, guarded, hubspot
from tests.support.pipeline_database import OTHER_TENANT

__all__ = ["_hubspot", "guarded", "hubspot"]

pytestmark = pytest.mark.emulators


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


# -- while it is open --------------------------------------------------------------------------------------------


def test_another_tenants_calls_go_through_meanwhile(guarded: Guarded) -> None:
    guarded.open()
    for number in range(5):
        assert guarded.deliver(event_of(number)) == 204
        assert guarded.deliver(event_of(number, tenant_id=OTHER_TENANT.tenant_id)) == 204

    theirs = guarded.bench.database.rows(
        f"SELECT state, attempt FROM stage_runs WHERE tenant_id = '{OTHER_TENANT.tenant_id}'"
    )
    assert theirs == [["done", 1]] * 5


def test_a_run_that_sleeps_says_whom_it_waits_for_until_when_and_what_would_help(guarded: Guarded) -> None:
    guarded.open()
    assert guarded.deliver(event_of(1)) == 204
    row = guarded.bench.database.rows("SELECT state, due_at, vendor, error_fix FROM stage_runs")
    assert row == [["blocked", guarded.circuit().probe_at, "hubspot", guarded.circuit().fix]]
    assert "token secret" in guarded.circuit().fix


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


# -- asking the database -----------------------------------------------------------------------------------------


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
