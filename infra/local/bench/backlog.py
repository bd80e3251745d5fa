"""What the receivers published: topics of the race's own, with a pull subscription that nobody else reads.

No worker subscribes to them, so nothing downstream takes part in the measurement.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from google.api_core.exceptions import DeadlineExceeded
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from google.pubsub_v1.types import Subscription, Topic

from infra.local.plan import PROJECT_ID
from shared.gateways.channels import loopback_channel

_PULL = 1_000
_EMPTY_AFTER = 2
"""So many empty pulls in a row end the count: the emulator answers short while there is more."""
_PULL_TIMEOUT_S = 1.0
_ACK_DEADLINE_S = 600


class Backlog:
    """The messages of one topic since the last count."""

    def __init__(self, subscriber: Any, subscription: str) -> None:
        self._subscriber = subscriber
        self._subscription = subscription

    def take_all(self) -> int:
        """Take every message out and say how many there were."""
        taken, empty = 0, 0
        while empty < _EMPTY_AFTER:
            ids = self._pull()
            taken += len(ids)
            empty = 0 if ids else empty + 1
            if ids:
                self._subscriber.acknowledge(subscription=self._subscription, ack_ids=ids)
        return taken

    def _pull(self) -> list[str]:
        try:
            answer = self._subscriber.pull(
                request={
                    "subscription": self._subscription,
                    "max_messages": _PULL,
                    # Deprecated by Google because it makes a service poll; here it says "what is there, now".
                    "return_immediately": True,
                },
                timeout=_PULL_TIMEOUT_S,
                retry=None,
            )
        except DeadlineExceeded:
            return []
        return [message.ack_id for message in answer.received_messages]


@contextlib.contextmanager
def open_backlogs(pubsub_address: str, *, topics: list[str]) -> Iterator[dict[str, Backlog]]:
    """Create the topics, each with a subscription, and delete both afterwards."""
    with loopback_channel(pubsub_address) as channel:
        publisher = PublisherClient(transport=PublisherGrpcTransport(channel=channel))
        subscriber = SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
        names = {topic: f"projects/{PROJECT_ID}/subscriptions/{topic}" for topic in topics}
        for topic, name in names.items():
            path = f"projects/{PROJECT_ID}/topics/{topic}"
            publisher.create_topic(request=Topic(name=path))
            subscriber.create_subscription(
                request=Subscription(name=name, topic=path, ack_deadline_seconds=_ACK_DEADLINE_S)
            )
        yield {topic: Backlog(subscriber, name) for topic, name in names.items()}
        for topic, name in names.items():
            subscriber.delete_subscription(subscription=name)
            publisher.delete_topic(topic=f"projects/{PROJECT_ID}/topics/{topic}")
