"""The inbox: webhooks that Pub/Sub could not take, kept as objects until the sweeper publishes them.

Cloud Storage fails independently of Pub/Sub; a disk would die with its instance. Doubles cannot be avoided (a publish
may time out here and be carried out all the same); the claim absorbs every one.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import structlog

from schemas.events import CallReceived, Event
from shared.crash_points import crash_point
from shared.dead_letters import TOPIC as DEAD_LETTERS
from shared.dead_letters import GivenUp, dead_letter_attributes
from shared.deliveries import Delivery, decode_event
from shared.errors import InvalidEvent, NotReady, PipelineError
from shared.ports import ObjectStore, Publisher

log = structlog.get_logger()

PREFIX = "inbox/"
_MAX_OBJECT_BYTES = 8 * 1024 * 1024
"""A webhook body is at most 1 MiB; JSON escapes can multiply it."""
_AT_ONCE = 16
"""An object costs three requests that mostly wait; an outage's objects must be gone in less time than they took."""


@dataclass(frozen=True)
class Inbox:
    """Keeps and drains. Objects are `inbox/<tenant>/<request>-<digest of the event>.json`."""

    objects: ObjectStore

    def keep(self, event: CallReceived, attributes: Mapping[str, str]) -> str:
        """Write the event as a new object; returns its name. Raises `TransientFailure` when storage fails too."""
        document = json.dumps({"attributes": dict(attributes), "event": event.model_dump_json()}).encode()
        digest = hashlib.sha256(json.dumps(event.payload, sort_keys=True).encode()).hexdigest()[:16]
        name = f"{PREFIX}{event.tenant_id}/{event.request_id}-{digest}.json"
        self.objects.create(name, iter([document]), content_type="application/json")
        return name

    def drain(self, publisher: Publisher, *, may_go_on: Callable[[], bool] = lambda: True) -> Counter[str]:
        """Publish what is kept and remove it, each object once, as long as `may_go_on` says so.

        An object that cannot be read becomes a dead letter, not a plug.
        """
        actions: Counter[str] = Counter()
        tried: set[str] = set()
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            while names := [name for name in self._names() if name not in tried]:
                tried.update(names)
                actions.update(pool.map(lambda name: self._take(name, publisher, may_go_on), names))
        return actions

    def _names(self) -> list[str]:
        try:
            return self.objects.list_names(PREFIX)
        except PipelineError as error:
            log.warning("inbox_not_listed", code=error.code)
            return []

    def _take(self, name: str, publisher: Publisher, may_go_on: Callable[[], bool]) -> str:
        if not may_go_on():
            return "inbox_left"
        try:
            return self._publish(name, publisher)
        except PipelineError as error:
            log.warning("inbox_object_left", code=error.code, detail=error.detail)
            return "inbox_left"

    def _publish(self, name: str, publisher: Publisher) -> str:
        try:
            data = self.objects.read(name, max_bytes=_MAX_OBJECT_BYTES)
        except NotReady:
            return "inbox_already_gone"
        try:
            document = json.loads(data)
            event_data = str(document["event"]).encode()
            attributes = {str(key): str(value) for key, value in document["attributes"].items()}
            event = decode_event(Delivery(message_id="", data=event_data, attributes=attributes, subscription=""))
            _check_place(name, event)
        except (ValueError, KeyError, TypeError, AttributeError, InvalidEvent):
            return self._give_up(name, data, publisher)
        publisher.publish(event.topic, event_data, attributes)
        crash_point("inbox_published")
        self.objects.delete(name)
        return "inbox_published"

    def _give_up(self, name: str, data: bytes, publisher: Publisher) -> str:
        given_up = GivenUp("inbox", "inbox_unreadable", "an inbox object holds no event of ours", "", attempts=1)
        delivery = Delivery(message_id="", data=data, attributes={}, subscription="")
        publisher.publish(DEAD_LETTERS, data, dead_letter_attributes(delivery, given_up))
        self.objects.delete(name)
        log.error("inbox_object_given_up", object_name=name)
        return "inbox_given_up"


def _check_place(name: str, event: Event) -> None:
    """Only a webhook's event, under its own tenant's name: whoever may write objects is not believed about tenants."""
    if not isinstance(event, CallReceived) or not name.startswith(f"{PREFIX}{event.tenant_id}/{event.request_id}-"):
        raise InvalidEvent("foreign_object", "the object's name and the event in it disagree")
