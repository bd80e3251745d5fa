"""How CallRail lists calls: date windows, offset and relative paging, field selection (reference: callrail.md §4.4)."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from werkzeug.datastructures import MultiDict

DEFAULT_FIELDS = [
    "id",
    "answered",
    "agent_email",
    "business_phone_number",
    "customer_city",
    "customer_country",
    "customer_name",
    "customer_phone_number",
    "customer_state",
    "direction",
    "duration",
    "recording",
    "recording_duration",
    "recording_player",
    "start_time",
    "tracking_phone_number",
    "voicemail",
]
OPTIONAL_FIELDS = [
    "company_id",
    "company_name",
    "person_id",
    "tracker_id",
    "call_type",
    "lead_status",
    "tags",
    "note",
    "value",
    "source",
    "source_name",
    "medium",
    "campaign",
    "keywords",
    "utm_source",
    "utm_medium",
    "utm_campaign",
    "utm_term",
    "utm_content",
    "gclid",
    "fbclid",
    "msclkid",
    "landing_page_url",
    "referring_url",
    "milestones",
    "timeline_url",
    "first_call",
    "prior_calls",
    "total_calls",
    "transcription",
    "conversational_transcript",
    "call_summary",
    "sentiment",
    "call_highlights",
    "keywords_spotted",
    "speaker_percent",
    "lead_score",
    "lead_explanation",
    "created_at",
    "company_time_zone",
    "device_type",
    "spam",
]
_DEFAULT_WINDOW = timedelta(days=7)
_HORIZON = timedelta(days=761)  # 25 months
_MAX_PAGE = 250
Arguments = MultiDict[str, str]


class ListingError(ValueError):
    """What CallRail answers 400 to."""


def chosen_fields(arguments: Arguments) -> list[str]:
    """Default fields plus those asked for. Raises `ListingError`: one unknown name fails the whole request."""
    asked = [name for name in arguments.get("fields", "").split(",") if name]
    unknown = sorted(set(asked) - set(DEFAULT_FIELDS) - set(OPTIONAL_FIELDS))
    if unknown:
        raise ListingError(f"unknown fields: {', '.join(unknown)}")
    return list(dict.fromkeys([*DEFAULT_FIELDS, *asked]))


def shown(call: dict[str, Any], fields: list[str]) -> dict[str, Any]:
    return {name: call.get(name) for name in fields}


def list_calls(calls: list[dict[str, Any]], arguments: Arguments, *, base_url: str, now: datetime) -> dict[str, Any]:
    """One page of `calls` (newest first) as CallRail's answer. Raises `ListingError`."""
    fields = chosen_fields(arguments)
    start, end = _window(arguments, now)
    matching = [call for call in calls if start <= _started(call) <= end and _is_asked_for(call, arguments)]
    size = _whole(arguments, "per_page", 100)
    if not 1 <= size <= _MAX_PAGE:
        raise ListingError(f"per_page must be 1 to {_MAX_PAGE}")
    if arguments.get("relative_pagination") == "true":
        return _relative_page(matching, arguments, fields, size=size, base_url=base_url)
    page = _whole(arguments, "page", 1)
    return {
        "page": page,
        "per_page": size,
        "total_pages": -(-len(matching) // size),
        "total_records": len(matching),
        "calls": [shown(call, fields) for call in matching[(page - 1) * size : page * size]],
    }


def _relative_page(
    matching: list[dict[str, Any]], arguments: Arguments, fields: list[str], *, size: int, base_url: str
) -> dict[str, Any]:
    """`next_page` is a full URL to be followed unchanged; no totals."""
    offset = _whole(arguments, "offset", 0)
    has_next = offset + size < len(matching)
    following = {**arguments.to_dict(), "offset": str(offset + size)}
    return {
        "per_page": size,
        "has_next_page": has_next,
        "next_page": f"{base_url}?{urlencode(following)}" if has_next else None,
        "calls": [shown(call, fields) for call in matching[offset : offset + size]],
    }


def _window(arguments: Arguments, now: datetime) -> tuple[datetime, datetime]:
    zone = _zone(arguments.get("time_zone", "UTC"))
    start_text, end_text = arguments.get("start_date", ""), arguments.get("end_date", "")
    start = _moment(start_text, zone, time.min) if start_text else now - _DEFAULT_WINDOW
    end = _moment(end_text, zone, time.max) if end_text else now
    if start < now - _HORIZON:
        raise ListingError("start_date lies more than 25 months back")
    return start, end


def _moment(text: str, zone: ZoneInfo, edge: time) -> datetime:
    """A date (its start or end) or a date-time; milliseconds and zone suffixes are refused, as was observed."""
    for form in ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S"):
        try:
            return datetime.strptime(text, form).replace(tzinfo=zone)
        except ValueError:
            continue
    try:
        return datetime.combine(date.fromisoformat(text), edge, tzinfo=zone)
    except ValueError as error:
        raise ListingError("dates are YYYY-MM-DD or YYYY-MM-DDTHH:MM:SS") from error


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ListingError("unknown time_zone") from error


def _started(call: dict[str, Any]) -> datetime:
    moment = datetime.fromisoformat(str(call["start_time"]))
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _is_asked_for(call: dict[str, Any], arguments: Arguments) -> bool:
    names = ("company_id", "direction", "tracker_id", "call_type", "lead_status")
    return all(str(call.get(name, "")) == arguments[name] for name in names if name in arguments)


def _whole(arguments: Arguments, name: str, default: int) -> int:
    text = arguments.get(name, str(default))
    if not text.isdigit():
        raise ListingError(f"{name} is not a number")
    return int(text)
