"""The contract between the runner and a stage: what a stage is given, what it returns.

A stage is a function `run(context, deps) -> Completed`. It gathers, decides with pure logic, acts, and returns;
the runner claims before and records and publishes after. A stage raises only errors of `shared.errors`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

from schemas.analysis import CallAnalysis
from schemas.calls import CrmRecord, RecordingFacts
from schemas.events import Event, TranscriptionOutput
from schemas.tenant import Tenant
from schemas.transcript import Transcript
from shared.ports import Clock


class SaveCheckpoint(Protocol):
    """How a stage saves its checkpoint."""

    def __call__(self, checkpoint: Mapping[str, Any], /, *, call_as_of: datetime | None = None) -> None:
        """`call_as_of` is the call's `updated_at` as read: when it has changed, saves nothing and raises `NotReady`."""
        ...


def _agreed() -> None:
    """Where nobody else claims anything."""


@dataclass(frozen=True)
class StageContext:
    """One attempt of one stage of one request."""

    tenant: Tenant
    request_id: str
    call_id: str
    event: Event | TranscriptionOutput
    attempt: int
    """1 for the first."""
    checkpoint: Mapping[str, Any]
    """What an earlier attempt saved; empty at first."""
    save_checkpoint: SaveCheckpoint
    """Replaces the checkpoint durably before it returns. One commit: use it only for what is paid for or visible."""
    now: Clock
    begin_paid: Callable[[], None] = _agreed
    """Call it right before a request that is paid for each time it is sent. Raises `NotReady` when another worker could
    take the claim over before the answer is stored: late in the lease, or once the claims were given back. From then on
    the claim is not given back at a shutdown."""


@dataclass(frozen=True)
class Usage:
    """What the outside will bill for this stage; stored in `usage_ledger` once per request and stage."""

    audio_s: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    model: str = ""


@dataclass(frozen=True)
class CallChanges:
    """What a stage found out about the call. None leaves the stored value as it is; an empty reason clears it."""

    recording: RecordingFacts | None = None
    no_audio_reason: str | None = None
    transcript: Transcript | None = None
    analysis: CallAnalysis | None = None
    analysis_failed: bool = False
    """The call went to the CRM without an analysis; a later analysis clears the mark."""
    crm: tuple[CrmRecord, ...] = ()


@dataclass(frozen=True)
class Completed:
    """A finished stage. The runner writes `changes` and `usage`, then publishes `next_event`."""

    next_event: Event | None
    changes: CallChanges = field(default_factory=CallChanges)
    usage: Usage = field(default_factory=Usage)
    request_state: Literal["active", "done", "not_processed"] = "active"
    call_as_of: datetime | None = None
    """The call's `updated_at` as read, for results that hold only while it is so: changed since, nothing is recorded
    and the stage runs again."""
    received_at: datetime | None = None
    """When the call's webhook arrived, said by the stage after which every CRM holds the call; only to measure."""
