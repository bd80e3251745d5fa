"""Circuit breakers, one for each tenant and vendor: a refusing vendor is asked by one probe at a time.

One tenant's wrong token or spent quota must not cost a request for every call, burn attempts or slow its neighbours:
once the circuit is open, calls are put to sleep without touching the vendor. A probe that succeeds closes it and makes
every run that waits for it due.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, Protocol, TypeVar

import structlog
from cachetools import TTLCache

from shared.errors import Deferred, TenantBlocked, Throttled
from shared.ports import Clock

log = structlog.get_logger()

T = TypeVar("T")

OPENS_AFTER = 3
"""Refusals in a row: one can be a token in the middle of its rotation."""
_MAX_KNOWN = 10_000

CircuitState = Literal["closed", "blocked", "throttled"]


@dataclass(frozen=True)
class Circuit:
    """The row of `vendor_circuits`. `probe_at` is when an open circuit may be tried again."""

    tenant_id: str
    vendor: str
    state: CircuitState
    failures: int
    probe_at: datetime
    reason: str = ""
    detail: str = ""
    fix: str = ""


class CircuitStore(Protocol):
    """Keeps circuits. A circuit without a row is closed."""

    def read(self, tenant_id: str, vendor: str) -> Circuit | None: ...

    def read_all(self, tenant_id: str) -> list[Circuit]:
        """Every circuit of the tenant that ever failed."""
        ...

    def write(self, circuit: Circuit) -> None:
        """Insert or replace."""
        ...

    def claim_probe(self, circuit: Circuit, *, next_probe_at: datetime) -> bool:
        """Move `probe_at` on if it is still as `circuit` says; the one who succeeds probes."""
        ...

    def close(self, tenant_id: str, vendor: str, *, now: datetime) -> None:
        """Close the circuit and make every run that waits for it due now, in one commit."""
        ...


@dataclass
class Breaker:
    """Guards calls to vendors. `look_s` bounds how old its knowledge of a circuit may be."""

    store: CircuitStore
    now: Clock
    probe_every: timedelta = timedelta(minutes=5)
    look_s: float = 10.0
    _known: TTLCache[tuple[str, str], Circuit | None] = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._known = TTLCache(_MAX_KNOWN, ttl=self.look_s)

    def call(self, tenant_id: str, vendor: str, work: Callable[[], T]) -> T:
        """Do the work unless the circuit is open. Raises what the work raises, or the reason why it is open."""
        circuit = self._look(tenant_id, vendor)
        if circuit is not None and circuit.state != "closed":
            self._admit_probe(circuit)
        try:
            result = work()
        except TenantBlocked as error:
            error.vendor = error.vendor or vendor
            self._count(tenant_id, vendor, error)
            raise
        except Deferred as error:
            error.vendor = error.vendor or vendor
            self._throttle(tenant_id, vendor, error)
            raise
        except Throttled as error:
            # Its redeliveries would slow the subscription for every tenant.
            self._count_throttled(tenant_id, vendor, error)
            raise
        if circuit is not None and (circuit.state != "closed" or circuit.failures):
            self._close(circuit)
        return result

    def _look(self, tenant_id: str, vendor: str) -> Circuit | None:
        key = (tenant_id, vendor)
        with self._lock:
            if key in self._known:
                return self._known[key]
        circuit = self.store.read(tenant_id, vendor)
        with self._lock:
            self._known[key] = circuit
        return circuit

    def _admit_probe(self, circuit: Circuit) -> None:
        """Return for the one probe that is due and once it has succeeded; raise the circuit's reason otherwise."""
        now = self.now()
        if circuit.probe_at <= now:
            self._forget(circuit)
            if self.store.claim_probe(circuit, next_probe_at=now + self.probe_every):
                log.info("circuit_probed", tenant_id=circuit.tenant_id, vendor=circuit.vendor)
                return
            circuit = self._look(circuit.tenant_id, circuit.vendor) or circuit
            if circuit.state == "closed":  # whoever was faster has succeeded by now
                return
        raise _reason(circuit, at=max(circuit.probe_at, now))

    def _count(self, tenant_id: str, vendor: str, error: TenantBlocked) -> None:
        before = self.store.read(tenant_id, vendor)
        failures = (before.failures if before else 0) + 1
        is_open = failures >= OPENS_AFTER
        probe_at = self.now() + self.probe_every
        self._write(
            Circuit(
                tenant_id=tenant_id,
                vendor=vendor,
                state="blocked" if is_open else "closed",
                failures=failures,
                probe_at=probe_at,
                reason=error.code,
                detail=error.detail,
                fix=error.fix,
            )
        )
        error.retry_at = probe_at
        if is_open and (before is None or before.state == "closed"):
            log.warning("circuit_opened", tenant_id=tenant_id, vendor=vendor, reason=error.code, fix=error.fix)

    def _count_throttled(self, tenant_id: str, vendor: str, error: Throttled) -> None:
        """Raises `Deferred` once it is one too many."""
        before = self.store.read(tenant_id, vendor)
        failures = (before.failures if before else 0) + 1
        if failures >= OPENS_AFTER or (before is not None and before.state != "closed"):
            pause_s = max(self.probe_every.total_seconds(), error.retry_after_s or 0.0)
            until = self.now() + timedelta(seconds=pause_s)
            asleep = Deferred(error.code, error.detail, until=until, fix=error.fix, vendor=vendor)
            self._throttle(tenant_id, vendor, asleep, failures=failures)
            raise asleep from error
        self._write(
            Circuit(tenant_id, vendor, "closed", failures, self.now(), error.code, error.detail, error.fix),
        )

    def _throttle(self, tenant_id: str, vendor: str, error: Deferred, *, failures: int = 1) -> None:
        self._write(
            Circuit(
                tenant_id=tenant_id,
                vendor=vendor,
                state="throttled",
                failures=failures,
                probe_at=error.until,
                reason=error.code,
                detail=error.detail,
                fix=error.fix,
            )
        )
        log.warning("circuit_throttled", tenant_id=tenant_id, vendor=vendor, until=error.until.isoformat())

    def _close(self, circuit: Circuit) -> None:
        self._forget(circuit)
        self.store.close(circuit.tenant_id, circuit.vendor, now=self.now())
        log.info("circuit_closed", tenant_id=circuit.tenant_id, vendor=circuit.vendor)

    def _write(self, circuit: Circuit) -> None:
        self._forget(circuit)
        self.store.write(circuit)

    def _forget(self, circuit: Circuit) -> None:
        with self._lock:
            self._known.pop((circuit.tenant_id, circuit.vendor), None)


def _reason(circuit: Circuit, *, at: datetime) -> TenantBlocked | Deferred:
    if circuit.state == "throttled":
        return Deferred(circuit.reason, circuit.detail, until=at, fix=circuit.fix, vendor=circuit.vendor)
    return TenantBlocked(circuit.reason, circuit.detail, fix=circuit.fix, vendor=circuit.vendor, retry_at=at)
