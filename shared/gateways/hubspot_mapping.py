"""A call in HubSpot's words: properties of the contact and of the call, all values as strings (reference §1.4)."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

from schemas.calls import CallDetails, Marketing
from schemas.crm import CrmCall
from shared.gateways.caller_names import person_name
from shared.gateways.hubspot_schema import LAST_CALL_AT
from shared.gateways.hubspot_text import LONGEST_VALUE, body_html, cut, plain

LONGEST_TITLE = 255


def caller_key(e164: str) -> str:
    """The value of `ext_caller_key`: the same for every call from this number, and no number to be read in it."""
    return "tel-" + hashlib.sha256(e164.encode()).hexdigest()[:32]


def call_properties(call: CrmCall, *, now: datetime) -> dict[str, str]:
    """What is written on every sync of the call. No links: a recording's address is a key to it.

    `now` stands in for an unknown start, at the first sync only: later ones must not move the call.
    """
    details = call.details
    started_at = details.started_at or (now if call.previous is None else None)
    duration_ms = "" if details.duration_s is None else str(details.duration_s * 1000)
    from_number, to_number = _numbers(details)
    return _present(
        {
            "hs_timestamp": timestamp(started_at),
            "hs_call_title": cut(plain(call.title), LONGEST_TITLE),
            "hs_call_body": body_html(call.sections),
            "hs_call_duration": duration_ms,
            "hs_call_direction": details.direction.upper(),
            "hs_call_status": _status(details),
            "hs_call_from_number": from_number,
            "hs_call_to_number": to_number,
            **_lead(call),
            "ext_call_intent": call.analysis.intent if call.analysis else "",
            **_marketing(details.marketing),
        }
    )


def latest_properties(call: CrmCall) -> dict[str, str]:
    """What the contact shows of its latest call."""
    return _present(
        {
            **_lead(call),
            "ext_last_call_intent": call.analysis.intent if call.analysis else "",
            LAST_CALL_AT: timestamp(call.details.started_at),
        }
    )


def first_properties(call: CrmCall, e164: str) -> dict[str, str]:
    """What is known of a caller whom we create: written once, because afterwards people know better."""
    details = call.details
    first, last = person_name(details.caller_name, city=details.city, state=details.state)
    return _present(
        {
            "phone": e164,
            "firstname": first,
            "lastname": last,
            "city": plain(details.city),
            "state": plain(details.state),
            "country": plain(details.country),
            **_marketing(details.marketing),
        }
    )


def is_latest(call: CrmCall, last_call_at: str) -> bool:
    """Whether no later call has been noted on the contact; late deliveries and replays come out of order."""
    if call.details.started_at is None or not last_call_at:
        return True
    try:
        noted = datetime.fromisoformat(last_call_at)
    except ValueError:
        return True
    return noted.tzinfo is None or timestamp(call.details.started_at) >= timestamp(noted)


def timestamp(moment: datetime | None) -> str:
    """ISO 8601, UTC, milliseconds: HubSpot's own form; empty for None."""
    if moment is None:
        return ""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _lead(call: CrmCall) -> dict[str, str]:
    analysis = call.analysis
    if analysis is None:
        return {}
    return {
        "ext_lead_score": str(analysis.lead_score),
        "ext_lead_band": "qualified" if analysis.qualified else "not qualified",
        "ext_lead_summary": cut(plain(analysis.summary), LONGEST_VALUE),
        "ext_next_step": cut(plain(analysis.next_step), LONGEST_VALUE),
    }


def _marketing(marketing: Marketing) -> dict[str, str]:
    return {f"ext_{name}": cut(plain(str(value)), LONGEST_VALUE) for name, value in marketing.model_dump().items()}


def _numbers(details: CallDetails) -> tuple[str, str]:
    """From and to, as the telephone network saw them."""
    ours = details.tracking_number or details.business_number
    if details.direction == "inbound":
        return details.caller_number, ours
    return ours, details.caller_number


def _status(details: CallDetails) -> str:
    """HubSpot has no status for voicemail: a machine answered, nobody did. Empty when CallRail did not say."""
    if details.voicemail or details.answered is False:
        return "NO_ANSWER"
    return "COMPLETED" if details.answered else ""


def _present(values: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in values.items() if value}
