"""A sample call as CallRail's post-call webhook would tell it (reference: CallRail fact sheet §2.5)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from infra.local.recordings.script import CallFacts, Script, Visit

NUMERIC_COMPANY_ID = 700100200
NUMERIC_TRACKER_ID = 700300400
EMPTY_IN_CALLRAIL = (
    *("keypad_entries", "device_type", "transcription", "conversational_transcript", "speaker_percent"),
    *("keywords_spotted", "call_summary", "sentiment", "lead_score", "lead_explanation", "lead_status", "value"),
    *("note", "good_lead_call_id", "good_lead_call_time", "fbclid", "msclkid", "ga", "utm_content"),
)
"""Sent as `""`: marks nobody has made yet, and insight that only dearer plans include."""


def post_call_payload(
    script: Script, *, call_id: str, company_id: str, started_at: datetime, recording_url: str
) -> dict[str, Any]:
    """The JSON document, with CallRail's mixture of types: `duration` is text, `recording_duration` is a number.

    An empty `recording_url` makes a call without a recording. `started_at` must be aware (ValueError otherwise).
    """
    if started_at.tzinfo is None:
        raise ValueError("started_at has no time zone")
    return {
        **dict.fromkeys(EMPTY_IN_CALLRAIL, ""),
        **_identity(script.call, call_id=call_id, company_id=company_id),
        **_call(script.call),
        **_times(started_at, time_zone=script.call.time_zone),
        **_numbers(script.call),
        **_recording(script, call_id=call_id, recording_url=recording_url),
        **_marketing(script.visit),
        **_display(script.call),
    }


def _identity(call: CallFacts, *, call_id: str, company_id: str) -> dict[str, Any]:
    return {
        "resource_id": call_id,
        "company_resource_id": company_id,
        "person_resource_id": "PER" + call_id.removeprefix("CAL"),
        "tracker_resource_id": "TRK019a2222333374448555666677778888",
        "company_id": NUMERIC_COMPANY_ID,
        "tracker_id": NUMERIC_TRACKER_ID,
        "company_name": call.company_name,
        "company_time_zone": call.time_zone,
        "timeline_url": f"https://app.callrail.com/calls/{call_id}",
        "integration_data": [{"integration": "Webhooks", "data": None}],
    }


def _call(call: CallFacts) -> dict[str, Any]:
    return {
        "answered": call.answered,
        "call_type": call.call_type,
        "direction": "inbound",
        "duration": str(call.duration_s),
        "first_call": call.first_call,
        "prior_calls": call.prior_calls,
        "total_calls": call.prior_calls + 1,
        "voicemail": call.voicemail,
        "spam": False,
        "agent_email": call.agent_email,
        "tags": list(call.tags),
        "detail_tags": [],
        "call_highlights": [],
    }


def _times(started_at: datetime, *, time_zone: str) -> dict[str, str]:
    local = started_at.astimezone(ZoneInfo(time_zone)).isoformat(timespec="milliseconds")
    utc = started_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    return {"start_time": local, "created_at": local, "timestamp": local, "datetime": utc}


def _numbers(call: CallFacts) -> dict[str, str]:
    return {
        "customer_name": call.customer_name,
        "customer_phone_number": call.customer_number,
        "customer_city": call.city,
        "customer_state": call.state,
        "customer_country": "US",
        "tracking_phone_number": call.tracking_number,
        "business_phone_number": call.business_number,
        "callername": call.customer_name,
        "callernum": call.customer_number,
        "trackingnum": call.tracking_number,
        "destinationnum": call.business_number,
    }


def _recording(script: Script, *, call_id: str, recording_url: str) -> dict[str, Any]:
    if not recording_url:
        return {"recording": "", "recording_redirect": "", "recording_player": "", "recording_duration": ""}
    return {
        "recording": recording_url,
        "recording_redirect": recording_url,
        "recording_player": f"https://app.callrail.com/calls/{call_id}/recording?access_key=0000000000000000bbbb",
        "recording_duration": script.recording.duration_s,
    }


def _marketing(visit: Visit) -> dict[str, Any]:
    touch = {"source": visit.source, "medium": visit.medium, "campaign": visit.campaign}
    paid = visit.medium == "cpc"
    return {
        **visit.model_dump(),
        "callsource": visit.source,
        "referrer_domain": urlsplit(visit.referring_url).hostname or "",
        "last_requested_url": visit.landing_page_url,
        "utm_source": visit.source.split("_")[0] if paid else "",
        "utm_medium": visit.medium if paid else "",
        "utm_campaign": visit.campaign,
        "utm_term": visit.keywords,
        "milestones": {"first_touch": touch, "lead_created": touch},
    }


def _display(call: CallFacts) -> dict[str, str]:
    minutes, seconds = divmod(call.duration_s, 60)
    return {
        "formatted_call_type": call.call_type.capitalize(),
        "formatted_duration": f"{minutes}m {seconds}s" if minutes else f"{seconds}s",
        "formatted_customer_phone_number": _dashed(call.customer_number),
        "formatted_tracking_phone_number": _dashed(call.tracking_number),
        "formatted_business_phone_number": _dashed(call.business_number),
        "formatted_value": "--",
    }


def _dashed(e164: str) -> str:
    digits = e164.removeprefix("+1")
    return f"{digits[:3]}-{digits[3:6]}-{digits[6:]}"
