"""The push endpoint of every worker: token, envelope, event, runner; the status is the acknowledgement."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from flask import Request, Response

from handlers.framework import without_rereading
from schemas.events import Event, TranscriptionOutput
from shared.answers import AGAIN, Answer
from shared.dead_letters import GivenUp
from shared.deliveries import Delivery, decode_event
from shared.errors import InvalidEvent, NotReady, TransientFailure
from shared.gateways.push_tokens import PushRejected, PushVerifier
from shared.names import owner_of_transcript
from shared.runner import Runner
from shared.telemetry import OFF, Telemetry

log = structlog.get_logger()


_MOST_ATTEMPTS = 1_000_000
"""Pub/Sub gives up after 100."""


class BadEnvelope(ValueError):
    """Not a Pub/Sub push request: nothing of ours can be inside."""


def read_envelope(body: bytes) -> Delivery:
    """The message in a wrapped push request. Raises `BadEnvelope`."""
    try:
        document = json.loads(body)
        message: dict[str, Any] = document["message"]
        attributes = message.get("attributes") or {}
        return Delivery(
            message_id=_text(message.get("messageId") or message.get("message_id") or ""),
            data=base64.b64decode(message.get("data") or "", validate=True),
            attributes={_text(name): _text(value) for name, value in attributes.items()},
            subscription=_text(document.get("subscription", "")),
            attempt=_attempt(document.get("deliveryAttempt")),
            published_at=_moment(message.get("publishTime") or message.get("publish_time")),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadEnvelope("not a Pub/Sub push request") from error


def _text(value: object) -> str:
    """As a text that can be stored and sent on: Pub/Sub's own are UTF-8. Raises `ValueError` for half characters."""
    text = str(value)
    text.encode()
    return text


def _attempt(value: object) -> int | None:
    """Pub/Sub's count; None for anything else, because no delivery may fail over it."""
    return value if type(value) is int and 0 < value < _MOST_ATTEMPTS else None


def _moment(text: object) -> datetime | None:
    """RFC 3339 as Pub/Sub writes it; None for anything else, because no delivery may fail over it."""
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment if moment.tzinfo else None


@dataclass(frozen=True)
class PushService:
    """One worker's HTTP face; `take` gets each verified delivery."""

    verifier: PushVerifier
    take: Callable[[Delivery], Answer]
    telemetry: Telemetry = OFF

    def __call__(self, request: Request) -> Response:
        try:
            return without_rereading(request, self._route)
        finally:
            # Before the answer: after it, Cloud Run takes the CPU away.
            self.telemetry.flush_if_due()

    def _route(self, request: Request) -> Response:
        if request.path == "/livez":
            return Response("ok", 200, content_type="text/plain")
        if request.path != "/" or request.method != "POST":
            log.warning("push_not_found", code="not_found", status=404)
            return Response("not found", 404, content_type="text/plain")
        try:
            self.verifier.check(request.headers.get("Authorization", ""))
            delivery = read_envelope(request.get_data(cache=False))
        except PushRejected as error:
            log.warning("push_rejected", code=error.code)
            return Response("unauthorized", 401, content_type="text/plain")
        except TransientFailure as error:
            log.error("push_not_checked", code=error.code)
            return Response("try again", 503, content_type="text/plain")
        except BadEnvelope as error:
            log.warning("push_unreadable", code="bad_envelope")
            return Response(str(error), 400, content_type="text/plain")
        with structlog.contextvars.bound_contextvars(traceparent=delivery.traceparent):
            return _answer(self.take(delivery))


def _answer(answer: Answer) -> Response:
    response = Response(status=answer.status)
    if answer.retry_after_s is not None:
        response.headers["Retry-After"] = str(round(answer.retry_after_s))
    return response


@dataclass(frozen=True)
class StageTaker:
    """Decodes a delivery for a stage's runner."""

    runner: Runner
    audio_bucket: str

    def __call__(self, delivery: Delivery) -> Answer:
        try:
            event = self._decode(delivery)
        except InvalidEvent as error:
            given_up = GivenUp.because(error, stage=self.runner.stage.name, attempts=delivery.attempt or 1)
            with self._named(delivery):
                return self.runner.give_up(delivery, given_up)
        except NotReady as error:
            with self._named(delivery):
                log.warning("delivery_put_back", code=error.code)
            return AGAIN
        if event is None:
            return Answer(204)
        return self.runner.handle(delivery, event)

    def _named(self, delivery: Delivery) -> AbstractContextManager[None]:
        """Lines about what cannot be read name the message and no tenant: attributes without a body prove nothing."""
        return structlog.contextvars.bound_contextvars(stage=self.runner.stage.name, message_id=delivery.message_id)

    def _decode(self, delivery: Delivery) -> Event | TranscriptionOutput | None:
        if self.runner.stage.resume is None or "objectId" not in delivery.attributes:
            return decode_event(delivery)
        return self._decode_notification(delivery)

    def _decode_notification(self, delivery: Delivery) -> TranscriptionOutput | None:
        """Cloud Storage's notification; objects that are not Speech's output for a request are none of ours."""
        attributes = delivery.attributes
        if attributes.get("eventType") != "OBJECT_FINALIZE" or attributes.get("bucketId") != self.audio_bucket:
            return None
        try:
            owner = owner_of_transcript(attributes["objectId"])
        except InvalidEvent:
            log.warning("foreign_object_ignored")
            return None
        return TranscriptionOutput(
            tenant_id=owner.tenant_id, request_id=owner.request_id, object_name=attributes["objectId"]
        )
