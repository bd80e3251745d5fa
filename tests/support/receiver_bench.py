"""The webhook service as CallRail meets it, through functions-framework, over ports in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flask import Flask
from werkzeug.test import Client, TestResponse

from handlers.health import HealthPage
from handlers.receiver import Receiver
from handlers.signature import callrail_signature
from handlers.webhook import SHARED_PATH, WebhookService
from handlers.webhook_body import JSON_TYPE
from schemas.events import CallReceived
from schemas.tenant import Tenant
from shared.deliveries import parse_event
from shared.inbox import Inbox
from tests.support.http_target import served
from tests.support.ports import HandClock, MemoryObjects, MemoryPublisher, MemorySecrets, MemoryTenants
from tests.support.tenants import OTHER_COMPANY, SIGNING_KEY, make_tenant
from tests.support.webhooks import (
    as_json,
)

TOKEN = "acmes-unguessable-token-1"
OURS = make_tenant("acme-plumbing", webhook_token=TOKEN)
OTHER = make_tenant("other-dental", company_id=OTHER_COMPANY, webhook_token="others-unguessable-token-2")
SUSPENDED = make_tenant("late-payer", company_id="COM777", status="suspended")
FORWARDING = make_tenant("forwarding", company_id="COM888", signature_scheme="forwarder")
OTHER_KEY = "ffffffffffffffffffffffffffffffff"
POST_CALL_PATH = f"{SHARED_PATH}/{TOKEN}/post-call"


@dataclass
class Bench:
    """The real service over ports in memory."""

    publisher: MemoryPublisher = field(default_factory=MemoryPublisher)
    objects: MemoryObjects = field(default_factory=MemoryObjects)
    secrets: MemorySecrets = field(
        default_factory=lambda: MemorySecrets(
            {
                "acme-plumbing-webhook-secret": SIGNING_KEY,
                "other-dental-webhook-secret": OTHER_KEY,
                "late-payer-webhook-secret": SIGNING_KEY,
                "forwarding-webhook-secret": SIGNING_KEY,
            }
        )
    )
    tenants: tuple[Tenant, ...] = (OURS, OTHER, SUSPENDED, FORWARDING)

    def client(self) -> Client:
        return self.app().test_client()

    def app(self) -> Flask:
        clock = HandClock()
        receiver = Receiver(
            tenants=MemoryTenants(self.tenants),
            secrets=self.secrets,
            publisher=self.publisher,
            inbox=Inbox(self.objects),
            now=clock,
        )
        health = HealthPage(can_publish=lambda: True, can_keep=lambda: True, neighbours=dict, now=clock)
        return served(WebhookService(receiver=receiver, health=health))

    def post(  # as many parts as a request has
        self,
        body: bytes | Mapping[str, Any],
        *,
        path: str = SHARED_PATH,
        content_type: str | None = JSON_TYPE,
        key: str = SIGNING_KEY,
        headers: Mapping[str, str] | None = None,
    ) -> TestResponse:
        raw = body if isinstance(body, bytes) else as_json(body)
        signed = {"Signature": callrail_signature(key, raw)} if headers is None else dict(headers)
        return self.client().post(path, data=raw, content_type=content_type, headers=signed)

    def event(self) -> CallReceived:
        """The one event that was published."""
        (message,) = self.publisher.messages
        event = parse_event(message.data)
        assert isinstance(event, CallReceived)
        assert message.topic == "call-received"
        assert message.attributes.items() >= {**event.attributes(), "kind": event.kind}.items()
        return event


def error_of(answer: TestResponse) -> str:
    """The error's code, once the answer has the shape that every error has."""
    body = answer.get_json()
    assert answer.content_type == JSON_TYPE
    assert body.keys() == {"status", "error", "message", "request_id"}
    assert body["status"] == "error"
    assert answer.headers["X-Request-Id"] == body["request_id"]
    return str(body["error"])
