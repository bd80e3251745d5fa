"""Claims: which worker has a stage of a request, until when, and what a delivery may do about it (design §4).

The decision is a pure function of the stored row; the store only carries it out, conditionally.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, NamedTuple, Protocol

from schemas.events import Origin, WebhookKind
from shared.call_merge import Merged
from shared.stage import Completed

RunState = Literal["running", "waiting", "retrying", "deferred", "blocked", "failed", "done"]


class RunKey(NamedTuple):
    """What a claim is about."""

    tenant_id: str
    request_id: str
    stage: str


@dataclass(frozen=True)
class StageRun:
    """The row of `stage_runs`."""

    key: RunKey
    call_id: str
    state: RunState
    attempt: int
    claim_token: str
    lease_until: datetime
    event: str
    """The event that started the stage, as JSON: what a sweep or a replay sends again."""
    due_at: datetime | None = None
    checkpoint: Mapping[str, Any] | None = None
    next_event: str = ""
    error_code: str = ""
    error_detail: str = ""
    error_fix: str = ""
    taken_over: bool = False
    """By this worker, from a sleep or from another worker; no column."""


class CallVersion(NamedTuple):
    """A call as it stood when it was read."""

    call_id: str
    updated_at: datetime


@dataclass(frozen=True)
class NewRun:
    """What the blind insert writes."""

    key: RunKey
    call_id: str
    claim_token: str
    worker: str
    lease_until: datetime
    event: str
    expires_at: datetime
    """When Spanner may remove the request and the call that this run admits."""


@dataclass(frozen=True)
class Admission:
    """What the first stage's claim brings into the database together with its own row.

    `said` is merged into what is stored of the call; None leaves the call as it is.
    """

    kind: WebhookKind | Literal["incomplete"]
    origin: Origin
    received_at: datetime
    said: Merged | None


class Verdict(StrEnum):
    """What to do with a delivery whose row already exists."""

    OURS = "ours"
    TAKE_OVER = "take_over"
    REPEAT_NEXT_EVENT = "repeat_next_event"
    REPEAT_DEAD_LETTER = "repeat_dead_letter"
    BUSY = "busy"
    SLEEPS = "sleeps"


def decide(run: StageRun, *, our_token: str, now: datetime, is_continuation: bool) -> Verdict:
    """Judge a delivery against the row.

    `is_continuation` marks the outside job's own event and the sweeper's: both wake what sleeps.
    """
    if run.claim_token == our_token:
        return Verdict.OURS
    match run.state:
        case "done":
            return Verdict.REPEAT_NEXT_EVENT
        case "failed":
            return Verdict.REPEAT_DEAD_LETTER
        case "retrying":
            return Verdict.TAKE_OVER
        case "running":
            return Verdict.TAKE_OVER if run.lease_until <= now else Verdict.BUSY
        case "waiting":
            return Verdict.TAKE_OVER if is_continuation else Verdict.SLEEPS
        case "deferred" | "blocked":
            is_due = run.due_at is None or run.due_at <= now
            return Verdict.TAKE_OVER if is_due or is_continuation else Verdict.SLEEPS


@dataclass(frozen=True)
class Sleep:
    """How an unfinished attempt leaves its row."""

    state: Literal["waiting", "retrying", "deferred", "blocked", "failed"]
    due_at: datetime | None = None
    checkpoint: Mapping[str, Any] | None = None
    error_code: str = ""
    error_detail: str = ""
    error_fix: str = ""
    vendor: str = ""


class ClaimLost(Exception):
    """Another worker took this run over while we worked: nothing of ours was written."""


def attempt_after(run: StageRun) -> int:
    """The attempt that a takeover begins: a planned sleep is no failed attempt, everything else is one more."""
    return run.attempt if run.state in {"waiting", "deferred", "blocked"} else run.attempt + 1


class RunStore(Protocol):
    """Keeps stage runs. Every method is one commit at most; see each for what it does on a conflict."""

    def insert(self, run: NewRun, admission: Admission | None) -> None:
        """Blind insert: one commit, no read; with a call that other webhooks made known before, a merge.

        Raises `AlreadyThere` when the run exists, `InvalidEvent` when its request or tenant does not.
        """
        ...

    def read(self, key: RunKey) -> StageRun | None:
        """The row, or None. One read."""
        ...

    def take_over(self, run: StageRun, *, claim_token: str, worker: str, lease_until: datetime) -> None:
        """Claim an existing run if it is still as `run` says. Raises `ClaimLost`."""
        ...

    def save_checkpoint(
        self, key: RunKey, claim_token: str, checkpoint: Mapping[str, Any], *, call: CallVersion | None = None
    ) -> None:
        """Replace the checkpoint. Raises `ClaimLost`, and `NotReady` when the call is not as `call` says any more."""
        ...

    def sleep(self, key: RunKey, claim_token: str, sleep: Sleep) -> None:
        """Leave the run unfinished. Raises `ClaimLost`."""
        ...

    def finish(self, run: StageRun, completed: Completed) -> None:
        """Record results, state and next event in one commit.

        Raises `AlreadyThere` when another worker recorded this run first; its results stand. `NotReady` when the call
        is not as `completed.call_as_of` says any more: nothing was recorded. That is one read more.
        """
        ...

    def end_request(self, key: RunKey) -> None:
        """The request is done if it is active still, with this stage as its last one."""
        ...
