"""A message as a worker receives it, and the event inside it, checked."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn

from pydantic import ValidationError

from schemas.events import EVENT_TYPES, Event
from shared.errors import InvalidEvent, NotReady

_HALF_CHARACTER = re.compile(rb"\\u[dD][89a-fA-F]")
KNOWN_VERSION = 1
"""The newest event version this code understands."""


@dataclass(frozen=True)
class Delivery:
    """One delivery of one Pub/Sub message. `attempt` is Pub/Sub's own count, absent on the emulator."""

    message_id: str
    data: bytes
    attributes: Mapping[str, str]
    subscription: str
    attempt: int | None = None
    published_at: datetime | None = None
    """Pub/Sub's own clock; None where the request does not say."""

    @property
    def traceparent(self) -> str:
        return self.attributes.get("traceparent", "")


SWEPT_ATTRIBUTE = "swept"


def is_swept(delivery: Delivery) -> bool:
    """Whether the sweeper sent this: such a message wakes a run that sleeps."""
    return delivery.attributes.get(SWEPT_ATTRIBUTE) == "true"


def decode_event(delivery: Delivery) -> Event:
    """The event in a delivery, its attributes in agreement. Raises as `parse_event` does."""
    event = parse_event(delivery.data)
    _check_agreement(event, delivery.attributes)
    return event


def parse_event(data: bytes) -> Event:
    """The event in a message body. Raises `InvalidEvent`; `NotReady` for a version newer than this worker.

    Error texts name fields, never values.
    """
    document = _document(data)
    event_class = EVENT_TYPES.get(str(document.get("type")))
    if event_class is None:
        raise InvalidEvent("unknown_event_type", "the event's type is not one of ours")
    version = document.get("version")
    if isinstance(version, int) and version > KNOWN_VERSION:
        # A rolling deployment: a newer worker will understand it, so it is not this worker's to give up.
        raise NotReady("event_version_unknown", "the event was made by a newer version of this service")
    try:
        return event_class.model_validate(document)
    except ValidationError as error:
        fields = ", ".join(sorted({_place(item["loc"], event_class) for item in error.errors()}))
        raise InvalidEvent("event_against_schema", f"wrong or missing: {fields}") from error


def _place(location: tuple[int | str, ...], event_class: type[Event]) -> str:
    """The field that is wrong; a name that is none of ours is not repeated, it may be somebody's."""
    name = str(location[0]) if location else "the event"
    return name if not location or name in event_class.model_fields else "an unknown field"


def _document(data: bytes) -> dict[str, object]:
    try:
        document = json.loads(data, parse_constant=_refuse, parse_float=_finite)
        if _HALF_CHARACTER.search(data):
            json.dumps(document, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise InvalidEvent("event_not_json", "the message body is not JSON") from error
    if not isinstance(document, dict):
        raise InvalidEvent("event_not_json", "the message body is not a JSON object")
    return document


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    """Raises `ValueError` for what no float holds: it would leave as null."""
    number = float(text)
    if math.isinf(number):
        raise ValueError("too large a number")
    return number


def _check_agreement(event: Event, attributes: Mapping[str, str]) -> None:
    """What the attributes claim must be what the body says: a subscription or a person may act on them."""
    for name, value in event.attributes().items():
        if attributes.get(name, value) != value:
            raise InvalidEvent("attributes_disagree", f"attribute {name} and the body differ")
    if "tenant_id" not in attributes:
        raise InvalidEvent("attributes_disagree", "attribute tenant_id is missing")
