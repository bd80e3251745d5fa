"""Publish requests: a lone message goes at once, what arrives meanwhile goes together, errors reach those who wait."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from shared.gateways.gathering import MAX_BYTES, Gatherer
from tests.support.waiting import eventually

TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Message:
    """Has a size, as protobuf messages have."""

    text: str
    size: int = 10

    def ByteSize(self) -> int:  # noqa: N802 - protobuf's name
        return self.size


@dataclass
class PubSub:
    """Takes requests; while `is_open` is not set, it does not answer."""

    is_open: threading.Event = field(default_factory=threading.Event)
    has_request: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    requests: list[tuple[str, list[str]]] = field(default_factory=list)
    error: Exception | None = None
    forgets_one: bool = False

    def send(self, path: str, messages: Sequence[Any]) -> Sequence[str]:
        texts = [message.text for message in messages]
        self.requests.append((path, texts))
        self.has_request.release()
        assert self.is_open.wait(TIMEOUT_S)
        if self.error:
            raise self.error
        ids = [f"id of {text}" for text in texts]
        return ids[1:] if self.forgets_one else ids


@pytest.fixture
def pubsub() -> Iterator[PubSub]:
    pubsub = PubSub()
    yield pubsub
    pubsub.is_open.set()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


@dataclass
class Senders:
    """Threads that publish through one gatherer with one request under way at a time."""

    pool: ThreadPoolExecutor
    pubsub: PubSub
    gatherer: Gatherer = field(init=False)

    def __post_init__(self) -> None:
        self.gatherer = Gatherer(self.pubsub.send, senders=1, window_s=0.0)

    def publish(self, *messages: Message, path: str = "calls", timeout_s: float = TIMEOUT_S) -> list[Future[str]]:
        """Publish side by side; returns when all of them wait for a request."""
        before = self.gatherer.waiting
        futures = [self.pool.submit(self.gatherer.publish, path, message, timeout_s=timeout_s) for message in messages]
        eventually(lambda: self.gatherer.waiting == before + len(messages), what="messages that wait")
        return futures

    def occupy(self) -> Future[str]:
        """Get one request under way, so that whatever follows must wait."""
        future = self.pool.submit(self.gatherer.publish, "calls", Message("first"), timeout_s=TIMEOUT_S)
        assert self.pubsub.has_request.acquire(timeout=TIMEOUT_S)
        return future

    def open(self) -> None:
        self.pubsub.is_open.set()


@pytest.fixture
def senders(pool: ThreadPoolExecutor, pubsub: PubSub) -> Senders:
    return Senders(pool, pubsub)


def test_a_lone_sender_gets_a_request_for_each_message(senders: Senders) -> None:
    senders.open()
    assert senders.gatherer.publish("calls", Message("a"), timeout_s=TIMEOUT_S) == "id of a"
    assert senders.gatherer.publish("calls", Message("b"), timeout_s=TIMEOUT_S) == "id of b"
    assert senders.pubsub.requests == [("calls", ["a"]), ("calls", ["b"])]


def test_a_lone_sender_waits_for_nobody() -> None:
    """With a window longer than the sender's patience: had it been kept, the message would not be confirmed."""
    pubsub = PubSub()
    pubsub.is_open.set()
    gatherer = Gatherer(pubsub.send, senders=1, window_s=2 * TIMEOUT_S)
    assert gatherer.publish("calls", Message("a"), timeout_s=TIMEOUT_S) == "id of a"


def test_what_arrives_during_a_request_travels_together_in_the_next(senders: Senders) -> None:
    first = senders.occupy()
    others = senders.publish(Message("a"), Message("b"), Message("c"))
    senders.open()
    assert first.result(TIMEOUT_S) == "id of first"
    assert sorted(future.result(TIMEOUT_S) for future in others) == ["id of a", "id of b", "id of c"]
    assert [sorted(texts) for _, texts in senders.pubsub.requests] == [["first"], ["a", "b", "c"]]


def test_each_sender_gets_its_own_confirmation(senders: Senders) -> None:
    senders.occupy()
    futures = senders.publish(*(Message(str(number)) for number in range(12)))
    senders.open()
    assert [future.result(TIMEOUT_S) for future in futures] == [f"id of {number}" for number in range(12)]


def test_topics_do_not_share_requests(senders: Senders) -> None:
    senders.occupy()
    futures = senders.publish(Message("a")) + senders.publish(Message("b"), path="dead-letters")
    senders.open()
    assert [future.result(TIMEOUT_S) for future in futures] == ["id of a", "id of b"]
    assert sorted(senders.pubsub.requests[1:]) == [("calls", ["a"]), ("dead-letters", ["b"])]


def test_a_request_is_closed_before_it_grows_too_large(senders: Senders) -> None:
    half = MAX_BYTES // 2
    senders.occupy()
    futures = [future for text in "abcde" for future in senders.publish(Message(text, size=half))]
    senders.open()
    assert [future.result(TIMEOUT_S) for future in futures] == [f"id of {text}" for text in "abcde"]
    assert [texts for _, texts in senders.pubsub.requests] == [["first"], ["a", "b"], ["c", "d"], ["e"]]


def test_a_message_larger_than_a_request_travels_alone(senders: Senders) -> None:
    senders.occupy()
    futures = [
        *senders.publish(Message("small")),
        *senders.publish(Message("large", size=3 * MAX_BYTES)),
        *senders.publish(Message("small too")),
    ]
    senders.open()
    assert len([future.result(TIMEOUT_S) for future in futures]) == 3
    assert [texts for _, texts in senders.pubsub.requests] == [["first"], ["small"], ["large"], ["small too"]]


def test_an_error_reaches_everybody_in_the_request_and_nobody_after_it(senders: Senders) -> None:
    senders.occupy()
    futures = senders.publish(Message("a"), Message("b"))
    senders.pubsub.error = ConnectionError("no Pub/Sub")
    senders.open()
    for future in futures:
        with pytest.raises(ConnectionError):
            future.result(TIMEOUT_S)
    senders.pubsub.error = None
    assert senders.gatherer.publish("calls", Message("c"), timeout_s=TIMEOUT_S) == "id of c"


def test_a_confirmation_short_of_one_message_confirms_none(senders: Senders) -> None:
    senders.pubsub.forgets_one = True
    senders.occupy()
    futures = senders.publish(Message("a"), Message("b"))
    senders.open()
    for future in futures:
        with pytest.raises(RuntimeError):
            future.result(TIMEOUT_S)


def test_a_message_whose_sender_has_gone_is_not_sent(senders: Senders) -> None:
    senders.occupy()
    (impatient,) = senders.publish(Message("a"), timeout_s=0.01)
    with pytest.raises(TimeoutError):
        impatient.result(TIMEOUT_S)
    (patient,) = senders.publish(Message("b"))
    senders.open()
    assert patient.result(TIMEOUT_S) == "id of b"
    assert [texts for _, texts in senders.pubsub.requests] == [["first"], ["b"]]


def test_a_request_that_hangs_does_not_hold_up_the_others(pool: ThreadPoolExecutor) -> None:
    began, ends = threading.Event(), threading.Event()

    def send(path: str, messages: Sequence[Any]) -> Sequence[str]:
        if messages[0].text == "hangs":
            began.set()
            assert ends.wait(TIMEOUT_S)
        return [f"id of {message.text}" for message in messages]

    gatherer = Gatherer(send, senders=2, window_s=0.0)
    held_up = pool.submit(gatherer.publish, "calls", Message("hangs"), timeout_s=TIMEOUT_S)
    try:
        assert began.wait(TIMEOUT_S)
        assert gatherer.publish("calls", Message("b"), timeout_s=TIMEOUT_S) == "id of b"
        assert not held_up.done()
    finally:
        ends.set()
    assert held_up.result(TIMEOUT_S) == "id of hangs"
