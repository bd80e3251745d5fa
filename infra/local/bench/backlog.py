"""Pull subscriptions of the bench: what the receivers published, and what one stage hands to the next."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from google.api_core.exceptions import AlreadyExists, DeadlineExceeded
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from google.pubsub_v1.types import PubsubMessage, ReceivedMessage, Subscription, Topic

from infra.local.errors import StackError
from infra.local.plan import PROJECT_ID
from shared.gateways.channels import loopback_channel

_PULL = 1_000
_EMPTY_PULLS = 2
"""So many in a row end a count: the emulator may answer short while there is more."""
_PULL_TIMEOUT_S = 1.0
_POLL_S = 0.05
_ACK_DEADLINE_S = 600


@dataclass(frozen=True)
class _Subscription:
    subscriber: Any
    path: str

    def pull(self, *, at_most: int) -> Sequence[ReceivedMessage]:
        """What is there, acknowledged."""
        # Google discourages `return_immediately` because it makes services poll. Here it says "what is there, now"; a
        # pull that is given up while it waits could take a message with it.
        request = {"subscription": self.path, "max_messages": at_most, "return_immediately": True}
        try:
            answer = self.subscriber.pull(request=request, timeout=_PULL_TIMEOUT_S, retry=None)
        except DeadlineExceeded:
            return ()
        received: Sequence[ReceivedMessage] = answer.received_messages
        if received:
            self.subscriber.acknowledge(subscription=self.path, ack_ids=[message.ack_id for message in received])
        return received


@dataclass(frozen=True)
class Backlog:
    """The messages of one topic since the last count."""

    subscription: _Subscription

    def take_all(self) -> int:
        """Take every message out and say how many there were."""
        taken, empty = 0, 0
        while empty < _EMPTY_PULLS:
            received = self.subscription.pull(at_most=_PULL)
            taken += len(received)
            empty = 0 if received else empty + 1
        return taken


@dataclass(frozen=True)
class Inbox:
    """The messages of one topic, one at a time."""

    subscription: _Subscription

    def next_message(self, *, timeout_s: float) -> PubsubMessage:
        """Raises `StackError` when none comes in time."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            for received in self.subscription.pull(at_most=1):
                return received.message
            time.sleep(_POLL_S)
        raise StackError("no_message", f"nothing arrived at {self.subscription.path} in {timeout_s:.0f} s")


@contextlib.contextmanager
def open_backlogs(pubsub_address: str, *, topics: Sequence[str]) -> Iterator[dict[str, Backlog]]:
    """Topics of the bench's own: no worker subscribes to them, so nothing downstream takes part in a measurement."""
    with _subscribed(pubsub_address, topics) as subscriptions:
        yield {topic: Backlog(subscription) for topic, subscription in subscriptions.items()}


@contextlib.contextmanager
def open_inboxes(pubsub_address: str, *, topics: Sequence[str]) -> Iterator[dict[str, Inbox]]:
    """A second subscription beside the workers' own ones."""
    with _subscribed(pubsub_address, topics) as subscriptions:
        yield {topic: Inbox(subscription) for topic, subscription in subscriptions.items()}


@contextlib.contextmanager
def _subscribed(pubsub_address: str, topics: Sequence[str]) -> Iterator[dict[str, _Subscription]]:
    with loopback_channel(pubsub_address) as channel:
        publisher = PublisherClient(transport=PublisherGrpcTransport(channel=channel))
        subscriber = SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
        made = {}
        for topic in topics:
            topic_path = f"projects/{PROJECT_ID}/topics/{topic}"
            path = f"projects/{PROJECT_ID}/subscriptions/bench-{topic}"
            with contextlib.suppress(AlreadyExists):
                publisher.create_topic(request=Topic(name=topic_path))
            subscriber.create_subscription(
                request=Subscription(name=path, topic=topic_path, ack_deadline_seconds=_ACK_DEADLINE_S)
            )
            made[topic] = _Subscription(subscriber, path)
        yield made
