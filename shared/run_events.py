"""Events and deliveries as the runner puts them together from what it holds."""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from schemas.events import Event
from shared.claims import NewRun, StageRun, attempt_after
from shared.deliveries import Delivery, parse_event
from shared.traces import ATTRIBUTE


def traceback_digest(error: BaseException) -> str:
    """The same for the same fault at the same place, whatever the values were."""
    frames = traceback.extract_tb(error.__traceback__)
    places = "|".join(f"{frame.name}:{frame.line}" for frame in frames)
    return hashlib.sha256(f"{type(error).__name__}|{places}".encode()).hexdigest()[:12]


def fresh_run(claim: NewRun) -> StageRun:
    """The row that a blind insert has just written."""
    return StageRun(
        key=claim.key,
        call_id=claim.call_id,
        state="running",
        attempt=1,
        claim_token=claim.claim_token,
        lease_until=claim.lease_until,
        event=claim.event,
    )


def taken_over_run(run: StageRun, claim_token: str, lease_until: datetime) -> StageRun:
    """The row after a takeover."""
    return replace(
        run,
        state="running",
        claim_token=claim_token,
        lease_until=lease_until,
        attempt=attempt_after(run),
        taken_over=True,
    )


def stored_event(stored: str) -> Event:
    """An event as a row holds it. Raises as `parse_event` does."""
    return parse_event(stored.encode())


def trace_attribute(delivery: Delivery) -> dict[str, str]:
    """What a message of the same request says of its trace."""
    return {ATTRIBUTE: delivery.traceparent} if delivery.traceparent else {}


def original_delivery(run: StageRun, delivery: Delivery) -> Delivery:
    """The stage's own event as a delivery: a dead letter must hold what a replay can send again."""
    if "objectId" not in delivery.attributes:
        return delivery
    attributes: Mapping[str, str] = {**stored_event(run.event).attributes(), **trace_attribute(delivery)}
    return Delivery(delivery.message_id, run.event.encode(), attributes, delivery.subscription)
