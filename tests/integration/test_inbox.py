"""The inbox on a real bucket: what Pub/Sub could not take is kept, published in the end, and nothing plugs it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from infra.local.gcs import create_bucket
from schemas.events import CallReceived
from shared.deliveries import parse_event
from shared.errors import TransientFailure
from shared.gateways.objects import GcsObjectStore
from shared.inbox import PREFIX, Inbox
from tests.support.gcs import PROJECT, fresh_store
from tests.support.ports import MemoryObjects, MemoryPublisher
from tests.support.proxy import proxy_to
from tests.support.runner_bench import RECEIVED

pytestmark = pytest.mark.emulators


@pytest.fixture
def objects(gcs_server: str) -> GcsObjectStore:
    return fresh_store(gcs_server)


def event_of(number: int) -> CallReceived:
    return RECEIVED.model_copy(update={"request_id": f"r-{number:016d}"})


def attributes_of(event: CallReceived) -> dict[str, str]:
    return {**event.attributes(), "kind": event.kind, "traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-01"}


def keep(objects: Any, *events: CallReceived) -> list[str]:
    return [Inbox(objects).keep(event, attributes_of(event)) for event in events]


def requests_of(publisher: MemoryPublisher, topic: str = "call-received") -> list[str]:
    return sorted(item.attributes.get("request_id", "") for item in publisher.messages if item.topic == topic)


def test_what_is_kept_is_published_as_it_would_have_been(objects: GcsObjectStore) -> None:
    event = event_of(1)
    publisher = MemoryPublisher()
    (name,) = keep(objects, event)
    assert name.startswith(f"{PREFIX}{event.tenant_id}/{event.request_id}-")

    assert Inbox(objects).drain(publisher) == {"inbox_published": 1}

    (message,) = publisher.messages
    assert parse_event(message.data) == event
    assert message.attributes == attributes_of(event)
    assert objects.list_names(PREFIX) == []


def test_the_same_webhook_twice_is_one_object_and_two_bodies_of_one_call_are_two(objects: GcsObjectStore) -> None:
    event = event_of(1)
    keep(objects, event, event)
    assert len(objects.list_names(PREFIX)) == 1
    keep(objects, event.model_copy(update={"payload": {**event.payload, "note": "Tuesday"}}))
    assert len(objects.list_names(PREFIX)) == 2


def test_an_outage_of_thousands_is_emptied_in_one_go(gcs_server: str) -> None:
    """More than one page of names, and no longer than the outage took."""
    objects = MemoryObjects()
    events = [event_of(number) for number in range(2_500)]
    keep(Paged(objects), *events)
    publisher = MemoryPublisher()

    assert Inbox(Paged(objects)).drain(publisher) == {"inbox_published": 2_500}

    assert requests_of(publisher) == sorted(event.request_id for event in events)
    assert objects.held == {}


@dataclass(frozen=True)
class Paged:
    """A bucket that lists a thousand names at once, as the gateway does."""

    objects: MemoryObjects

    def list_names(self, prefix: str) -> list[str]:
        return self.objects.list_names(prefix)[:1000]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.objects, name)


UNREADABLE: Mapping[str, bytes] = {
    "not json": b"\x00\x01 nothing of ours",
    "no event": b'{"attributes": {}}',
    "attributes are a list": b'{"event": "{}", "attributes": []}',
    "a list": b"[]",
    "an event without an id": json.dumps({"event": '{"type": "call_received"}', "attributes": {}}).encode(),
    "an event of no kind of ours": json.dumps({"event": '{"type": "party"}', "attributes": {}}).encode(),
}


@pytest.mark.parametrize("content", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_one_poisoned_object_among_many_becomes_a_dead_letter_and_the_others_arrive(
    objects: GcsObjectStore, content: bytes
) -> None:
    keep(objects, *(event_of(number) for number in range(9)))
    objects.create(f"{PREFIX}acme-plumbing/r-0000000000000004-poison.json", iter([content]), content_type="x/y")
    publisher = MemoryPublisher()

    assert Inbox(objects).drain(publisher) == {"inbox_published": 9, "inbox_given_up": 1}

    assert len(requests_of(publisher)) == 9
    (letter,) = [message for message in publisher.messages if message.topic == "dead-letters"]
    assert letter.data == content
    assert (letter.attributes["dl_stage"], letter.attributes["dl_reason"]) == ("inbox", "inbox_unreadable")
    assert objects.list_names(PREFIX) == []


def test_a_poisoned_object_stays_until_its_dead_letter_is_confirmed(objects: GcsObjectStore) -> None:
    objects.create(f"{PREFIX}x/poison.json", iter([b"?"]), content_type="x/y")
    publisher = MemoryPublisher(failing=1)
    assert Inbox(objects).drain(publisher) == {"inbox_left": 1}
    assert Inbox(objects).drain(publisher) == {"inbox_given_up": 1}


def test_an_object_of_a_newer_receiver_waits_for_a_newer_sweeper(objects: GcsObjectStore) -> None:
    newer = event_of(1).model_copy(update={"version": 2})
    keep(objects, newer, event_of(2))
    publisher = MemoryPublisher()
    assert Inbox(objects).drain(publisher) == {"inbox_published": 1, "inbox_left": 1}
    assert requests_of(publisher) == [event_of(2).request_id]
    assert len(objects.list_names(PREFIX)) == 1


def test_while_pubsub_is_away_everything_stays(objects: GcsObjectStore) -> None:
    keep(objects, *(event_of(number) for number in range(5)))
    publisher = MemoryPublisher(failing=5)
    assert Inbox(objects).drain(publisher) == {"inbox_left": 5}
    assert Inbox(objects).drain(publisher) == {"inbox_published": 5}
    assert len(set(requests_of(publisher))) == 5


def test_a_sweep_that_has_no_time_left_leaves_the_rest(objects: GcsObjectStore) -> None:
    keep(objects, *(event_of(number) for number in range(4)))
    publisher = MemoryPublisher()
    assert Inbox(objects).drain(publisher, may_go_on=lambda: False) == {"inbox_left": 4}
    assert publisher.messages == []


@dataclass
class Reluctant:
    """Publishes, and waits for a second sweep to be at it as well."""

    meet: threading.Barrier
    inner: MemoryPublisher = field(default_factory=MemoryPublisher)

    def publish(self, topic: str, data: bytes, attributes: Mapping[str, str]) -> str:
        self.meet.wait(timeout=10)
        return self.inner.publish(topic, data, attributes)


def test_two_sweeps_at_once_lose_nothing_and_leave_nothing(objects: GcsObjectStore) -> None:
    """Both may publish the same webhook: the claim absorbs doubles, nobody could absorb a loss."""
    keep(objects, event_of(1))
    publisher = Reluctant(threading.Barrier(2))
    with ThreadPoolExecutor(max_workers=2) as pool:
        reports = list(pool.map(lambda _: Inbox(objects).drain(publisher), range(2)))
    assert reports == [{"inbox_published": 1}] * 2
    assert set(requests_of(publisher.inner)) == {event_of(1).request_id}
    assert objects.list_names(PREFIX) == []


def test_an_object_that_another_sweep_took_is_no_error(objects: GcsObjectStore) -> None:
    publisher = MemoryPublisher()
    assert Inbox(Forgetful(objects)).drain(publisher) == {"inbox_already_gone": 1}
    assert publisher.messages == []


@dataclass(frozen=True)
class Forgetful:
    """Lists an object that is gone by the time it is read."""

    objects: GcsObjectStore

    def list_names(self, prefix: str) -> list[str]:
        return [f"{prefix}acme-plumbing/gone.json"]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.objects, name)


@pytest.fixture
def through_a_proxy(gcs_server: str) -> Iterator[tuple[Any, GcsObjectStore]]:
    with proxy_to(gcs_server.removeprefix("http://")) as proxy:
        create_bucket(gcs_server, "inbox-behind-a-proxy", project_id=PROJECT)
        endpoint = f"http://{proxy.address}"
        yield proxy, GcsObjectStore("inbox-behind-a-proxy", project_id=PROJECT, endpoint=endpoint, retry_s=0.3)


def test_with_storage_down_nothing_is_promised_and_a_sweep_goes_on_without_the_inbox(
    through_a_proxy: tuple[Any, GcsObjectStore],
) -> None:
    proxy, objects = through_a_proxy
    keep(objects, event_of(1))
    proxy.cut()

    with pytest.raises(TransientFailure):
        keep(objects, event_of(2))
    publisher = MemoryPublisher()
    assert Inbox(objects).drain(publisher) == {}

    proxy.restore()
    assert Inbox(objects).drain(publisher) == {"inbox_published": 1}
    assert requests_of(publisher) == [event_of(1).request_id]


def test_storage_that_fails_between_publish_and_removal_makes_a_double_and_no_loss(
    through_a_proxy: tuple[Any, GcsObjectStore],
) -> None:
    proxy, objects = through_a_proxy
    keep(objects, event_of(1))
    publisher = CuttingAfterwards(proxy.cut)

    assert Inbox(objects).drain(publisher) == {"inbox_left": 1}
    proxy.restore()
    assert Inbox(objects).drain(publisher.inner) == {"inbox_published": 1}

    assert requests_of(publisher.inner) == [event_of(1).request_id] * 2
    assert objects.list_names(PREFIX) == []


@dataclass
class CuttingAfterwards:
    """Publishes; then storage is gone."""

    cut: Any
    inner: MemoryPublisher = field(default_factory=MemoryPublisher)

    def publish(self, topic: str, data: bytes, attributes: Mapping[str, str]) -> str:
        message_id = self.inner.publish(topic, data, attributes)
        self.cut()
        return message_id
