"""What the dead-letter desk needs from the outside: its tables and the archive of raw messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from shared.dead_letters import (
    AuditEntry,
    DeadLetter,
    DeadLetterBody,
    Failure,
    HistoryLine,
    LetterFilter,
    LetterGroup,
    LetterState,
    NewDeadLetter,
    ReplayLine,
    RequestLine,
    RunLine,
    StateCount,
    UsageAverage,
)
from shared.deliveries import Delivery
from shared.desk_jobs import ItemState, JobState, ReplayItem, ReplayJob, ReplayStart, SentItem
from shared.desk_pace import LiveTime


class LetterRecords(Protocol):
    """Changes letters; every method takes the tenant, alone or inside its argument."""

    def record(self, letter: NewDeadLetter) -> None:
        """Insert, or note once more where the same work was given up before; the same message twice is recorded once.

        Raises `InvalidEvent` when the tenant does not exist.
        """
        ...

    def ensure_unassigned_tenant(self) -> None:
        """Create the owner of what belongs to nobody; harmless when it is there."""
        ...

    def knows(self, letter: NewDeadLetter) -> bool:
        """Whether this message was recorded."""
        ...

    def discard(self, letter: DeadLetter, reason: str, audit: AuditEntry, *, kept_until: datetime) -> bool:
        """Give the letter up, with a reason; False when it is not open."""
        ...

    def restore(self, letter: DeadLetter, audit: AuditEntry, *, now: datetime, kept_until: datetime) -> bool:
        """Open a discarded letter again; False when it is not discarded or its time is over."""
        ...

    def note(self, letter: DeadLetter, text: str, audit: AuditEntry) -> bool:
        """Replace the letter's note; False when there is no such letter."""
        ...

    def close_arrived(self, tenant_id: str, *, limit: int) -> int:
        """Close letters that wait for nothing any more, each with its line in the audit log; returns how many."""
        ...

    def insert_copy(self, body: DeadLetterBody, audit: AuditEntry) -> bool:
        """Insert a whole letter; False when its id is taken."""
        ...

    def replace_with_copy(self, copy: DeadLetterBody, audit: AuditEntry, *, kept_until: datetime) -> bool:
        """Insert an edited copy and discard the open letter it stands for (`copy_of`), which is kept so long.

        False when that is not open, or the copy exists.
        """
        ...


class LetterReads(Protocol):
    """Looks at letters, one tenant at a time; only `tenants_with_letters` looks across."""

    def tenants_with_letters(self, states: Sequence[LetterState]) -> list[str]: ...

    def list_letters(self, tenant_id: str, wanted: LetterFilter) -> list[DeadLetter]: ...

    def group_letters(self, tenant_id: str, wanted: LetterFilter) -> list[LetterGroup]: ...

    def read(self, tenant_id: str, dead_letter_id: str) -> DeadLetterBody | None: ...

    def failures(self, tenant_id: str, dead_letter_id: str) -> list[Failure]:
        """Oldest first."""
        ...

    def requests(self, tenant_id: str, request_ids: Sequence[str]) -> list[RequestLine]: ...

    def runs(self, tenant_id: str, request_ids: Sequence[str]) -> list[RunLine]:
        """Every stage of the requests, oldest first."""
        ...

    def history(self, tenant_id: str, target: str) -> list[HistoryLine]:
        """What the audit log says of a letter, oldest first."""
        ...

    def replays_of(self, tenant_id: str, dead_letter_id: str) -> list[ReplayLine]: ...

    def event_of_stage(self, tenant_id: str, request_id: str, stage: str) -> str | None:
        """The event that started a stage of a request; None when the request never came there."""
        ...

    def counts(self, tenant_id: str, *, since: datetime) -> list[StateCount]: ...

    def replay_outcomes(self, tenant_id: str) -> Mapping[str, int]:
        """How many letters of all replays are in each state of a replay."""
        ...

    def usage_averages(self, tenant_id: str, *, since: datetime) -> list[UsageAverage]: ...


class ReplayJobs(Protocol):
    """Keeps replay jobs and their items."""

    def create_job(self, job: ReplayJob, items: Sequence[ReplayItem], audit: AuditEntry) -> None: ...

    def find_job(self, job_id: str) -> ReplayJob | None: ...

    def recent_jobs(self, *, limit: int) -> list[ReplayJob]:
        """Newest first."""
        ...

    def items(self, job: ReplayJob) -> list[ReplayItem]:
        """By position."""
        ...

    def item_counts(self, job: ReplayJob) -> Counter[tuple[ItemState, str]]:
        """How many of the job's items are in each state, by the reason that was noted, empty for none."""
        ...

    def live_times(self, *, received_after: datetime, ended_after: datetime) -> list[LiveTime]:
        """Calls of all active tenants that came by webhook and are done, the latest thousand."""
        ...

    def take_job(self, job: ReplayJob, *, lock_token: str, lease_s: int) -> bool:
        """Lock the job for one process; False when another holds it or it is finished."""
        ...

    def renew_job(self, job: ReplayJob, *, lock_token: str, lease_s: int, judged_steps: int) -> bool:
        """Keep the lock and note progress; False when the job was stopped or taken by another."""
        ...

    def leave_job(
        self,
        job: ReplayJob,
        *,
        lock_token: str,
        state: JobState,
        stop_reason: str,
        judged_steps: int,
        audit: AuditEntry,
    ) -> None:
        """Unlock it, saying how it stands; nothing happens when the lock is lost."""
        ...

    def stop_job(self, job: ReplayJob, *, reason: str, audit: AuditEntry) -> bool:
        """Ask the process that runs the job to stop; False when it does not run."""
        ...

    def start_replay(self, start: ReplayStart) -> bool:
        """Mark the letter and its item, reopen the run or open the re-run, and write the audit log.

        False when the letter is not as `start.letter` says: somebody was faster.
        """
        ...

    def mark_items(self, job: ReplayJob, items: Sequence[ReplayItem]) -> None:
        """Write the items' states: only the process that holds the job, or an outcome that anybody would see."""
        ...

    def look_at_sent(self, job: ReplayJob) -> list[SentItem]:
        """Every item that was sent and has no final outcome yet, by position."""
        ...


class DeadLetterStore(LetterRecords, LetterReads, ReplayJobs, Protocol):
    """Everything that the desk keeps."""


@dataclass(frozen=True)
class ArchivedMessage:
    """A message of the archive. `ack_id` takes it out once it is recorded."""

    ack_id: str
    delivery: Delivery


class Archive(Protocol):
    """The second subscription of the dead-letter topic: every message, for 31 days, until somebody takes it."""

    def pull(self, *, limit: int) -> list[ArchivedMessage]:
        """Up to `limit` messages; none when the archive seems empty. Raises `TransientFailure`."""
        ...

    def acknowledge(self, ack_ids: Sequence[str]) -> None:
        """Take messages out. Raises `TransientFailure`; they then come again."""
        ...
