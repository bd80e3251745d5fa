"""Events at rest: the ids stay readable, the webhook's body inside the first event is sealed.

Pub/Sub's copies are not sealed by us (docs/decisions/0010-what-is-sealed-where.md).
"""

from __future__ import annotations

import json

from shared.gateways.tenant_keys import SEALED
from shared.gateways.vault import TenantVault


def seal_event(vault: TenantVault, call_id: str, field: str, event: str) -> str:
    """`field` names the row: a stage has one event for each request. Events without a payload stay as they are."""
    document = json.loads(event)
    if "payload" not in document:
        return event
    document["payload"] = vault.seal(call_id, field, _dump(document["payload"]))
    return _dump(document)


def open_event(vault: TenantVault, call_id: str, field: str, stored: str) -> str:
    """What `seal_event` was given. Raises as `TenantVault.open`."""
    if SEALED not in stored:
        return stored
    document = json.loads(stored)
    payload = document.get("payload")
    if not isinstance(payload, str):
        return stored
    document["payload"] = json.loads(vault.open(call_id, field, payload))
    return _dump(document)


def event_field(request_id: str, stage: str) -> str:
    """The place of `stage_runs.event`."""
    return f"event/{request_id}/{stage}"


def next_event_field(request_id: str, stage: str) -> str:
    """The place of `stage_runs.next_event`."""
    return f"next_event/{request_id}/{stage}"


def _dump(document: object) -> str:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False)
