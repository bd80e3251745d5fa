"""Requeue with an edited event: a copy with a new id, linked to the letter it stands for. Rare, and off by default."""

from __future__ import annotations

from dataclasses import replace

from schemas.events import Event
from shared.dead_letters import KEPT_DISCARDED, AuditEntry, DeadLetter, DeadLetterBody, letter_id
from shared.deliveries import Delivery, decode_event, parse_event
from shared.desk import Desk
from shared.desk_letters import replay_attributes
from shared.errors import ConfigurationError, InvalidEvent, NotReady

LOCKED_FIELDS = ("type", "version", "tenant_id", "request_id", "call_id")
"""What makes the message this call's and this tenant's: an edit of it would be another call's message."""


def requeue_edited(
    desk: Desk, tenant_id: str, dead_letter_id: str, *, edited: bytes, is_allowed: bool, actor: str
) -> DeadLetter:
    """Put an edited copy in the letter's place; it is open and can be replayed as any letter.

    The original is discarded with a reason that names the copy, and can be restored. Raises `ConfigurationError` when
    editing is off, the letter is not open, or the edit touches what is locked, changes nothing, or breaks the schema.
    """
    if not is_allowed:
        raise ConfigurationError(
            "editing_is_off",
            "editing of dead letters is off",
            fix="mend the cause and replay; if nothing else helps, set PIPELINE_DEAD_LETTER_EDITING=true",
        )
    body = desk.body(tenant_id, dead_letter_id)
    if body.letter.state != "open":
        raise ConfigurationError("not_open", f"dead letter {dead_letter_id} is {body.letter.state}, not open")
    event = _checked(body, edited)
    copy = _copy_of(body, event, desk)
    fields = sorted(_changed_fields(body, event))
    detail = {"copy": copy.letter.dead_letter_id, "fields": fields}
    audit = AuditEntry(actor, "dead_letter.edit", dead_letter_id, detail)
    kept_until = desk.now() + KEPT_DISCARDED
    if not desk.store.replace_with_copy(copy, audit, kept_until=kept_until):
        raise ConfigurationError("not_open", f"dead letter {dead_letter_id} was changed meanwhile, or this edit exists")
    return desk.body(tenant_id, copy.letter.dead_letter_id).letter


def _checked(body: DeadLetterBody, edited: bytes) -> Event:
    """The edited event. Error texts name fields, never values."""
    original = _original(body)
    try:
        event = parse_event(edited)
    except (InvalidEvent, NotReady) as error:
        raise ConfigurationError("edit_refused", f"the edited event is refused: {error.detail}") from error
    locked = [name for name in LOCKED_FIELDS if getattr(event, name) != getattr(original, name)]
    if locked:
        raise ConfigurationError("edit_locked", f"these fields cannot be edited: {', '.join(locked)}")
    if event == original:
        raise ConfigurationError("edit_empty", "the edited event says what the original says")
    return event


def _original(body: DeadLetterBody) -> Event:
    delivery = Delivery("", body.event.encode(), body.attributes, "")
    try:
        return decode_event(delivery)
    except (InvalidEvent, NotReady) as error:
        raise ConfigurationError(
            "edit_unreadable", "only a letter whose event can be read can be edited", fix="discard it with a reason"
        ) from error


def _changed_fields(body: DeadLetterBody, event: Event) -> set[str]:
    before = _original(body).model_dump(mode="json")
    after = event.model_dump(mode="json")
    changed = {name for name, value in after.items() if before.get(name) != value}
    payload, edited = before.get("payload"), after.get("payload")
    if isinstance(payload, dict) and isinstance(edited, dict):
        changed.discard("payload")
        names = payload.keys() | edited.keys()
        changed |= {f"payload.{name}" for name in names if payload.get(name) != edited.get(name)}
    return changed


def _copy_of(body: DeadLetterBody, event: Event, desk: Desk) -> DeadLetterBody:
    text = event.model_dump_json()
    letter = body.letter
    copy = replace(
        letter,
        dead_letter_id=letter_id(f"{letter.dead_letter_id}\x1f{text}", prefix="e"),
        copy_of=letter.dead_letter_id,
        replays=0,
        occurrences=1,
        kept_until=None,
        created_at=desk.now(),
    )
    return DeadLetterBody(copy, body.topic, text, replay_attributes(body.attributes))
