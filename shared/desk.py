"""The dead-letter desk: record what was given up, show it, replay it, discard it. One code for worker and CLI."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import structlog

from schemas.events import Event
from shared.dead_letters import (
    UNASSIGNED_TENANT,
    AuditEntry,
    DeadLetter,
    DeadLetterBody,
    DeadLetterStore,
    NewDeadLetter,
)
from shared.deliveries import Delivery, decode_event
from shared.errors import ConfigurationError, InvalidEvent, NotReady
from shared.pipeline import Pipeline
from shared.ports import Publisher

log = structlog.get_logger()

_DROPPED_ON_REPLAY = ("dl_", "CloudPubSubDeadLetter", "googclient_")
"""Diagnostic attributes that say why a message died; a replayed message starts without them."""

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
        dead_letter_id=_letter_id(event, stage, delivery.data),
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
    )


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


def _letter_id(event: Event | None, stage: str, data: bytes) -> str:
    """Derived, so that the same failure delivered twice is one letter."""
    subject = f"{event.request_id}\x1f{stage}".encode() if event else data
    return "d-" + hashlib.sha256(subject).hexdigest()[:32]


def _count(text: str | None) -> int:
    return int(text) if text and _COUNT.fullmatch(text) else 1


@dataclass(frozen=True)
class Desk:
    """What operators do with dead letters."""

    store: DeadLetterStore
    publisher: Publisher
    pipeline: Pipeline

    def record(self, delivery: Delivery) -> None:
        """Keep a message of the dead-letter topic. Raises `TransientFailure` when Spanner does not answer."""
        letter = letter_of(delivery, self.pipeline)
        try:
            self.store.record(letter)
        except InvalidEvent:
            letter = _unassigned(letter)
            self.store.ensure_unassigned_tenant()
            self.store.record(letter)
        log.error(
            "dead_letter_recorded",
            tenant_id=letter.tenant_id,
            request_id=letter.request_id,
            stage=letter.stage,
            reason=letter.reason,
            dead_letter_id=letter.dead_letter_id,
        )

    def list_letters(self, tenant_id: str, *, limit: int) -> list[DeadLetter]:
        """The tenant's dead letters, newest first."""
        return self.store.list_letters(tenant_id, limit=limit)

    def show(self, tenant_id: str, dead_letter_id: str) -> DeadLetterBody:
        """One letter with its event. Raises `ConfigurationError` when there is none."""
        body = self.store.read(tenant_id, dead_letter_id)
        if body is None:
            raise ConfigurationError(
                "no_such_dead_letter",
                f"tenant {tenant_id} has no dead letter {dead_letter_id}",
                fix=f"pipeline dead-letters list --tenant {tenant_id}",
            )
        return body

    def replay(self, tenant_id: str, dead_letter_id: str, *, actor: str) -> DeadLetterBody:
        """Send the event again; the request continues at the stage that failed and keeps what is finished.

        Replaying twice is harmless: the claim lets one of the two run. Raises `ConfigurationError` when the letter is
        closed or names no topic.
        """
        body = self.show(tenant_id, dead_letter_id)
        letter = body.letter
        if letter.state == "closed":
            raise ConfigurationError("closed", f"dead letter {dead_letter_id} is closed: its stage is done")
        if not body.topic:
            raise ConfigurationError(
                "no_topic", "nobody knows which topic this message came from", fix="discard it with a reason"
            )
        audit = AuditEntry(actor, "dead_letter.replay", dead_letter_id, {"stage": letter.stage})
        if not self.store.start_replay(letter, audit):
            raise ConfigurationError("closed", f"dead letter {dead_letter_id} was closed meanwhile")
        self.publisher.publish(body.topic, body.event.encode(), _clean(body.attributes))
        return body

    def discard(self, tenant_id: str, dead_letter_id: str, *, reason: str, actor: str) -> None:
        """Give a letter up for good. Raises `ConfigurationError` when it is not open."""
        letter = self.show(tenant_id, dead_letter_id).letter
        audit = AuditEntry(actor, "dead_letter.discard", dead_letter_id, {"reason": reason})
        if not self.store.discard(letter, reason, audit):
            raise ConfigurationError("not_open", f"dead letter {dead_letter_id} is {letter.state}, not open")


def _unassigned(letter: NewDeadLetter) -> NewDeadLetter:
    return replace(letter, tenant_id=UNASSIGNED_TENANT)


def _clean(attributes: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in attributes.items() if not name.startswith(_DROPPED_ON_REPLAY)}
