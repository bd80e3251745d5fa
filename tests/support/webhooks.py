"""Webhook bodies as CallRail sends them (reference: callrail.md §2.4, §2.5), with invented values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from tests.support.tenants import COMPANY

CALL = "CAL019aa0c4d1f07b2e9c3d5a6f70819203"
RECORDING = f"https://app.callrail.com/calls/{CALL}/recording/redirect?access_key=0000000000000000aaaa"

POST_CALL: dict[str, Any] = {
    "resource_id": CALL,
    "company_resource_id": COMPANY,
    "person_resource_id": "PER019aa0c4d0aa7c1188990011aabbccdd",
    "company_id": 700100200,
    "tracker_id": 700300400,
    "company_name": "Example Plumbing",
    "company_time_zone": "America/Denver",
    "answered": True,
    "call_type": "answered",
    "direction": "inbound",
    "duration": "214",
    "first_call": True,
    "prior_calls": 0,
    "voicemail": False,
    "spam": False,
    "start_time": "2026-11-18T09:14:05.250-07:00",
    "created_at": "2026-11-18T09:14:05.301-07:00",
    "timestamp": "2026-11-18T09:14:05.250-07:00",
    "datetime": "2026-11-18 16:14:05",
    "customer_name": "EXAMPLE CALLER",
    "customer_phone_number": "+13035550142",
    "customer_city": "Denver",
    "customer_state": "CO",
    "customer_country": "US",
    "tracking_phone_number": "+17205550110",
    "business_phone_number": "+13035550199",
    "agent_email": "agent@example.com",
    "keypad_entries": "",
    "recording": RECORDING,
    "recording_redirect": RECORDING,
    "recording_player": f"https://app.callrail.com/calls/{CALL}/recording?access_key=0000000000000000bbbb",
    "recording_duration": 211,
    "transcription": "",
    "call_highlights": [],
    "lead_status": "",
    "value": "",
    "note": "",
    "tags": ["new customer"],
    "source": "google_paid",
    "source_name": "Google Ads pool",
    "medium": "cpc",
    "campaign": "winter-furnace",
    "keywords": "furnace repair near me",
    "referring_url": "https://www.google.com/",
    "landing_page_url": "https://www.example.com/furnace?gclid=TEST-GCLID-1",
    "utm_source": "google",
    "utm_medium": "cpc",
    "utm_campaign": "winter-furnace",
    "gclid": "TEST-GCLID-1",
    "milestones": {"first_touch": {"source": "google_paid", "medium": "cpc"}},
    "callernum": "+13035550142",
    "trackingnum": "+17205550110",
    "destinationnum": "+13035550199",
    "callername": "EXAMPLE CALLER",
    "integration_data": [{"integration": "Webhooks", "data": None}],
}

MISSED_CALL = POST_CALL | {
    "answered": False,
    "call_type": "missed",
    "duration": "0",
    "recording": "",
    "recording_redirect": "",
    "recording_player": "",
    "recording_duration": "",
    "agent_email": "",
}

PRE_CALL: dict[str, Any] = {
    "answered": False,
    "call_type": "missed",
    "company_id": 700100200,
    "company_name": "Example Plumbing",
    "company_resource_id": COMPANY,
    "company_time_zone": "America/Denver",
    "created_at": "2026-11-18T09:14:05.301-07:00",
    "customer_city": "Denver",
    "customer_country": "US",
    "customer_name": "EXAMPLE CALLER",
    "customer_number": "+13035550142",
    "customer_state": "CO",
    "direction": "inbound",
    "duration": 0,
    "first_call": True,
    "formatted_tracking_phone_number": "720-555-0110",
    "person_resource_id": "PER019aa0c4d0aa7c1188990011aabbccdd",
    "prior_calls": 0,
    "resource_id": CALL,
    "source_name": "Google Ads pool",
    "start_time": "2026-11-18T09:14:05.250-07:00",
    "total_calls": 1,
    "tracker_resource_id": "TRK019a2222333374448555666677778888",
    "tracking_phone_number": "+17205550110",
    "voicemail": False,
}

ROUTING_COMPLETE = PRE_CALL | {
    "business_phone_number": "+13035550199",
    "formatted_business_phone_number": "303-555-0199",
}

CALL_MODIFIED = POST_CALL | {"changes": ["tags", "note"], "tags": ["new customer", "booked"], "note": "Tuesday at 9"}

LEGACY_POST_CALL: dict[str, Any] = {
    "id": 766970532,
    "company_id": 700100200,
    "answered": "true",
    "datetime": "2026-11-18 16:14:05",
    "duration": "214",
    "callernum": "+13035550142",
    "callername": "EXAMPLE CALLER",
    "callercity": "Denver",
    "callerstate": "CO",
    "callercountry": "US",
    "trackingnum": "+17205550110",
    "destinationnum": "+13035550199",
    "callsource": "google_paid",
    "landingpage": "https://www.example.com/furnace",
    "referrer": "https://www.google.com/",
    "referrermedium": "cpc",
    "recording": RECORDING,
    "tag": "new customer",
}
"""The first generation of names only, as captured before 2021."""

GUIDES_TEST: dict[str, Any] = {
    "call_id": "TEST123456789",
    "caller_id": "+13035550142",
    "duration": "180",
    "answered": True,
    "tenant_id": "acme-plumbing",
    "callrail_company_id": COMPANY,
    "recording_url": "https://example.com/test-recording.wav",
    "timestamp": "2026-11-23T12:00:00Z",
}
"""The production guide's load-test payload."""

TEXT_MESSAGE: dict[str, Any] = {
    "id": 36121031,
    "resource_id": "SCI019aa0c4d1f07b2e9c3d5a6f70819203",
    "source_number": "303-555-0142",
    "destination_number": "720-555-0110",
    "content": "Are you open on Sunday?",
    "message_type": "sms",
    "media_urls": [],
    "timestamp": "2026-11-18T09:14:05.250-07:00",
    "conversation_id": "KZaGR",
    "company_resource_id": COMPANY,
    "person_resource_id": "PER019aa0c4d0aa7c1188990011aabbccdd",
}

FORM_SUBMISSION: dict[str, Any] = {
    "resource_id": "FRM019aa0c4d1f07b2e9c3d5a6f70819203",
    "company_resource_id": COMPANY,
    "form_data": {"name": "Example Caller", "email": "caller@example.com"},
    "form_url": "https://www.example.com/contact",
    "submitted_at": "2026-11-18T09:14:05.250-07:00",
}

VOICE_ASSIST: dict[str, Any] = {
    "call_id": CALL,
    "person_id": "PER019aa0c4d0aa7c1188990011aabbccdd",
    "tracking_number": "+17205550110",
    "timestamp": "2026-11-18T09:14:05.250-07:00",
}
"""An undocumented webhook: the AI agent picked up."""


def as_json(payload: Mapping[str, Any]) -> bytes:
    return json.dumps(payload).encode()


def as_form(payload: Mapping[str, Any]) -> bytes:
    """The form-encoded twin: the same names, every value a string."""
    return urlencode({name: _form_text(value) for name, value in payload.items()}).encode()


def _form_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool | dict | list):
        return json.dumps(value)
    return str(value)
