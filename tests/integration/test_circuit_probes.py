"""How a circuit closes, on real Spanner rows in front of HubSpot's stand-in: one probe asks, and wakes everybody."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest

from shared.circuits import OPENS_AFTER, Circuit
from shared.errors import NotReady, PipelineError
from shared.gateways.circuit_store import SpannerCircuits
from tests.support.guarded_crm import PROBE_EVERY, TENANT, Guarded, _hubspot, event_of, guarded, hubspot

__all__ = ["_hubspot", "guarded", "hubspot"]

pytestmark = pytest.mark.emulators


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
