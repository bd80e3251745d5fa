"""Dead letters while nobody records them: they wait in their subscription, and the archive holds each of them too."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest

from handlers.dead_letter import DeadLetterTaker
from handlers.push import PushService
from infra.local.ports import Ports
from infra.local.standins.serving import make_http_server
from infra.local.topics import create_topology
from shared.dead_letters import TOPIC, UNASSIGNED_TENANT, GivenUp, LetterFilter, dead_letter_attributes
from shared.deliveries import Delivery
from shared.desk_drain import drain_archive
from shared.errors import ConfigurationError, TransientFailure
from shared.gateways.dead_letter_archive import PubSubArchive
from shared.gateways.dead_letter_store import SpannerDeadLetters
from shared.gateways.publisher import PubSubPublisher
from shared.gateways.push_tokens import AllowAll
from shared.pipeline import load_pipeline
from tests.support.desk_bench import OURS, DeskBench, received
from tests.support.http_target import served
from tests.support.pipeline_database import PipelineDatabase
from tests.support.waiting import eventually

pytestmark = pytest.mark.emulators

GIVEN_UP = GivenUp("download", "not_audio", "the link leads to a page", "check the link", attempts=1)


@dataclass
class World:
    """A Pub/Sub project whose dead-letter worker serves only while `recorder` runs."""

    bench: DeskBench
    project_id: str
    port: int

    def give_up(self, *numbers: int) -> None:
        publisher = PubSubPublisher(project_id=self.project_id, topic_prefix="", timeout_s=5, window_ms=2)
        for number in numbers:
            event = received(number)
            data = event.model_dump_json().encode()
            original = Delivery("m", data, event.attributes(), "projects/p/subscriptions/download-call-received")
            publisher.publish(TOPIC, data, dead_letter_attributes(original, GIVEN_UP))

    @contextmanager
    def archive(self) -> Iterator[PubSubArchive]:
        archive = load_pipeline().archive_of(TOPIC)
        assert archive is not None
        with PubSubArchive(project_id=self.project_id, subscription=archive.subscription) as opened:
            yield opened

    @contextmanager
    def recorder(self) -> Iterator[None]:
        """The worker as it is deployed, on the port that its subscription pushes to."""
        service = PushService(verifier=AllowAll(), take=DeadLetterTaker(self.bench.desk))
        server = make_http_server(served(service), self.port)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join(timeout=5)
            server.server_close()

    def recorded(self) -> list[str]:
        return sorted(letter.request_id for letter in self.bench.desk.list_letters(OURS, limit=100))


@pytest.fixture
def world(
    pipeline_database: PipelineDatabase, pubsub_emulator: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub_emulator)
    project_id, ports = f"test-{uuid.uuid4().hex[:12]}", Ports()
    port = ports.take()
    try:
        create_topology(
            pubsub_address=pubsub_emulator,
            project_id=project_id,
            endpoints=dict.fromkeys(load_pipeline().services, f"http://127.0.0.1:{port}/"),
            backoff_scale=0,
        )
        yield World(DeskBench(pipeline_database), project_id, port)
    finally:
        ports.release()


def names(*numbers: int) -> list[str]:
    return [f"r-{number:016d}" for number in numbers]


def test_dead_letters_wait_while_the_worker_is_down_and_are_recorded_once_when_it_is_back(world: World) -> None:
    world.give_up(1, 2, 3)
    with world.archive() as archive:
        report = drain_archive(world.bench.desk, archive)
        assert (report.read, report.recorded, report.known) == (3, 3, 0)
        assert world.recorded() == names(1, 2, 3)

        with world.recorder():
            world.give_up(4)
            eventually(lambda: names(4)[0] in world.recorded(), what="the push of the fourth")
            again = drain_archive(world.bench.desk, archive)
    assert (again.read, again.recorded, again.known) == (1, 0, 1)
    assert {letter.occurrences for letter in world.bench.desk.list_letters(OURS, limit=10)} == {1}
    assert world.bench.database.value("SELECT COUNT(*) FROM dead_letter_failures") == 4


def test_pushes_that_waited_are_recorded_without_the_archive(world: World) -> None:
    world.give_up(1, 2)
    with world.recorder():
        eventually(lambda: world.recorded() == names(1, 2), what="both letters")


def test_a_drain_that_fails_half_way_takes_nothing_out_of_the_archive(world: World) -> None:
    world.give_up(1, 2)
    desk = world.bench.desk

    class Failing(SpannerDeadLetters):
        def record(self, letter: object) -> None:
            raise TransientFailure("spanner_unavailable", "no answer")

    with world.archive() as archive:
        with pytest.raises(TransientFailure, match="no answer"):
            drain_archive(replace(desk, store=Failing(world.bench.database.open, world.bench.database.vault)), archive)
        messages = archive.pull(limit=10)
        assert messages == [], "still held by the failed drain, until its ack deadline"
    assert world.recorded() == []


def test_what_nobody_can_read_is_drained_to_nobody(world: World) -> None:
    publisher = PubSubPublisher(project_id=world.project_id, topic_prefix="", timeout_s=5, window_ms=2)
    publisher.publish(TOPIC, b"not json", {})
    with world.archive() as archive:
        assert drain_archive(world.bench.desk, archive).recorded == 1
        assert drain_archive(world.bench.desk, archive).read == 0
    (letter,) = world.bench.desk.find(LetterFilter(tenant_id=UNASSIGNED_TENANT))
    assert letter.occurrences == 1


def test_a_missing_archive_is_said(world: World) -> None:
    with (
        PubSubArchive(project_id=world.project_id, subscription="nowhere") as archive,
        pytest.raises(ConfigurationError, match="nowhere"),
    ):
        archive.pull(limit=1)
