"""Publishing to a real Pub/Sub emulator: confirmed or an error in time, never silence."""

from __future__ import annotations

import socket
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from google.cloud import pubsub_v1

from handlers.receiver import MAX_EVENT_BYTES
from shared.errors import TransientFailure
from shared.gateways.publisher import PubSubPublisher

pytestmark = pytest.mark.emulators

TIMEOUT_S = 2.0


@dataclass(frozen=True)
class Topics:
    """A project of the test's own with one topic, `call-received`, and a subscription that shows what arrived."""

    project_id: str
    subscriber: pubsub_v1.SubscriberClient
    subscription: str

    def publisher(self, *, prefix: str = "", window_ms: float = 2) -> PubSubPublisher:
        return PubSubPublisher(
            project_id=self.project_id, topic_prefix=prefix, timeout_s=TIMEOUT_S, window_ms=window_ms
        )

    def arrived(self, count: int) -> list[pubsub_v1.types.PubsubMessage]:
        """The next `count` messages, acknowledged."""
        messages: list[pubsub_v1.types.PubsubMessage] = []
        while len(messages) < count:
            answer = self.subscriber.pull(subscription=self.subscription, max_messages=count, timeout=10)
            ids = [received.ack_id for received in answer.received_messages]
            self.subscriber.acknowledge(subscription=self.subscription, ack_ids=ids)
            messages += [received.message for received in answer.received_messages]
        return messages


@pytest.fixture
def topics(pubsub_emulator: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Topics]:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub_emulator)
    project = f"test-{uuid.uuid4().hex[:12]}"
    topic, subscription = f"projects/{project}/topics/call-received", f"projects/{project}/subscriptions/looking"
    with pubsub_v1.SubscriberClient() as subscriber:
        pubsub_v1.PublisherClient().create_topic(name=topic)
        subscriber.create_subscription(name=subscription, topic=topic)
        yield Topics(project, subscriber, subscription)


def test_a_confirmed_message_is_there_with_its_attributes(topics: Topics) -> None:
    attributes = {"tenant_id": "acme-plumbing", "traceparent": "00-1-2-01", "empty": ""}
    message_id = topics.publisher().publish("call-received", b'{"a": "\xc3\xa9"}', attributes)
    (message,) = topics.arrived(1)
    assert message.message_id == message_id
    assert message.data == b'{"a": "\xc3\xa9"}'
    assert dict(message.attributes) == attributes


def test_many_senders_at_once_each_get_their_own_confirmation(topics: Topics) -> None:
    publisher = topics.publisher(window_ms=20)

    def send(number: int) -> str:
        return publisher.publish("call-received", str(number).encode(), {})

    with ThreadPoolExecutor(16) as pool:
        ids = list(pool.map(send, range(100)))
    arrived = {message.message_id: message.data for message in topics.arrived(100)}
    assert arrived == {message_id: str(number).encode() for number, message_id in enumerate(ids)}


def test_a_prefix_belongs_to_the_topics_name(topics: Topics) -> None:
    topics.publisher(prefix="call-").publish("received", b"x", {})
    assert topics.arrived(1)[0].data == b"x"


def test_a_missing_topic_is_an_error_for_which_the_sender_must_come_again(topics: Topics) -> None:
    with pytest.raises(TransientFailure) as caught:
        topics.publisher().publish("no-such-topic", b"secret words", {"tenant_id": "acme-plumbing"})
    assert "no-such-topic" in caught.value.detail
    assert "secret words" not in str(caught.value)


def test_a_message_too_large_for_pubsub_is_an_error(topics: Topics) -> None:
    """Refused before it is sent, one byte above the limit."""
    framing = 5  # protobuf: the field's tag and its length
    with pytest.raises(TransientFailure, match="ValueError"):
        topics.publisher().publish("call-received", b"x" * (10_000_001 - framing), {})


def test_our_largest_event_goes_through(topics: Topics) -> None:
    topics.publisher().publish("call-received", b"x" * MAX_EVENT_BYTES, {})
    assert len(topics.arrived(1)[0].data) == MAX_EVENT_BYTES


def test_the_check_says_whether_the_topic_is_there(topics: Topics) -> None:
    assert topics.publisher().check("call-received", timeout_s=TIMEOUT_S) is True
    assert topics.publisher().check("no-such-topic", timeout_s=TIMEOUT_S) is False


@pytest.fixture
def nobody_listens(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A port that is taken and not listened on: every connection is refused."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{taken.getsockname()[1]}")
        yield


@pytest.fixture
def nobody_answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A port that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{silent.getsockname()[1]}")
        yield


@pytest.mark.parametrize("trouble", ["nobody_listens", "nobody_answers"])
def test_without_pubsub_the_sender_hears_so_in_time(trouble: str, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue(trouble)
    publisher = PubSubPublisher(project_id="p", topic_prefix="", timeout_s=TIMEOUT_S, window_ms=2)
    begun = time.monotonic()
    with pytest.raises(TransientFailure):
        publisher.publish("call-received", b"x", {})
    assert publisher.check("call-received", timeout_s=1.0) is False
    assert time.monotonic() - begun < TIMEOUT_S + 1.0 + 5.0, "both are bounded; the rest is for a busy machine"
