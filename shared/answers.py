"""What a push endpoint says, and what each kind of error means for the row and for the answer (design §4)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from shared.claims import Sleep
from shared.errors import Deferred, NotReady, PipelineError, TenantBlocked, TransientFailure


@dataclass(frozen=True)
class Answer:
    """What the push endpoint says: an HTTP status, and seconds for `Retry-After` where they are known."""

    status: int
    retry_after_s: float | None = None


BLOCKED_PAUSE = timedelta(minutes=5)
"""How long a blocked run sleeps before the sweeper tries it again, where nobody knows better."""

LONGEST_PAUSE = timedelta(days=1)
"""Whatever a vendor asks for: some hints do not even fit into a date."""
LONGEST_BACKOFF_S = 60.0
"""A vendor that asks for a longer pause gets it by deferral, not by redeliveries."""

ACKNOWLEDGED = Answer(204)
AGAIN = Answer(503)


@dataclass(frozen=True)
class Consequence:
    """How the row is left, and what is answered; no answer means a dead letter."""

    row: Sleep
    answer: Answer | None


def consequence_of(error: PipelineError, *, now: datetime) -> Consequence:
    """The error table, one row after the other."""
    sleep = partial(Sleep, error_code=error.code, error_detail=error.detail, error_fix=error.fix)
    match error:
        case TransientFailure(retry_after_s=pause_s) if pause_s is not None and pause_s > LONGEST_BACKOFF_S:
            return Consequence(sleep("deferred", due_at=now + _pause(pause_s)), ACKNOWLEDGED)
        case TransientFailure(retry_after_s=pause_s):
            return Consequence(sleep("retrying"), Answer(503, retry_after_s=pause_s))
        case NotReady():
            return Consequence(sleep("retrying"), AGAIN)
        case Deferred():
            return Consequence(sleep("deferred", due_at=error.until, vendor=error.vendor), ACKNOWLEDGED)
        case TenantBlocked():
            due_at = error.retry_at or now + BLOCKED_PAUSE
            return Consequence(sleep("blocked", due_at=due_at, vendor=error.vendor), ACKNOWLEDGED)
        case _:
            return Consequence(sleep("failed"), None)


def _pause(seconds: float) -> timedelta:
    return timedelta(seconds=min(seconds, LONGEST_PAUSE.total_seconds()))
