"""CallRail's webhook bodies: which kind they are, whose they are, and the call in our own words.

Two generations of names exist for the same thing; the first present one wins (reference: callrail.md).
Values arrive as JSON types or, in form-encoded bodies, as strings; an empty string means "not known".
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from schemas.calls import CallDetails, Direction, Marketing, Marks
from schemas.events import CallReceived, WebhookKind
from schemas.phones import to_e164

EVENT_KINDS: dict[str, WebhookKind] = {
    "pre-call": "pre_call",
    "routing-complete": "routing_complete",
    "post-call": "post_call",
    "call-modified": "call_modified",
    "outbound-post-call": "post_call",
    "outbound-call-modified": "call_modified",
    "text-received": "text_message",
    "text-sent": "text_message",
    "form-submitted": "form_submission",
    "other": "unknown",
}
"""The last part of a tenant's own webhook address, one per CallRail trigger."""

CALL_KINDS = frozenset({"pre_call", "routing_complete", "post_call", "call_modified"})

_ID_NAMES = ("resource_id", "id", "call_id")
_COMPANY_NAMES = ("company_resource_id", "company_id", "callrail_company_id")
_POST_CALL_NAMES = frozenset(
    {"recording", "recording_url", "recording_duration", "lead_status", "value", "note", "tags", "keypad_entries"}
)
"""Present (often empty) in every post-call body and in no pre-call body."""

_YEARS = range(2000, 2200)
"""Before CallRail was, and so far ahead that sums of time leave the calendar."""

Payload = Mapping[str, Any]


class WebhookShapeError(ValueError):
    """The body is authentic but is not what its kind must be; the text names the field, never its value."""


def company_ids(payload: Payload) -> tuple[str, ...]:
    """Every company id in the body, newest name first; a body may carry both generations."""
    return tuple(dict.fromkeys(text for name in _COMPANY_NAMES if (text := _text(payload, name))))


def infer_kind(payload: Payload) -> WebhookKind:
    """The kind of a body that came to the shared address, which does not name its trigger.

    Pre-call bodies hold placeholders (`answered: false`, `call_type: missed`) and must not be read as missed calls:
    a body counts as post-call only when it has a duration and one of the fields that pre-call bodies never have.
    """
    if "changes" in payload:
        return "call_modified"
    if "form_data" in payload:
        return "form_submission"
    if "content" in payload and "source_number" in payload:
        return "text_message"
    if not _first(payload, _ID_NAMES):
        return "unknown"
    if "duration" in payload and _POST_CALL_NAMES & payload.keys():
        return "post_call"
    if "customer_number" in payload or "customer_phone_number" in payload:
        return "routing_complete" if "business_phone_number" in payload else "pre_call"
    return "unknown"


def subject_id(payload: Payload, *, body_digest: str) -> str:
    """CallRail's id of the call, message or form; bodies without one are known by their digest."""
    return _first(payload, _ID_NAMES) or f"body-{body_digest[:32]}"


def details_of(event: CallReceived) -> CallDetails:
    """The call inside an event. Raises `WebhookShapeError`."""
    return parse_webhook(event.payload)


def parse_webhook(payload: Payload) -> CallDetails:
    """The call in our own words. Raises `WebhookShapeError` when it has no id or a value cannot be read."""
    return _details(
        **_checked_values(payload),
        company_id=_first(payload, _COMPANY_NAMES),
        direction=_direction(payload),
        answered=_flag(payload, "answered"),
        voicemail=_flag(payload, "voicemail") or False,
        call_type=_text(payload, "call_type").replace("abandonded", "abandoned"),
        caller_number=to_e164(_first(payload, ("customer_phone_number", "customer_number", "callernum", "caller_id"))),
        caller_name=_first(payload, ("customer_name", "callername", "caller_name")),
        tracking_number=to_e164(_first(payload, ("tracking_phone_number", "trackingnum"))),
        business_number=to_e164(_first(payload, ("business_phone_number", "destinationnum"))),
        agent_email=_text(payload, "agent_email"),
        city=_first(payload, ("customer_city", "callercity")),
        state=_first(payload, ("customer_state", "callerstate")),
        country=_first(payload, ("customer_country", "callercountry")),
        first_call=_flag(payload, "first_call"),
        recording_url=_first(payload, ("recording", "recording_url", "recording_redirect")),
        marketing=_marketing(payload),
        marks=_marks(payload),
    )


def check_webhook(payload: Payload) -> None:
    """Raise what `parse_webhook` would raise, at a quarter of its price: the receiver needs no more than that."""
    _details(**_checked_values(payload))


def _checked_values(payload: Payload) -> dict[str, Any]:
    """Those values of a call that can be wrong; every other one is a text or a flag, readable or not known."""
    call_id = _first(payload, _ID_NAMES)
    if not call_id:
        raise WebhookShapeError("no call id: expected one of " + ", ".join(_ID_NAMES))
    return {
        "call_id": call_id,
        "started_at": _started_at(payload),
        "duration_s": _whole_seconds(payload, "duration"),
        "recording_duration_s": _whole_seconds(payload, "recording_duration"),
    }


def _details(**values: Any) -> CallDetails:
    try:
        return CallDetails(**values)
    except ValidationError as error:
        fields = ", ".join(sorted({str(item["loc"][0]) if item["loc"] else "body" for item in error.errors()}))
        raise WebhookShapeError(f"unreadable value in {fields}") from error


def _direction(payload: Payload) -> Direction:
    return "outbound" if "outbound" in (_text(payload, "direction"), _text(payload, "call_type")) else "inbound"


def _marketing(payload: Payload) -> Marketing:
    return Marketing(
        source=_first(payload, ("source_name", "source", "callsource")),
        medium=_first(payload, ("medium", "referrermedium")),
        campaign=_text(payload, "campaign"),
        keywords=_text(payload, "keywords"),
        gclid=_text(payload, "gclid"),
        landing_page_url=_first(payload, ("landing_page_url", "landingpage")),
        referring_url=_first(payload, ("referring_url", "referrer")),
        utm_source=_text(payload, "utm_source"),
        utm_medium=_text(payload, "utm_medium"),
        utm_campaign=_text(payload, "utm_campaign"),
    )


def _marks(payload: Payload) -> Marks:
    return Marks(
        tags=_texts(payload, "tags") or _texts(payload, "tag"),
        note=_text(payload, "note"),
        value=_text(payload, "value"),
        lead_status=_text(payload, "lead_status"),
    )


def _first(payload: Payload, names: tuple[str, ...]) -> str:
    for name in names:
        text = _text(payload, name)
        if text:
            return text
    return ""


def _text(payload: Payload, name: str) -> str:
    return _plain_text(payload.get(name))


def _plain_text(value: Any) -> str:
    if isinstance(value, str):  # nearly always
        return value.strip()
    if value is None or isinstance(value, (bool, dict, list)):
        return ""
    return str(value)


def _texts(payload: Payload, name: str) -> tuple[str, ...]:
    value = payload.get(name)
    if isinstance(value, list):
        items = (item.get("name") if isinstance(item, dict) else item for item in value)
        return tuple(text for item in items if (text := _plain_text(item)))
    text = _text(payload, name)
    return tuple(part for part in (piece.strip() for piece in text.split(",")) if part)


def _flag(payload: Payload, name: str) -> bool | None:
    value = payload.get(name)
    if isinstance(value, bool):
        return value
    text = _text(payload, name).lower()
    if text in {"true", "1", "yes"}:
        return True
    return False if text in {"false", "0", "no"} else None


def _whole_seconds(payload: Payload, name: str) -> int | None:
    text = _text(payload, name)
    if not text:
        return None
    try:
        return round(float(text))
    except (ValueError, OverflowError) as error:
        raise WebhookShapeError(f"{name} is not a number of seconds") from error


def _started_at(payload: Payload) -> datetime | None:
    for name in ("start_time", "timestamp", "datetime", "created_at"):
        text = _text(payload, name)
        if text:
            return _moment(name, text)
    return None


def _moment(name: str, text: str) -> datetime:
    """ISO 8601 with an offset, or CallRail's `YYYY-MM-DD HH:MM:SS`, which is UTC."""
    try:
        moment = datetime.fromisoformat(text)
        moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise WebhookShapeError(f"{name} is not a time") from error
    if moment.year not in _YEARS:
        raise WebhookShapeError(f"{name} is not the time of a call")
    return moment


def kind_of(payload: Payload, event_name: str | None) -> WebhookKind:
    """The kind of a body, from the address it came to and from what it is.

    The address decides, except where the body shows that it was sent to the wrong one: a pre-call body at the
    post-call address must not become a missed call, a text message is no call wherever it arrives, and Voice Assist's
    notice holds an id alone, so that taking it for the call's end would leave nothing for the real one to do.
    """
    inferred = infer_kind(payload)
    if event_name is None:
        return inferred
    named = EVENT_KINDS[event_name]
    if named in {"post_call", "call_modified"} and inferred == "unknown" and not _tells_of_an_end(payload):
        return "unknown"
    if named == "post_call" and inferred != "unknown":
        return inferred
    if named in CALL_KINDS and inferred in {"text_message", "form_submission"}:
        return inferred
    return named


def _tells_of_an_end(payload: Payload) -> bool:
    """Whether a body has anything that only a finished call has."""
    return "duration" in payload or bool(_POST_CALL_NAMES & payload.keys())
