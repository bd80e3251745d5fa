"""What the database knows of one call's way through the pipeline: the facts that `pipeline why` explains.

No personal data: states, times, ids and errors only.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from shared.circuits import Circuit

STAGES = ("download", "transcribe", "analyze", "crm_sync")
"""In the order of a call's way."""
_LETTER_STATES = ("open", "replaying", "discarded", "closed")
"""What matters first."""


@dataclass(frozen=True)
class NextEvent:
    """The event that a finished stage published. `request_id` may name another request than its own."""

    type: str
    request_id: str
    version: int


@dataclass(frozen=True)
class RunFacts:
    """One stage of one request, as `stage_runs` has it; empty strings for what is not there."""

    request_id: str
    stage: str
    state: str
    attempt: int
    worker: str
    lease_until: datetime
    created_at: datetime
    updated_at: datetime
    """Of the last change by a worker: Spanner's clock."""
    due_at: datetime | None = None
    finished_at: datetime | None = None
    vendor: str = ""
    code: str = ""
    detail: str = ""
    fix: str = ""
    operation: str = ""
    """Speech's operation, where one was started."""
    crms_done: tuple[str, ...] = ()
    """CRMs that took the call although the stage is not done."""
    next_event: NextEvent | None = None


@dataclass(frozen=True)
class RequestFacts:
    """One trip of the call through the pipeline."""

    request_id: str
    kind: str
    origin: str
    state: str
    stage: str
    """The one that finished or stopped last, or the first one to begin."""
    received_at: datetime
    updated_at: datetime
    finished_at: datetime | None
    runs: tuple[RunFacts, ...]
    """In the order in which they began."""

    @property
    def last_run(self) -> RunFacts | None:
        return self.runs[-1] if self.runs else None


@dataclass(frozen=True)
class LetterFacts:
    """One dead letter of the call, without its event."""

    dead_letter_id: str
    first_request_id: str
    """The request that was given up."""
    request_id: str
    """The request that a replay goes on with: another one after a re-run from an earlier stage."""
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
    note: str = ""
    """Why it was discarded, or what somebody wrote beside it."""
    kept_until: datetime | None = None


@dataclass(frozen=True)
class SyncFacts:
    """What one CRM holds."""

    provider: str
    person_type: str
    person_id: str
    activity_type: str
    activity_id: str
    synced_at: datetime


@dataclass(frozen=True)
class CallFacts:
    """How far the call's record is."""

    started_at: datetime | None
    recorded: bool
    transcribed: bool
    analyzed: bool
    analysis_failed: bool
    no_audio_reason: str
    intent: str
    lead_score: int | None
    created_at: datetime


@dataclass(frozen=True)
class CallStory:
    """Everything about one call. `tenant_status` is empty where no such tenant exists."""

    tenant_id: str
    call_id: str
    tenant_status: str
    tenant_problem: str = ""
    """What is wrong with the tenant's stored configuration; empty when nothing is."""
    call: CallFacts | None = None
    requests: tuple[RequestFacts, ...] = ()
    """Oldest first."""
    letters: tuple[LetterFacts, ...] = ()
    circuits: tuple[Circuit, ...] = ()
    syncs: tuple[SyncFacts, ...] = ()

    def letter_of(self, request_id: str, stage: str) -> LetterFacts | None:
        """Of several (an edited copy beside its original) the one that is still to be dealt with."""
        found = [letter for letter in self.letters if (letter.request_id, letter.stage) == (request_id, stage)]
        return min(found, key=lambda letter: _LETTER_STATES.index(letter.state), default=None)

    def rerun_of(self, request_id: str, stage: str) -> str:
        """The request that took over after this one was given up; empty when none did."""
        found = (one for one in self.letters if (one.first_request_id, one.stage) == (request_id, stage))
        return next((one.request_id for one in found if one.request_id != request_id), "")

    def circuit_of(self, vendor: str) -> Circuit | None:
        return next((circuit for circuit in self.circuits if vendor and circuit.vendor == vendor), None)


@dataclass(frozen=True)
class CallLine:
    """One line of a list of calls."""

    call: CallFacts
    story: CallStory


@dataclass(frozen=True)
class SchemaGap:
    """Migrations that this release has and the database not (`missing`), and the other way round (`unknown`)."""

    missing: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
