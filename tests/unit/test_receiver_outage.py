"""While Pub/Sub is away, one sender in a second finds out; all others are answered from the inbox at once."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from handlers.outage import FAILURES_IN_A_ROW, PROBE_EVERY_S, Outage
from handlers.receiver import Post, Receiver
from handlers.signature import callrail_signature
from handlers.warm_up import WarmUp
from shared.inbox import Inbox
from tests.support.ports import HandClock, MemoryObjects, MemoryPublisher, MemorySecrets, MemoryTenants
from tests.support.tenants import SIGNING_KEY, make_tenant
from tests.support.waiting import eventually
from tests.support.webhooks import POST_CALL, as_json


@dataclass
class Bench:
    """A receiver whose Pub/Sub fails when told to, on a clock that moves when told to."""

    publisher: MemoryPublisher = field(default_factory=MemoryPublisher)
    objects: MemoryObjects = field(default_factory=MemoryObjects)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.receiver = Receiver(
            tenants=MemoryTenants((make_tenant(),)),
            secrets=MemorySecrets({"acme-plumbing-webhook-secret": SIGNING_KEY}),
            publisher=self.publisher,
            inbox=Inbox(self.objects),
            now=HandClock(),
            outage=Outage(monotonic=lambda: self.seconds),
        )

    def post(self, note: str = "") -> int:
        body = as_json({**POST_CALL, "note": note})
        headers = {"Signature": callrail_signature(SIGNING_KEY, body)}
        return self.receiver.receive(Post("application/json", body, headers), traceparent="").status

    def tried(self) -> int:
        """How many publishes of a hundred that would fail were tried so far."""
        return 100 - self.publisher.failing


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_during_an_outage_one_sender_in_each_second_tries(bench: Bench) -> None:
    bench.publisher.failing = 100
    assert {bench.post(str(number)) for number in range(20)} == {202}
    assert bench.tried() == FAILURES_IN_A_ROW
    assert len(bench.objects.held) == 20

    bench.seconds += PROBE_EVERY_S
    assert {bench.post(f"later {number}") for number in range(5)} == {202}
    assert bench.tried() == FAILURES_IN_A_ROW + 1


def test_the_first_publish_that_works_ends_the_outage(bench: Bench) -> None:
    bench.publisher.failing = FAILURES_IN_A_ROW
    for number in range(FAILURES_IN_A_ROW):
        bench.post(str(number))
    kept = len(bench.objects.held)

    bench.seconds += PROBE_EVERY_S
    assert {bench.post(f"again {number}") for number in range(5)} == {202}

    assert len(bench.publisher.messages) == 5
    assert len(bench.objects.held) == kept


def test_one_slow_answer_is_no_outage(bench: Bench) -> None:
    for number in range(3 * FAILURES_IN_A_ROW):
        bench.publisher.failing = number % 2
        bench.post(str(number))
        bench.publisher.failing = 0
        bench.post(f"well {number}")

    assert len(bench.publisher.messages) == 3 * FAILURES_IN_A_ROW + (3 * FAILURES_IN_A_ROW + 1) // 2


def test_an_outage_of_both_promises_nothing(bench: Bench) -> None:
    bench.publisher.failing, bench.objects.failing = 100, 100

    assert {bench.post(str(number)) for number in range(10)} == {503}
    assert not bench.objects.held


def test_warming_up_happens_once_and_a_failure_of_it_is_nobodys_trouble() -> None:
    begun: list[int] = []

    def work() -> None:
        begun.append(1)
        raise RuntimeError("told to fail")

    warm_up = WarmUp(work)
    for _ in range(10):
        warm_up.begin()

    eventually(lambda: bool(begun), what="the warm-up")
    assert begun == [1]
