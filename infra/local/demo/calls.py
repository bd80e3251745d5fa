"""The calls of a demo: which audio, which webhook, posted as CallRail would post them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from infra.local.demo_tenant import DEMO_COMPANY_ID
from infra.local.recordings.catalogue import SampleCall, load_catalogue
from infra.local.senders import encode, new_call_id, post_webhook, put_recording
from shared.errors import ConfigurationError

_NO_RECORDING = "https://app.callrail.com/none"
"""What a sample call without audio is given; its payload leaves the field empty."""


@dataclass(frozen=True)
class DemoCall:
    """A call to be posted."""

    call_id: str
    title: str
    audio: Path | None
    payload: Mapping[str, Any]


@dataclass(frozen=True)
class PostedCall:
    """A call that the receiver accepted."""

    call: DemoCall
    request_id: str
    posted_at: datetime


def sample_calls(callrail_url: str) -> list[DemoCall]:
    """The recordings that ship with the project."""
    return [_sample_call(sample, callrail_url) for sample in load_catalogue()]


def own_calls(files: Sequence[Path], callrail_url: str) -> list[DemoCall]:
    """One answered inbound call for each audio file."""
    return [_own_call(path, index, callrail_url) for index, path in enumerate(files, start=1)]


def post(calls: Sequence[DemoCall], *, base_url: str, key: str) -> list[PostedCall]:
    """Post every call's signed webhook. Raises `ConfigurationError` when the receiver refuses one."""
    return [_post_one(call, base_url, key) for call in calls]


def _sample_call(sample: SampleCall, callrail_url: str) -> DemoCall:
    call_id = new_call_id()
    link = put_recording(callrail_url, call_id=call_id, audio=sample.audio_path) if sample.audio_path else ""
    payload = sample.webhook_payload(
        call_id=call_id,
        company_id=DEMO_COMPANY_ID,
        started_at=datetime.now(UTC) - timedelta(minutes=4),
        recording_url=link or _NO_RECORDING,
    )
    return DemoCall(call_id, sample.script.title, sample.audio_path, payload)


def _own_call(path: Path, index: int, callrail_url: str) -> DemoCall:
    call_id = new_call_id()
    link = put_recording(callrail_url, call_id=call_id, audio=path)
    payload = own_payload(call_id, link, caller_number=f"+1303555{100 + index % 100:04d}")
    return DemoCall(call_id, path.name, path, payload)


def own_payload(call_id: str, recording_url: str, *, caller_number: str = "+13035550142") -> dict[str, Any]:
    """The post-call body of an answered inbound call whose audio is somebody's own file."""
    started_at = datetime.now(UTC) - timedelta(minutes=4)
    return {
        "resource_id": call_id,
        "company_resource_id": DEMO_COMPANY_ID,
        "answered": True,
        "call_type": "answered",
        "direction": "inbound",
        "duration": "60",
        "voicemail": False,
        "first_call": True,
        "start_time": started_at.isoformat(),
        "customer_name": "EXAMPLE CALLER",
        "customer_phone_number": caller_number,
        "tracking_phone_number": "+17205550110",
        "business_phone_number": "+13035550199",
        "recording": recording_url,
        "recording_duration": 60,
        "lead_status": "",
        "value": "",
        "note": "",
        "tags": [],
        "source_name": "Demo",
    }


def _post_one(call: DemoCall, base_url: str, key: str) -> PostedCall:
    posted_at = datetime.now(UTC)
    answer = post_webhook(base_url, encode(call.payload), key=key)
    if answer.status_code != 202:
        raise ConfigurationError("webhook_refused", f"the receiver answered {answer.status_code}: {answer.text}")
    return PostedCall(call, str(answer.json()["request_id"]), posted_at)
