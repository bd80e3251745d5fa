"""Replay jobs: what an operator asked for, one item for each letter, and how the outcome of an item is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from pydantic import Field

from schemas.base import Contract
from shared.dead_letters import AuditEntry, DeadLetter
from shared.errors import ConfigurationError

JobState = Literal["waiting", "running", "stopped", "finished"]
ItemState = Literal["pending", "sent", "skipped", "arrived", "failed", "parked"]

STALLED_AFTER = timedelta(hours=1)
"""A replay without any outcome for so long may be begun anew: its message is lost, or its job died."""
DEFAULT_MAX_REPLAYS = 3
DEFAULT_RATE = 10.0
"""Messages a second: below what the slowest stage takes beside its live calls (docs/operations/dead-letters.md)."""

MOST_A_SECOND = 1000.0

DEFAULT_SLOWDOWN = 0.1

ENDED = frozenset({"done", "not_processed"})
"""States of a request whose call is where it was to go."""
LEASE_S = 60
"""How long a job stays locked after its process died."""
LOOK_EVERY_S = 1.0
"""How often outcomes are looked at and the lock is renewed: far below the lease, and a stop is noticed so soon."""
PAUSE_AFTER_TROUBLE_S = 5.0
"""Before the next try, when the database or Pub/Sub did not answer."""
LOOK_SHARE = 0.05
"""Looking takes this share of the time at most: the database is the live calls', and with thousands of letters on the
way a look is no longer small."""
LONGEST_LOOK_APART_S = LEASE_S / 4


class ReplayOptions(Contract):
    """How to replay; stored with the job, so that a resumed job goes on the same way."""

    rate: float = Field(default=DEFAULT_RATE, gt=0, le=MOST_A_SECOND)
    """At most this many messages a second."""
    max_slowdown: float = Field(default=DEFAULT_SLOWDOWN, ge=0, le=10)
    """By what share of it the live calls' 95th percentile may rise; 0: live calls are not looked at."""
    steps: tuple[int, ...] = ()
    """Sizes of growing steps; the last one is repeated. Empty: everything in one."""
    max_failures: float = Field(default=0.2, ge=0, le=1)
    """The share of new failures among a step's outcomes above which the job stops by itself."""
    from_stage: str | None = None
    """Run the call again from this earlier stage, as a new request."""
    max_replays: int = Field(default=DEFAULT_MAX_REPLAYS, ge=1)
    """The loop guard: a letter that was replayed so often is left where it is."""
    is_forced: bool = False
    """Replay in spite of the loop guard."""
    wait_s: float = Field(default=300.0, ge=0)
    """How long to wait for the outcomes of a step."""


class JobSelection(Contract):
    """What was selected, for whoever looks at the job later."""

    words: str
    """The filter or the ids, as a person would say it."""
    held: tuple[str, ...] = ()
    """Tenants that were held back."""
    left_out: dict[str, int] = Field(default_factory=dict)
    """Letters that were not taken, by reason."""


@dataclass(frozen=True)
class ReplayJob:
    """The row of `replay_jobs`."""

    owner: str
    """The tenant whose job it is; `unassigned` when it reaches across tenants."""
    job_id: str
    state: JobState
    actor: str
    selection: JobSelection
    options: ReplayOptions
    tenants: tuple[str, ...]
    total: int
    judged_steps: int
    stop_reason: str
    is_locked: bool
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True)
class ReplayItem:
    """The row of `replay_items`."""

    tenant_id: str
    dead_letter_id: str
    position: int
    state: ItemState
    reason: str | None = None
    replay_number: int | None = None
    """Which replay of its letter this was; 1 for the first."""


@dataclass(frozen=True)
class SentItem:
    """A look at an item that was sent: how its letter, its stage and its request stand.

    `run_state` is of the stage that the letter is about, `rest_state` of the stage in which the request sleeps now
    (`waiting`, `deferred` or `blocked`), the letter's own or a later one; None while it does not.
    """

    tenant_id: str
    dead_letter_id: str
    position: int
    state: ItemState
    """As last noted: `sent`, or `parked`, which may still arrive or fail."""
    replay_number: int
    letter_state: str
    letter_replays: int
    run_state: str | None
    request_state: str | None
    rest_state: str | None
    is_untouched: bool
    """Whether no worker has taken the message yet, as far as the rows tell."""


def outcome_of(sent: SentItem) -> ItemState | None:
    """What became of it; None while nobody can tell.

    `arrived` means the whole call: a stage that succeeds and hands its call on to the next failure has saved nobody.
    `parked` means that the call sleeps for a reason that is none of ours (a blocked tenant, a spent quota, Speech's
    queue after the letter's own stage) and goes on by itself: neither a success nor a failure.
    """
    if sent.request_state in ENDED or (sent.letter_state == "closed" and sent.request_state is None):
        return "arrived"
    if sent.run_state == "failed" or sent.request_state == "failed":
        return "failed"  # its new dead letter may not be recorded yet
    if sent.run_state != "done" and (
        sent.letter_replays > sent.replay_number or sent.letter_state in {"open", "discarded"}
    ):
        return "failed"
    if sent.rest_state in {"blocked", "deferred"} or (sent.rest_state == "waiting" and sent.run_state == "done"):
        return "parked"
    return None


def step_sizes(total: int, steps: Sequence[int]) -> list[int]:
    """The sizes of all steps: as given, then the last one again and again; all at once without any."""
    if not steps:
        return [total] if total else []
    sizes: list[int] = []
    left = total
    while left > 0:
        sizes.append(min(steps[min(len(sizes), len(steps) - 1)], left))
        left -= sizes[-1]
    return sizes


def failure_share(counts: Mapping[str, int]) -> float:
    """New failures among the outcomes; parked letters are neither."""
    settled = counts.get("arrived", 0) + counts.get("failed", 0)
    return counts.get("failed", 0) / settled if settled else 0.0


def pause_after_look(took_s: float) -> float:
    """Seconds until the next look, after one that took so long."""
    return min(max(LOOK_EVERY_S, took_s / LOOK_SHARE), LONGEST_LOOK_APART_S)


def not_free(job: ReplayJob) -> ConfigurationError:
    """Why a job cannot be begun or resumed now."""
    if job.state == "finished":
        what, fix = "is finished", "replay what remains as a new one: pipeline dead-letters replay"
    else:
        what = f"is running somewhere else, or its process died less than {LEASE_S} s ago"
        fix = f"pipeline dead-letters jobs; where nothing moves, resume it after {LEASE_S} s"
    return ConfigurationError("replay_not_free", f"replay {job.job_id} {what}", fix=fix)


@dataclass(frozen=True)
class Progress:
    """How far a running job is; `step` counts from 1."""

    total: int
    counts: Counter[str]
    step: int
    steps: int
    rate: float
    """Messages a second, now."""


@dataclass(frozen=True)
class JobReport:
    """How a job stands. `counts` are its items by state; `reasons` say why items were skipped."""

    job_id: str
    state: JobState | Literal["interrupted"]
    """`interrupted`: it counts as running, and the process that ran it has died."""
    stop_reason: str
    actor: str
    words: str
    """What was selected."""
    begun_at: datetime
    total: int
    counts: Mapping[str, int]
    reasons: Mapping[str, int]
    left_out: Mapping[str, int]
    waited_for: bool = True
    """Whether the outcomes were waited for; without, a letter that was sent is as good as gone."""

    @classmethod
    def of(cls, job: ReplayJob, items: Mapping[tuple[ItemState, str], int]) -> JobReport:
        """`items`: how many are in each state, by reason."""
        counts: Counter[str] = Counter()
        reasons: Counter[str] = Counter()
        for (state, reason), letters in items.items():
            counts[state] += letters
            if state == "skipped":
                reasons[reason] += letters
        return cls(
            job_id=job.job_id,
            state="interrupted" if job.state == "running" and not job.is_locked else job.state,
            stop_reason=job.stop_reason,
            actor=job.actor,
            words=job.selection.words,
            begun_at=job.created_at,
            total=job.total,
            counts=dict(counts),
            reasons=dict(reasons),
            left_out=job.selection.left_out,
            waited_for=job.options.wait_s > 0,
        )

    @property
    def remaining(self) -> int:
        """Selected letters that are not known to have arrived; letters that had arrived before do not count."""
        settled = self.counts.get("arrived", 0) + self.reasons.get("closed", 0)
        if not self.waited_for:
            settled += self.counts.get("sent", 0)
        left_out = sum(count for reason, count in self.left_out.items() if reason != "closed")
        return self.total - settled + left_out

    def document(self) -> dict[str, object]:
        """For `--json`."""
        return {
            "job_id": self.job_id,
            "state": self.state,
            "stop_reason": self.stop_reason,
            "actor": self.actor,
            "selection": self.words,
            "begun_at": self.begun_at.isoformat(),
            "total": self.total,
            "counts": dict(self.counts),
            "skipped": dict(self.reasons),
            "left_out": dict(self.left_out),
            "remaining": self.remaining,
        }


@dataclass(frozen=True)
class ReplayStart:
    """What one replay of one letter writes, all of it in one commit or none.

    `request_id` is what the message speaks of. It differs from the letter's for a re-run, whose request is then opened
    at `stage`; the first stage opens its request itself, as for any new call.
    """

    letter: DeadLetter
    job_id: str
    request_id: str
    stage: str
    opens_request: bool
    edited_event: str | None
    """An edited copy's event, which then replaces the one that the run keeps."""
    stalled_before: datetime
    audit: AuditEntry
