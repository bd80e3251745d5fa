"""The webhooks that the load generator sends: distinct calls, signed beforehand, of the size others measure with."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from handlers.signature import callrail_signature
from infra.local.demo_tenant import DEMO_COMPANY_ID
from infra.local.senders import encode, new_call_id

COUNT = 500
BODY_BYTES = 1_400
"""The size of Mozilla's test body (and of a short CallRail one), to be comparable."""


def write_webhooks(path: Path, *, key: str) -> int:
    """Write `<signature>\\t<body>` lines; returns how many bytes each body has."""
    bodies = [make_body(number) for number in range(COUNT)]
    path.write_text("".join(f"{callrail_signature(key, body)}\t{body.decode()}\n" for body in bodies), encoding="utf-8")
    return len(bodies[0])


def make_body(number: int) -> bytes:
    """One post-call body of `BODY_BYTES` bytes; `number` makes it a call of its own."""
    started_at = datetime.now(UTC) - timedelta(minutes=4)
    payload = {
        "resource_id": new_call_id(),
        "company_resource_id": DEMO_COMPANY_ID,
        "answered": True,
        "call_type": "answered",
        "direction": "inbound",
        "duration": "127",
        "voicemail": False,
        "first_call": True,
        "start_time": started_at.isoformat(),
        "customer_name": "EXAMPLE CALLER",
        "customer_phone_number": f"+1303555{100 + number % 100:04d}",
        "customer_city": "Denver",
        "customer_state": "CO",
        "customer_country": "US",
        "tracking_phone_number": "+17205550110",
        "business_phone_number": "+13035550199",
        "recording": f"https://app.callrail.com/calls/{number}/recording",
        "recording_duration": 127,
        "lead_status": "",
        "value": "",
        "note": "",
        "tags": ["first time", "emergency"],
        "source_name": "Google Ads",
        "medium": "cpc",
        "campaign": "emergency plumbing denver",
        "keywords": "plumber near me",
        "landing_page_url": "https://www.example.com/",
    }
    room = BODY_BYTES - len(encode(payload))
    return encode({**payload, "landing_page_url": f"https://www.example.com/?x={'0' * (room - 3)}"})
