"""A receiver with a real Pub/Sub emulator and a real bucket, each behind a proxy that can break."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from flask.testing import FlaskClient
from google.cloud import pubsub_v1

from handlers.health import HealthPage
from handlers.receiver import Receiver
from handlers.signature import callrail_signature
from handlers.webhook import SHARED_PATH, WebhookService
from infra.local.gcs import create_bucket
from schemas.events import CallReceived
from shared.deliveries import parse_event
from shared.gateways.objects import GcsObjectStore
from shared.gateways.publisher import PubSubPublisher
from shared.inbox import PREFIX, Inbox
from tests.support.gcs import PROJECT
from tests.support.http_target import served
from tests.support.ports import HandClock, MemorySecrets, MemoryTenants
from tests.support.proxy import Proxy, proxy_to
from tests.support.tenants import SIGNING_KEY, make_tenant
from tests.support.webhooks import POST_CALL, as_json

TIMEOUT_S = 0.8
OURS = make_tenant("acme-plumbing")
SECRETS = {f"{OURS.tenant_id}-webhook-secret": SIGNING_KEY}


@dataclass(frozen=True)
class Intake:
    """What CallRail meets, and what an operator's sweeper can reach."""

    project: str
    pubsub: Proxy
    storage: Proxy
    objects: GcsObjectStore
    direct_objects: GcsObjectStore
    receiver: Receiver
    subscriber: pubsub_v1.SubscriberClient

    def client(self) -> FlaskClient:
        health = HealthPage(can_publish=lambda: True, can_keep=lambda: True, neighbours=dict, now=HandClock())
        return served(WebhookService(receiver=self.receiver, health=health)).test_client()

    def post(self, call_id: str, **changes: Any) -> Any:
        """A signed webhook of a new call; CallRail's view of the answer."""
        body = as_json({**POST_CALL, "resource_id": call_id, **changes})
        headers = {"Signature": callrail_signature(SIGNING_KEY, body), "Content-Type": "application/json"}
        return self.client().post(SHARED_PATH, data=body, headers=headers)

    def publisher(self, *, timeout_s: float = 5.0) -> PubSubPublisher:
        """A sweeper's: with more patience than the receiver's, and with a client of its own."""
        return PubSubPublisher(project_id=self.project, topic_prefix="", timeout_s=timeout_s, window_ms=1)

    def sweep(self) -> Mapping[str, int]:
        """What another process does with the inbox, once Pub/Sub is back."""
        return Inbox(self.direct_objects).drain(self.publisher())

    def kept(self) -> list[str]:
        return self.direct_objects.list_names(PREFIX)

    def arrived(self) -> list[CallReceived]:
        """Every event in the topic, as a worker would get it."""
        events: list[CallReceived] = []
        path = self.subscriber.subscription_path(self.project, "looking")
        while messages := self.subscriber.pull(
            subscription=path, max_messages=1000, return_immediately=True
        ).received_messages:
            self.subscriber.acknowledge(subscription=path, ack_ids=[item.ack_id for item in messages])
            for item in messages:
                event = parse_event(item.message.data)
                assert isinstance(event, CallReceived)
                events.append(event)
        return events

    def with_publisher(self, **options: Any) -> Intake:
        return replace(self, receiver=replace(self.receiver, publisher=self.publisher(**options)))


@contextmanager
def open_intake(pubsub_emulator: str, gcs_server: str) -> Iterator[Intake]:
    """A project, a bucket and a receiver of the test's own while the block runs."""
    project, bucket = f"test-{uuid.uuid4().hex[:12]}", f"inbox-{uuid.uuid4().hex[:12]}"
    create_bucket(gcs_server, bucket, project_id=PROJECT)
    with (
        proxy_to(pubsub_emulator) as pubsub,
        proxy_to(gcs_server.removeprefix("http://")) as storage,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("PUBSUB_EMULATOR_HOST", pubsub_emulator)
        subscriber = pubsub_v1.SubscriberClient()
        topic = f"projects/{project}/topics/call-received"
        pubsub_v1.PublisherClient().create_topic(name=topic)
        subscriber.create_subscription(name=f"projects/{project}/subscriptions/looking", topic=topic)
        patch.setenv("PUBSUB_EMULATOR_HOST", pubsub.address)
        objects = GcsObjectStore(
            bucket,
            project_id=PROJECT,
            endpoint=f"http://{storage.address}",
            timeout_s=(0.5, 0.5),
            retry_s=0.3,
        )
        receiver = Receiver(
            tenants=MemoryTenants((OURS,)),
            secrets=MemorySecrets(dict(SECRETS)),
            publisher=PubSubPublisher(project_id=project, topic_prefix="", timeout_s=TIMEOUT_S, window_ms=1),
            inbox=Inbox(objects),
            now=HandClock(),
        )
        direct = GcsObjectStore(bucket, project_id=PROJECT, endpoint=gcs_server)
        with subscriber:
            yield Intake(project, pubsub, storage, objects, direct, receiver, subscriber)
