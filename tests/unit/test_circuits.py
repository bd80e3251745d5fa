"""The breaker's decisions over circuits in memory; tests/integration/test_circuit*.py have them on Spanner."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest

from shared.circuits import OPENS_AFTER, Breaker, Circuit
from shared.errors import Deferred, PermanentFailure, PipelineError, TenantBlocked, TransientFailure
from tests.support.ports import NOON, HandClock

FIVE_MINUTES = timedelta(minutes=5)


@dataclass
class MemoryCircuits:
    """Rows in a dictionary, changed under the same conditions as in Spanner."""

    rows: dict[tuple[str, str], Circuit] = field(default_factory=dict)
    closed: list[tuple[str, str]] = field(default_factory=list)
    wins_probes: bool = True

    def read(self, tenant_id: str, vendor: str) -> Circuit | None:
        return self.rows.get((tenant_id, vendor))

    def read_all(self, tenant_id: str) -> list[Circuit]:
        return [row for key, row in self.rows.items() if key[0] == tenant_id]

    def write(self, circuit: Circuit) -> None:
        self.rows[circuit.tenant_id, circuit.vendor] = circuit

    def claim_probe(self, circuit: Circuit, *, next_probe_at: datetime) -> bool:
        row = self.rows[circuit.tenant_id, circuit.vendor]
        if not self.wins_probes or row.probe_at != circuit.probe_at or row.state == "closed":
            return False
        self.write(replace(row, probe_at=next_probe_at))
        return True

    def close(self, tenant_id: str, vendor: str, *, now: datetime) -> None:
        row = self.rows[tenant_id, vendor]
        self.write(replace(row, state="closed", failures=0, reason="", detail="", fix="", probe_at=now))
        self.closed.append((tenant_id, vendor))


@pytest.fixture
def store() -> MemoryCircuits:
    return MemoryCircuits()


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def breaker(store: MemoryCircuits, clock: HandClock) -> Breaker:
    return Breaker(store, clock, FIVE_MINUTES)


def refusal() -> TenantBlocked:
    return TenantBlocked("hubspot_401", "HubSpot answered 401", fix="give a new token")


def fail(breaker: Breaker, error: PipelineError, *, vendor: str = "hubspot") -> PipelineError:
    def work() -> None:
        raise error

    with pytest.raises(PipelineError) as caught:
        breaker.call("acme-plumbing", vendor, work)
    return caught.value


def test_work_that_succeeds_touches_no_row(breaker: Breaker, store: MemoryCircuits) -> None:
    assert breaker.call("acme-plumbing", "hubspot", lambda: "synced") == "synced"
    assert store.rows == {}


def test_a_refusal_says_whose_it_was_and_when_to_come_back(breaker: Breaker, clock: HandClock) -> None:
    error = fail(breaker, refusal())
    assert isinstance(error, TenantBlocked)
    assert (error.vendor, error.retry_at) == ("hubspot", clock() + FIVE_MINUTES)


def test_a_vendor_that_the_error_names_itself_is_kept(breaker: Breaker) -> None:
    error = fail(breaker, TenantBlocked("secret_missing", "no secret", vendor="secret_manager"))
    assert isinstance(error, TenantBlocked)
    assert error.vendor == "secret_manager"


@pytest.mark.parametrize("failures", range(1, OPENS_AFTER + 1))
def test_it_opens_with_the_third_refusal(breaker: Breaker, store: MemoryCircuits, failures: int) -> None:
    for _ in range(failures):
        fail(breaker, refusal())
    row = store.rows["acme-plumbing", "hubspot"]
    assert (row.state, row.failures) == ("blocked" if failures == OPENS_AFTER else "closed", failures)


@pytest.mark.parametrize("error", [TransientFailure("x", "y"), PermanentFailure("x", "y"), ValueError("a bug")])
def test_other_failures_say_nothing_about_the_tenants_access(
    breaker: Breaker, store: MemoryCircuits, error: Exception
) -> None:
    def work() -> None:
        raise error

    for _ in range(OPENS_AFTER):
        with pytest.raises(type(error)):
            breaker.call("acme-plumbing", "hubspot", work)
    assert store.rows == {}


def test_a_deferral_throttles_at_once_until_its_own_time(breaker: Breaker, store: MemoryCircuits) -> None:
    until = NOON + timedelta(hours=4)
    fail(breaker, Deferred("daily_quota", "spent", until=until))

    told = fail(breaker, _never_asked())

    assert isinstance(told, Deferred)
    assert (told.code, told.until, told.vendor) == ("daily_quota", until, "hubspot")
    assert store.rows["acme-plumbing", "hubspot"].state == "throttled"


def _never_asked() -> PipelineError:
    return PermanentFailure("asked", "the vendor was asked while its circuit was open")


def test_an_open_circuit_asks_nobody_and_repeats_its_reason(breaker: Breaker, clock: HandClock) -> None:
    for _ in range(OPENS_AFTER):
        fail(breaker, refusal())
    clock.advance(60)
    told = fail(breaker, _never_asked())
    assert isinstance(told, TenantBlocked)
    assert (told.code, told.fix, told.retry_at) == ("hubspot_401", "give a new token", NOON + FIVE_MINUTES)


def test_vendors_and_tenants_have_circuits_of_their_own(breaker: Breaker) -> None:
    for _ in range(OPENS_AFTER):
        fail(breaker, refusal())
    assert breaker.call("acme-plumbing", "salesforce", lambda: "synced") == "synced"
    assert breaker.call("other-dental", "hubspot", lambda: "synced") == "synced"


def test_a_due_probe_that_succeeds_closes_it(breaker: Breaker, store: MemoryCircuits, clock: HandClock) -> None:
    for _ in range(OPENS_AFTER):
        fail(breaker, refusal())
    clock.advance(FIVE_MINUTES.total_seconds())
    assert breaker.call("acme-plumbing", "hubspot", lambda: "synced") == "synced"
    assert store.closed == [("acme-plumbing", "hubspot")]
    assert breaker.call("acme-plumbing", "hubspot", lambda: "synced") == "synced"
    assert len(store.closed) == 1


def test_a_due_probe_that_is_refused_waits_for_the_next(
    breaker: Breaker, store: MemoryCircuits, clock: HandClock
) -> None:
    for _ in range(OPENS_AFTER):
        fail(breaker, refusal())
    clock.advance(FIVE_MINUTES.total_seconds())
    assert fail(breaker, refusal()).code == "hubspot_401"
    row = store.rows["acme-plumbing", "hubspot"]
    assert (row.state, row.probe_at) == ("blocked", clock() + FIVE_MINUTES)


def test_who_does_not_get_the_probe_sleeps(breaker: Breaker, store: MemoryCircuits, clock: HandClock) -> None:
    for _ in range(OPENS_AFTER):
        fail(breaker, refusal())
    clock.advance(FIVE_MINUTES.total_seconds())
    store.wins_probes = False
    told = fail(breaker, _never_asked())
    assert isinstance(told, TenantBlocked)
    assert told.retry_at is not None
    assert told.retry_at >= clock()
