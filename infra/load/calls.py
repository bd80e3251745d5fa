"""The calls of a load test: ids in a reserved form, numbers that belong to nobody, no audio, so nothing is paid for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from handlers.signature import callrail_signature
from infra.local.senders import encode

_PREFIX = "CALload-"
_FORM = re.compile(r"CALload-[0-9a-f]{12}-[0-9]{6}")
_AREAS = ("202", "212", "303", "312", "404", "415", "512", "617", "702", "720")


@dataclass(frozen=True)
class SignedCall:
    """One webhook, signed before the clock starts: signing must not delay the sender."""

    number: int
    call_id: str
    body: bytes
    signature: str


def is_load_call(call_id: str) -> bool:
    """Whether a call was made by a load test; CallRail's own ids are `CAL` and hexadecimal digits."""
    return _FORM.fullmatch(call_id) is not None


def signed_calls(run: str, *, count: int, company_id: str, key: str, now: datetime) -> Iterator[SignedCall]:
    """`count` calls of one run; `run` is 12 hexadecimal digits, so that two runs never share a call."""
    for number in range(count):
        call_id = f"{_PREFIX}{run}-{number:06d}"
        body = encode(_missed_call(call_id, number=number, company_id=company_id, now=now))
        yield SignedCall(number, call_id, body, callrail_signature(key, body))


def _missed_call(call_id: str, *, number: int, company_id: str, now: datetime) -> dict[str, Any]:
    """A post-call body that goes the whole way to the CRMs without Speech and without the model."""
    caller = f"+1{_AREAS[number // 100 % len(_AREAS)]}55501{number % 100:02d}"
    return {
        "resource_id": call_id,
        "company_resource_id": company_id,
        "answered": False,
        "call_type": "missed",
        "voicemail": False,
        "direction": "inbound",
        "duration": "0",
        "start_time": (now - timedelta(minutes=4)).isoformat(timespec="seconds"),
        "customer_name": "LOAD TEST",
        "customer_phone_number": caller,
        "tracking_phone_number": "+17205550110",
        "business_phone_number": "+13035550199",
        "recording": "",
        "recording_duration": "",
        "lead_status": "",
        "value": "",
        "note": "",
        "tags": ["load test"],
        "source_name": "Load test",
    }
