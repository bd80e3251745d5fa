"""Subscriptions of a chaos run's own: what was published can be listened to beside the workers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from google.api_core.exceptions import AlreadyExists, DeadlineExceeded, GoogleAPICallError
from google.pubsub_v1 import SubscriberClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from google.pubsub_v1.types import ReceivedMessage, Subscription

from infra.local.plan import PROJECT_ID
from shared.gateways.channels import loopback_channel

PULL_TIMEOUT_S = 1.0
_ANNOUNCED = "call-synced"
_ACK_DEADLINE_S = 60


@contextmanager
def subscriber_at(env: Mapping[str, str]) -> Iterator[SubscriberClient]:
    """A client of the stack's Pub/Sub."""
    with loopback_channel(env["PUBSUB_EMULATOR_HOST"]) as channel:
        yield SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))


def topic_name(topic: str) -> str:
    return f"projects/{PROJECT_ID}/topics/{topic}"


def tap(subscriber: SubscriberClient, topic: str) -> None:
    """From now on the topic's messages are kept for `pull`."""
    request = Subscription(name=_tap_name(topic), topic=topic_name(topic), ack_deadline_seconds=_ACK_DEADLINE_S)
    try:
        subscriber.create_subscription(request=request)
    except AlreadyExists:
        return


def pull(subscriber: SubscriberClient, topic: str) -> Sequence[ReceivedMessage]:
    """What has come, within a second; empty when nothing has. Raises `GoogleAPICallError`: the emulator is frozen."""
    try:
        answer = subscriber.pull(subscription=_tap_name(topic), max_messages=100, timeout=PULL_TIMEOUT_S, retry=None)
    except DeadlineExceeded:
        return ()
    return answer.received_messages


def acknowledge(subscriber: SubscriberClient, topic: str, messages: Sequence[ReceivedMessage]) -> None:
    """An acknowledgement that is lost brings the message again."""
    ids = [message.ack_id for message in messages]
    try:
        subscriber.acknowledge(subscription=_tap_name(topic), ack_ids=ids, timeout=PULL_TIMEOUT_S)
    except GoogleAPICallError:
        return


def listen_for_announcements(env: Mapping[str, str]) -> None:
    """Keep every `call-synced` from now on, as a customer's own consumer would."""
    with subscriber_at(env) as subscriber:
        tap(subscriber, _ANNOUNCED)


def announcements(env: Mapping[str, str]) -> set[tuple[str, str]]:
    """(tenant, request) of every `call-synced` that was published since."""
    heard = set()
    with subscriber_at(env) as subscriber:
        while messages := pull(subscriber, _ANNOUNCED):
            attributes = [received.message.attributes for received in messages]
            heard |= {(one["tenant_id"], one["request_id"]) for one in attributes}
            acknowledge(subscriber, _ANNOUNCED, messages)
    return heard


def _tap_name(topic: str) -> str:
    return f"projects/{PROJECT_ID}/subscriptions/chaos-tap-{topic}"
