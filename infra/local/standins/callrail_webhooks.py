"""CallRail's own part in a call's first minutes: one signed post-call webhook, which the network may lose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infra.local.senders import encode, post_webhook
from infra.local.standins.callrail_store import CallRailStore, WebhookTarget
from infra.local.standins.faults import FaultPlan
from shared.errors import ConfigurationError

OPERATION = "webhook"


def announce(target: WebhookTarget, webhook: Mapping[str, Any], *, store: CallRailStore, plan: FaultPlan) -> None:
    """Post the call's webhook once, whatever comes of it; the store remembers how it went."""
    rule = plan.take(OPERATION)
    outcome = "dropped" if rule is not None and rule.kind == "drop" else _post(target, webhook)
    with store.lock:
        store.webhooks[str(webhook["resource_id"])] = outcome


def _post(target: WebhookTarget, webhook: Mapping[str, Any]) -> str:
    try:
        return f"sent {post_webhook(target.url, encode(webhook), key=target.key).status_code}"
    except ConfigurationError:
        return "dropped"
