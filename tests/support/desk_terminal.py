"""The dead-letter desk as an operator types it: the real command, Pub/Sub and Spanner, and workers."""

from __future__ import annotations

import io
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import pytest
import structlog
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from shared.dead_letters import DeadLetter
from shared.deliveries import Delivery
from shared.errors import PermanentFailure
from shared.gateways.channels import loopback_channel
from tests.e2e.command_line import Ran, pipeline
from tests.support.desk_bench import OURS, DeskBench, Sent, received
from tests.support.pipeline_database import PipelineDatabase

OPERATOR = "olga"
REFUSED = PermanentFailure("model_refused", "the model said no", fix="another model")
_TOPICS = ("call-received", "recording-stored", "call-transcribed", "call-analyzed", "dead-letters")
_PROJECT = "projects/test-project"
_LOOK_S = 0.02


@dataclass
class DeskTerminal:
    """Types `pipeline dead-letters …`; `sent` holds what reached Pub/Sub and was taken by the workers."""

    bench: DeskBench
    prefix: str
    subscriber: SubscriberClient
    sent: list[Sent] = field(default_factory=list)

    def type(self, *arguments: str, answer: str = "") -> Ran:
        """The command's output and exit status; `answer` is what the person says when asked."""
        with patch.object(sys, "stdin", io.StringIO(answer)):
            return pipeline("dead-letters", *arguments)

    def refused(self, *arguments: str) -> str:
        """The message of a command that must fail without a traceback and without anything on standard output."""
        ran = self.type(*arguments)
        assert ran.status in {1, 2}, ran
        assert "Traceback" not in ran.err
        assert ran.out == ""
        return ran.err

    def requests_sent(self) -> list[str]:
        return [message.delivery.attributes["request_id"] for message in self.sent]

    def take(self) -> None:
        """Let the workers take what is on the topics now, and what comes of it."""
        for topic in _TOPICS[:-1]:
            path = f"{_PROJECT}/subscriptions/{self.prefix}{topic}"
            answer = self.subscriber.pull(subscription=path, max_messages=100, return_immediately=True, timeout=10)
            for item in answer.received_messages:
                message = item.message
                delivery = Delivery(message.message_id, message.data, dict(message.attributes), f"s/{topic}")
                self.sent.append(Sent(topic, delivery))
                self.bench.queue.waiting.append(self.sent[-1])
            if answer.received_messages:
                ids = [item.ack_id for item in answer.received_messages]
                self.subscriber.acknowledge(subscription=path, ack_ids=ids)
        self.bench.work()

    @contextmanager
    def workers(self) -> Iterator[None]:
        """Workers who take messages while a command runs."""
        stop = threading.Event()
        troubles: list[BaseException] = []

        def work() -> None:
            try:
                while not stop.wait(_LOOK_S):
                    self.take()
            except BaseException as trouble:  # told to the test below
                troubles.append(trouble)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(timeout=20)
        assert not troubles, troubles


@contextmanager
def open_terminal(
    database: PipelineDatabase, pubsub_address: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[DeskTerminal]:
    """A terminal whose environment names these emulators, with topics of its own."""
    prefix = f"desk-{uuid.uuid4().hex[:10]}-"
    for name, value in {
        "PIPELINE_ENVIRONMENT": "local",
        "GOOGLE_CLOUD_PROJECT": "test-project",
        "PIPELINE_SPANNER_INSTANCE": "test-instance",
        "PIPELINE_SPANNER_DATABASE": database.database.database_id,
        "PIPELINE_TOPIC_PREFIX": prefix,
        "PUBSUB_EMULATOR_HOST": pubsub_address,
        "LOGNAME": OPERATOR,
        "COLUMNS": "240",
    }.items():
        monkeypatch.setenv(name, value)
    with loopback_channel(pubsub_address) as channel:
        publisher = PublisherClient(transport=PublisherGrpcTransport(channel=channel))
        subscriber = SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
        for topic in _TOPICS:
            path = f"{_PROJECT}/topics/{prefix}{topic}"
            publisher.create_topic(name=path)
            archive = "-archive" if topic == "dead-letters" else ""
            subscriber.create_subscription(name=f"{_PROJECT}/subscriptions/{prefix}{topic}{archive}", topic=path)
        yield DeskTerminal(DeskBench(database), prefix, subscriber)
    structlog.reset_defaults()


@pytest.fixture
def terminal(
    pipeline_database: PipelineDatabase, pubsub_emulator: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[DeskTerminal]:
    with open_terminal(pipeline_database, pubsub_emulator, monkeypatch) as terminal:
        yield terminal


def given_up(terminal: DeskTerminal, count: int = 1, *, tenant_id: str = OURS, first: int = 1) -> list[str]:
    """Ids of so many letters of the analysis, the oldest first."""
    numbers = range(first, first + count)
    letters = terminal.bench.fail("analyze", REFUSED, *(received(number, tenant_id=tenant_id) for number in numbers))
    return [letter.dead_letter_id for letter in sorted(letters, key=lambda letter: letter.request_id)]


def letter(terminal: DeskTerminal, letter_id: str, tenant_id: str = OURS) -> DeadLetter:
    return terminal.bench.desk.body(tenant_id, letter_id).letter


def ids(documents: list[dict[str, Any]]) -> list[str]:
    return [one["dead_letter_id"] for one in documents]
