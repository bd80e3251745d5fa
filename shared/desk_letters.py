"""From a message of the dead-letter topic to the row that is kept of it, and back to a message that can be sent."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace

from schemas.events import Event
from shared.dead_letters import UNASSIGNED_TENANT, NewDeadLetter, letter_id, source_of
from shared.deliveries import Delivery, decode_event
from shared.errors import InvalidEvent, NotReady
from shared.pipeline import Pipeline

_DROPPED_ON_REPLAY = ("dl_", "CloudPubSubDeadLetter", "googclient_", "swept")
"""Attributes that say why a message died or who woke it; a replayed message starts without them."""

_COUNT = re.compile(r"[0-9]{1,9}")
_MAX_STAGE, _MAX_REASON, _MAX_TEXT = 16, 64, 1000
"""Lengths of the columns: a letter that is too wordy must not be one that cannot be kept."""


def letter_of(delivery: Delivery, pipeline: Pipeline) -> NewDeadLetter:
    """The row for a message of the dead-letter topic, from the runner or from Pub/Sub's own policy."""
    attributes = delivery.attributes
    subscription = attributes.get("dl_subscription") or attributes.get("CloudPubSubDeadLetterSourceSubscription", "")
    event = _event_in(delivery)
    stage = (attributes.get("dl_stage") or _stage_of(pipeline, subscription))[:_MAX_STAGE]
    return NewDeadLetter(
        tenant_id=event.tenant_id if event else UNASSIGNED_TENANT,
        dead_letter_id=failure_id(event, stage, delivery.data),
        request_id=event.request_id if event else "",
        call_id=event.call_id if event else "",
        stage=stage,
        reason=attributes.get("dl_reason", "attempts_exhausted")[:_MAX_REASON],
        detail=attributes.get("dl_detail", "Pub/Sub gave up delivering this message")[:_MAX_TEXT],
        fix=attributes.get("dl_fix", "")[:_MAX_TEXT],
        attempts=_count(attributes.get("dl_attempts") or attributes.get("CloudPubSubDeadLetterSourceDeliveryCount")),
        topic=event.topic if event else (pipeline.topic_of_subscription(subscription) or ""),
        event=delivery.data.decode("utf-8", errors="replace"),
        attributes=dict(attributes),
        message_id=delivery.message_id[:_MAX_REASON] or _digest_of(delivery),
        published_at=delivery.published_at,
        source=source_of(attributes),
    )


def unassigned(letter: NewDeadLetter) -> NewDeadLetter:
    """The same letter for a tenant that does not exist."""
    return replace(letter, tenant_id=UNASSIGNED_TENANT)


def failure_id(event: Event | None, stage: str, data: bytes) -> str:
    """Derived, so that the same work given up twice is one letter."""
    if event is not None:
        return letter_id(f"{event.request_id}\x1f{stage}")
    return "d-" + hashlib.sha256(data).hexdigest()[:32]


def replay_attributes(attributes: Mapping[str, str]) -> dict[str, str]:
    """What a replayed message says beside its event: the original's, its trace among them."""
    return {name: value for name, value in attributes.items() if not name.startswith(_DROPPED_ON_REPLAY)}


def _event_in(delivery: Delivery) -> Event | None:
    """The event, when it is one of ours and its attributes agree: only then is its tenant believed."""
    try:
        return decode_event(delivery)
    except (InvalidEvent, NotReady):
        return None


def _stage_of(pipeline: Pipeline, subscription: str) -> str:
    name = subscription.rpartition("/")[2]
    for service_name, service in pipeline.services.items():
        if any(item.subscription == name for item in service.subscribes):
            return service_name
    return "unknown"


def _digest_of(delivery: Delivery) -> str:
    """Stands for a message id that is missing: the same message is recognised all the same."""
    text = repr(sorted(delivery.attributes.items())).encode()
    return hashlib.sha256(delivery.data + text).hexdigest()[:32]


def _count(text: str | None) -> int:
    return int(text) if text and _COUNT.fullmatch(text) else 1
