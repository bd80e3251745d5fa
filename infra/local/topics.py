"""Topics, push subscriptions and archives of `infra/pipeline.json` on the Pub/Sub emulator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.api_core.exceptions import AlreadyExists
from google.protobuf.duration_pb2 import Duration
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from google.pubsub_v1.types import DeadLetterPolicy, ExpirationPolicy, PushConfig, RetryPolicy, Topic
from google.pubsub_v1.types import Subscription as SubscriptionMessage

from infra.local.plan import LOCAL_BACKOFF_SCALE
from shared.gateways.channels import loopback_channel
from shared.pipeline import Archive, Pipeline, Service, Subscription, load_pipeline

DEAD_LETTERS_TOPIC = "dead-letters"
_DAY_S = 86_400
_LONGEST_RETENTION_S = 7 * _DAY_S
"""The emulator refuses more (0.8.20); Google allows 31 days."""
_ARCHIVE_ACK_DEADLINE_S = 60
"""Long enough to record a batch that was pulled."""


def create_topology(
    *,
    pubsub_address: str,
    project_id: str,
    endpoints: Mapping[str, str],
    backoff_scale: float = LOCAL_BACKOFF_SCALE,
    pipeline: Pipeline | None = None,
) -> None:
    """Create every topic, its archive, and each service's subscriptions pushing to its endpoint. Safe to repeat.

    `endpoints` maps service names to push URLs and must name every service that subscribes to something; on a
    subscription that is already there only the push URL is changed. `backoff_scale` shortens both ends of the retry
    policy; 0 leaves it out, and the emulator then delivers again every second (with a policy it takes 3 s or more,
    however short the delays in it: measured). Raises `google.api_core.exceptions.GoogleAPICallError`.
    """
    pipeline = pipeline or load_pipeline()
    with loopback_channel(pubsub_address) as channel:
        publisher = PublisherClient(transport=PublisherGrpcTransport(channel=channel))
        subscriber = SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
        for topic in pipeline.topics:
            _create_topic(publisher, f"projects/{project_id}/topics/{topic}")
        for name, service in pipeline.services.items():
            for subscription in service.subscribes:
                request = subscription_request(
                    project_id=project_id,
                    service=service,
                    subscription=subscription,
                    endpoint=endpoints[name],
                    backoff_scale=backoff_scale,
                )
                _create_subscription(subscriber, request)
        for archive in pipeline.archives:
            _create_archive(subscriber, archive_request(project_id=project_id, archive=archive))


def subscription_request(
    *, project_id: str, service: Service, subscription: Subscription, endpoint: str, backoff_scale: float
) -> SubscriptionMessage:
    """One push subscription as Pub/Sub's own message.

    The recorder of dead letters gets no dead-letter policy: its topic would be its own dead-letter topic, and a
    letter that cannot be recorded would go round in circles under a new id each time.
    """
    request = SubscriptionMessage(
        name=f"projects/{project_id}/subscriptions/{subscription.subscription}",
        topic=f"projects/{project_id}/topics/{subscription.topic}",
        push_config=PushConfig(push_endpoint=endpoint),
        ack_deadline_seconds=service.ack_deadline_s,
        message_retention_duration=_duration(min(subscription.retention_days * _DAY_S, _LONGEST_RETENTION_S)),
    )
    if backoff_scale > 0:
        request.retry_policy = RetryPolicy(
            minimum_backoff=_duration(service.min_backoff_s * backoff_scale),
            maximum_backoff=_duration(service.max_backoff_s * backoff_scale),
        )
    if service.role != "recorder":
        request.dead_letter_policy = DeadLetterPolicy(
            dead_letter_topic=f"projects/{project_id}/topics/{DEAD_LETTERS_TOPIC}",
            max_delivery_attempts=service.max_delivery_attempts,
        )
    return request


def archive_request(*, project_id: str, archive: Archive) -> SubscriptionMessage:
    """A pull subscription that outlives any time without a reader; what is drained from it can be sought again."""
    return SubscriptionMessage(
        name=f"projects/{project_id}/subscriptions/{archive.subscription}",
        topic=f"projects/{project_id}/topics/{archive.topic}",
        ack_deadline_seconds=_ARCHIVE_ACK_DEADLINE_S,
        message_retention_duration=_duration(min(archive.retention_days * _DAY_S, _LONGEST_RETENTION_S)),
        retain_acked_messages=True,
        expiration_policy=ExpirationPolicy(),
    )


def _create_topic(publisher: Any, name: str) -> None:
    try:
        publisher.create_topic(request=Topic(name=name))
    except AlreadyExists:
        return


def _create_subscription(subscriber: Any, request: SubscriptionMessage) -> None:
    try:
        subscriber.create_subscription(request=request)
    except AlreadyExists:
        subscriber.modify_push_config(subscription=request.name, push_config=request.push_config)


def _create_archive(subscriber: Any, request: SubscriptionMessage) -> None:
    try:
        subscriber.create_subscription(request=request)
    except AlreadyExists:
        return


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromMilliseconds(round(seconds * 1000))
    return duration
