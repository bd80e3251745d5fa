"""Dead letters: what the message says (the original, plus `dl_*` attributes with the reason) and what is kept of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from shared.deliveries import Delivery
from shared.errors import PipelineError

TOPIC = "dead-letters"
UNASSIGNED_TENANT = "unassigned"
"""Owns what belongs to no single tenant: letters whose tenant cannot be told, and replays across tenants."""

KEPT = timedelta(days=400)
"""How long a letter is kept after its last failure."""
KEPT_DISCARDED = timedelta(days=30)
"""How long a discarded letter can be restored; then Spanner removes it, and the caller's data with it."""

LetterState = Literal["open", "replaying", "closed", "discarded"]
LETTER_STATES: tuple[LetterState, ...] = ("open", "replaying", "closed", "discarded")
Source = Literal["runner", "pubsub"]

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


def source_of(attributes: Mapping[str, str]) -> Source:
    """`runner` when a stage gave up, `pubsub` when the subscription's dead-letter policy did."""
    return "runner" if "dl_reason" in attributes else "pubsub"


def letter_id(subject: str, *, prefix: str = "d") -> str:
    """`d-…` for a failure, `e-…` for an edited copy: derived, so that the same thing twice is one letter."""
    return f"{prefix}-{hashlib.sha256(subject.encode()).hexdigest()[:32]}"


# --- what is kept -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DeadLetter:
    """One row, without the event's body."""

    tenant_id: str
    dead_letter_id: str
    request_id: str
    """The request that was given up first."""
    call_id: str
    stage: str
    state: LetterState
    reason: str
    """Why it was given up; `error_code` is what the stage itself said last."""
    detail: str
    fix: str
    attempts: int
    occurrences: int
    replays: int
    created_at: datetime
    updated_at: datetime
    current_request_id: str
    """The request that a replay goes on with: another one after a re-run from an earlier stage."""
    error_code: str | None = None
    run_state: str | None = None
    failed_at: datetime | None = None
    replayed_at: datetime | None = None
    replayed_by: str | None = None
    closed_at: datetime | None = None
    note: str | None = None
    discard_reason: str | None = None
    copy_of: str | None = None
    kept_until: datetime | None = None
    has_topic: bool = True
    """Whether anybody knows where the message belongs; without it, nothing can be sent again."""

    @property
    def restorable_until(self) -> datetime | None:
        """Until when a discarded letter can be restored; None for every other."""
        return self.kept_until if self.state == "discarded" else None


@dataclass(frozen=True)
class DeadLetterBody:
    """What was given up: the original message and where it came from."""

    letter: DeadLetter
    topic: str
    event: str
    attributes: Mapping[str, str]


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
    message_id: str
    """Pub/Sub's own id: the same in the recorder's subscription and in the archive's."""
    published_at: datetime | None
    source: Source


@dataclass(frozen=True)
class KnownLetter:
    """A row that a new failure may belong to."""

    dead_letter_id: str
    request_id: str
    current_request_id: str | None
    stage: str
    state: LetterState
    failed_at: datetime | None
    replayed_at: datetime | None
    closed_at: datetime | None
    replayed_by: str | None
    is_known: bool
    """Whether this very message was recorded before."""

    @property
    def is_rerun(self) -> bool:
        return self.current_request_id not in {None, self.request_id}


def letter_for(failure: NewDeadLetter, known: Sequence[KnownLetter]) -> KnownLetter | None:
    """The letter that a failure belongs to, of those with its id or its request; None when it is a new one.

    A letter being replayed takes the failure of its stage, an edited copy before its original; a letter that was re-run
    from an earlier stage follows the new request, wherever that fails.
    """
    same_stage = [one for one in known if one.stage == failure.stage and one.state == "replaying"]
    reruns = [one for one in known if one.is_rerun and one.current_request_id == failure.request_id]
    same_id = [one for one in known if one.dead_letter_id == failure.dead_letter_id]
    return next(iter([*same_stage, *reruns, *same_id]), None)


def is_news(failure: NewDeadLetter, letter: KnownLetter) -> bool:
    """Whether the failure happened after all that is known of the letter: late messages must not reopen it."""
    if failure.published_at is None:
        return True
    moments = (letter.failed_at, letter.replayed_at, letter.closed_at)
    return all(moment is None or failure.published_at > moment for moment in moments)


@dataclass(frozen=True)
class AuditEntry:
    """Who did what to what, and what came of it."""

    actor: str
    action: str
    target: str
    detail: Mapping[str, Any]
    outcome: str = "done"


# --- what is asked ------------------------------------------------------------------------------------

Sort = Literal["newest", "oldest", "attempts", "replays", "occurrences"]
SORTS: tuple[Sort, ...] = ("newest", "oldest", "attempts", "replays", "occurrences")


@dataclass(frozen=True)
class LetterFilter:
    """Which letters. None and empty mean any; `tenant_id` None means all tenants."""

    tenant_id: str | None = None
    states: tuple[LetterState, ...] = ("open",)
    stage: str | None = None
    reason: str | None = None
    error_code: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    text: str | None = None
    """Found in ids, reason, detail, fix, last error or note; capitals do not matter."""
    ids: tuple[str, ...] = ()
    sort: Sort = "newest"
    limit: int = 100


@dataclass(frozen=True)
class LetterGroup:
    """Letters of one tenant with the same stage and reason."""

    tenant_id: str
    stage: str
    reason: str
    letters: int
    occurrences: int
    replays: int
    oldest: datetime
    newest: datetime
    detail: str
    """Of the newest letter, as an example."""
    fix: str


@dataclass(frozen=True)
class Failure:
    """One message that was recorded for a letter."""

    message_id: str
    stage: str
    reason: str
    detail: str
    fix: str
    attempts: int
    source: Source
    published_at: datetime | None
    recorded_at: datetime


@dataclass(frozen=True)
class RequestLine:
    """A request that a letter belongs to."""

    request_id: str
    kind: str
    origin: str
    state: str
    stage: str
    received_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True)
class RunLine:
    """One stage of such a request."""

    request_id: str
    stage: str
    state: str
    attempt: int
    worker: str
    error_code: str | None
    error_detail: str | None
    error_fix: str | None
    due_at: datetime | None
    checkpoint: Mapping[str, Any]
    started_at: datetime
    updated_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True)
class HistoryLine:
    """One line of the audit log about a letter."""

    at: datetime
    actor: str
    action: str
    note: str | None
    outcome: str
    detail: Mapping[str, Any]


@dataclass(frozen=True)
class ReplayLine:
    """A letter's part in one replay."""

    job_id: str
    state: str
    reason: str | None
    replay_number: int | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class StateCount:
    """How many letters of one tenant are in a state."""

    state: LetterState
    letters: int
    oldest: datetime
    replays: int
    created_lately: int
    closed_lately: int


@dataclass(frozen=True)
class UsageAverage:
    """What one stage used on average, with one model, in `calls` finished calls."""

    stage: str
    model: str
    calls: int
    audio_s: float
    input_tokens: float
    output_tokens: float
