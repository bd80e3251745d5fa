"""How the webhooks of one call become one record: in any order, any number of times, with the same result.

Each field keeps the best of what was said of it, and what is best does not depend on the order of arrival here: first
what kind of webhook said it, then when the receiver took it. An empty value says nothing ("not known" in CallRail's
bodies), unless the webhook names the field as changed: an emptied note or a removed tag is a change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from schemas.calls import CallDetails
from schemas.events import CallReceived, WebhookKind

_RANK_OF_KIND: dict[WebhookKind, int] = {"pre_call": 1, "routing_complete": 2, "post_call": 3, "call_modified": 3}
"""A pre-call body holds placeholders; post-call and call-modified bodies describe the finished call."""
_CHANGED_RANK = 4
_NESTED = ("marketing", "marks")
_MARKS = frozenset({"marks.tags", "marks.note", "marks.value", "marks.lead_status"})
_FIELD_OF_CHANGE = {
    "tags": "marks.tags",
    "note": "marks.note",
    "value": "marks.value",
    "lead_status": "marks.lead_status",
    "recording_duration": "recording_duration_s",
    "customer_name": "caller_name",
}

Ranks = Mapping[str, tuple[int, str]]
"""For each field: how much the webhook that set it is worth, and when the receiver took it (ISO 8601, UTC)."""


@dataclass(frozen=True)
class Merged:
    """A call's details with what each field is worth."""

    details: CallDetails
    ranks: Ranks


def said(event: CallReceived, details: CallDetails) -> Merged:
    """What one webhook says of its call."""
    changed = _changed_fields(event)
    rank = _RANK_OF_KIND.get(event.kind, 0)
    at = _moment(event.received_at)
    ranks = {
        name: (_CHANGED_RANK if name in changed else rank, at)
        for name, value in _fields(details)
        if name in changed or value not in (None, "", ())
    }
    return Merged(details, ranks)


def merge(known: Merged, new: Merged) -> Merged:
    """The better of both, field by field: commutative, associative, and the same thing twice changes nothing."""
    values, ranks = dict(_fields(known.details)), dict(known.ranks)
    for name, value in _fields(new.details):
        worth = new.ranks.get(name)
        if worth is not None and (name not in ranks or _beats(worth, value, tuple(ranks[name]), values[name])):
            values[name], ranks[name] = value, worth
    return Merged(_with(known.details, values), ranks)


def _beats(worth: tuple[int, str], value: Any, held: tuple[Any, ...], held_value: Any) -> bool:
    # Two webhooks of one kind taken in the same microsecond: any rule will do, as long as it is the same everywhere.
    return (worth, repr(value)) > (held, repr(held_value))


def _changed_fields(event: CallReceived) -> frozenset[str]:
    if event.kind != "call_modified":
        return frozenset()
    changes = event.payload.get("changes")
    if isinstance(changes, str):
        changes = [part.strip() for part in changes.split(",")]
    if not isinstance(changes, list) or not changes:
        return _MARKS  # it does not say what changed: what people can change on CallRail's screen is these
    return frozenset(_FIELD_OF_CHANGE[name] for name in map(str, changes) if name in _FIELD_OF_CHANGE)


def _moment(received_at: datetime) -> str:
    return received_at.isoformat(timespec="microseconds")


def _fields(details: CallDetails) -> Iterator[tuple[str, Any]]:
    """Every field by its path, `marks.note` and the like included."""
    for name in type(details).model_fields:
        value = getattr(details, name)
        if name in _NESTED:
            yield from ((f"{name}.{inner}", getattr(value, inner)) for inner in type(value).model_fields)
        elif name != "call_id":
            yield name, value


def _with(details: CallDetails, values: Mapping[str, Any]) -> CallDetails:
    """`details` with other values, given by path."""
    update: dict[str, Any] = {name: value for name, value in values.items() if "." not in name}
    for outer in _NESTED:
        inner = {
            name.removeprefix(f"{outer}."): value for name, value in values.items() if name.startswith(f"{outer}.")
        }
        update[outer] = getattr(details, outer).model_copy(update=inner)
    return details.model_copy(update=update)
