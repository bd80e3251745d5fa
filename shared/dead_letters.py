"""Dead letters: what the message says (the original, plus `dl_*` attributes with the reason) and what is kept of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from shared.deliveries import Delivery
from shared.errors import PipelineError

TOPIC = "dead-letters"
UNASSIGNED_TENANT = "unassigned"
"""Owns the dead letters whose tenant cannot be told; created with the first of them."""

_MAX_ATTRIBUTE_BYTES = 1024  # Pub/Sub's limit for one attribute value


@dataclass(frozen=True)
class GivenUp:
    """Why a delivery was given up, in the words of `shared.errors`."""

    stage: str
    reason: str
    detail: str
    fix: str
    attempts: int

    @classmethod
    def because(cls, error: PipelineError, *, stage: str, attempts: int) -> GivenUp:
        return cls(stage=stage, reason=error.code, detail=error.detail, fix=error.fix, attempts=attempts)


def dead_letter_attributes(delivery: Delivery, given_up: GivenUp) -> dict[str, str]:
    """The original attributes with the reason beside them."""
    return {
        **{name: value for name, value in delivery.attributes.items() if not name.startswith("dl_")},
        "dl_subscription": _clip(delivery.subscription),
        "dl_stage": given_up.stage,
        "dl_reason": _clip(given_up.reason),
        "dl_detail": _clip(given_up.detail),
        "dl_fix": _clip(given_up.fix),
        "dl_attempts": str(given_up.attempts),
    }


def _clip(text: str) -> str:
    return text.encode()[:_MAX_ATTRIBUTE_BYTES].decode(errors="ignore")


def source_of(attributes: Mapping[str, str]) -> str:
    """`runner` when a stage gave up, `pubsub` when the subscription's dead-letter policy did."""
    return "runner" if "dl_reason" in attributes else "pubsub"


@dataclass(frozen=True)
class DeadLetter:
    """One row, without the event's body."""

    tenant_id: str
    dead_letter_id: str
    request_id: str
    call_id: str
    stage: str
    state: str
    reason: str
    detail: str
    fix: str
    attempts: int
    occurrences: int
    replays: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class DeadLetterBody:
    """What was given up: the original message and where it came from."""

    letter: DeadLetter
    topic: str
    event: str
    attributes: Mapping[str, str]
    note: str


@dataclass(frozen=True)
class NewDeadLetter:
    """What the recorder writes."""

    tenant_id: str
    dead_letter_id: str
    request_id: str
    call_id: str
    stage: str
    reason: str
    detail: str
    fix: str
    attempts: int
    topic: str
    event: str
    attributes: Mapping[str, str]


@dataclass(frozen=True)
class AuditEntry:
    """Who did what to what."""

    actor: str
    action: str
    target: str
    detail: Mapping[str, Any]


class DeadLetterStore(Protocol):
    """Keeps dead letters; every method takes the tenant, alone or inside its argument."""

    def record(self, letter: NewDeadLetter) -> None:
        """Insert, or count once more where the same request and stage was given up before.

        Raises `InvalidEvent` when the tenant does not exist.
        """
        ...

    def ensure_unassigned_tenant(self) -> None:
        """Create the owner of letters that belong to nobody; harmless when it is there."""
        ...

    def list_letters(self, tenant_id: str, *, limit: int) -> list[DeadLetter]:
        """Newest first."""
        ...

    def read(self, tenant_id: str, dead_letter_id: str) -> DeadLetterBody | None: ...

    def start_replay(self, letter: DeadLetter, audit: AuditEntry) -> bool:
        """Reopen the failed run and mark the letter, in one commit; False when somebody was faster."""
        ...

    def discard(self, letter: DeadLetter, reason: str, audit: AuditEntry) -> bool:
        """Give the letter up for good, with a reason; False when it is not open."""
        ...
