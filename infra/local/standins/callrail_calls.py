"""Calls as CallRail's API shows them, made from the webhook bodies of the same calls (callrail.md §4.2, §4.3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infra.local.standins.callrail_listing import DEFAULT_FIELDS, OPTIONAL_FIELDS

_OTHER_NAMES = {
    "id": "resource_id",
    "company_id": "company_resource_id",
    "person_id": "person_resource_id",
    "tracker_id": "tracker_resource_id",
}
"""API name → webhook name. The webhook's own `company_id` and `tracker_id` are older, numeric ids."""


def api_call(webhook: Mapping[str, Any], *, account_id: str) -> dict[str, Any]:
    """The API's object of the call that a post-call webhook speaks of.

    Names, types and the recording's link differ: `duration` is a number, `recording_duration` a text, empty is null,
    and the recording is an address of the API itself.
    """
    call = {name: _value(webhook.get(_OTHER_NAMES.get(name, name))) for name in (*DEFAULT_FIELDS, *OPTIONAL_FIELDS)}
    call["duration"] = round(float(webhook.get("duration") or 0))
    if call["recording"]:
        call["recording"] = recording_address(account_id, str(call["id"]))
    if call["recording_duration"] is not None:
        call["recording_duration"] = str(call["recording_duration"])
    return call


def with_recording(call: Mapping[str, Any], *, account_id: str) -> dict[str, Any]:
    """The API's object of a call whose recording is registered too."""
    return {**call, "recording": recording_address(account_id, str(call["id"]))}


def recording_address(account_id: str, call_id: str) -> str:
    """Where the API hands out a fresh link; needs the key."""
    return f"https://api.callrail.com/v3/a/{account_id}/calls/{call_id}/recording.json"


def _value(value: Any) -> Any:
    return None if value == "" else value
