"""What the claim protocol's model check is made of: behaviours, mail, rows, and a store at which workers pause."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from schemas.events import Event, TranscriptionOutput
from shared.claims import Admission, CallVersion, NewRun, RunKey, Sleep, StageRun
from shared.deliveries import Delivery
from shared.errors import (
    Deferred,
    InvalidEvent,
    NotReady,
    PermanentFailure,
    TenantBlocked,
    TransientFailure,
    Waiting,
)
from shared.gateways.run_store import SpannerRunStore
from shared.stage import Completed
from tests.support.actors import Actor, current_actor, pause_here
from tests.support.pipeline_database import PipelineDatabase

FAILURES: Mapping[str, Callable[[datetime], Exception]] = {
    "transient": lambda _: TransientFailure("vendor_unavailable", "503"),
    "transient, much later": lambda _: TransientFailure("vendor_throttled", "429", retry_after_s=600),
    "not ready": lambda _: NotReady("recording_not_ready", "soon"),
    "deferred": lambda now: Deferred("daily_quota", "tomorrow", until=now + timedelta(hours=5)),
    "blocked": lambda _: TenantBlocked("token_refused", "401", fix="a new token", vendor="hubspot"),
    "permanent": lambda _: PermanentFailure("not_audio", "a page"),
    "invalid": lambda _: InvalidEvent("webhook_shape", "no id"),
    "bug": lambda _: ValueError("a bug"),
    "waiting": lambda now: Waiting(checkpoint={"operation": "op-1"}, until=now + timedelta(hours=1)),
}
BEHAVIOURS = ("finish", "finish", "finish", "checkpoint, finish", "checkpoint, fail", *FAILURES)
"""Success more often than each failure: what is done must hold against everything else."""
LONGEST_WALK = 8
TO_THE_END = 30
WALKS = st.sampled_from((*range(LONGEST_WALK + 1), TO_THE_END, TO_THE_END, TO_THE_END))
"""Past so many points a worker goes before somebody else has a turn."""


@dataclass
class Mail:
    """A message that Pub/Sub delivers until it is acknowledged, and perhaps again."""

    event: Event | TranscriptionOutput
    attributes: Mapping[str, str]
    acknowledged: bool = False


@dataclass(frozen=True)
class Row:
    """A run as the database has it."""

    state: str
    attempt: int
    token: str
    lease_until: datetime
    due_at: datetime | None
    next_event: str | None
    ledger: str | None
    """The claim token in the ledger; None without a row there."""


@dataclass
class Execution:
    """A worker inside a stage, under a claim that it believes in until `lease_until`."""

    request_id: str
    attempt: int
    lease_until: datetime


class PausingStore(SpannerRunStore):
    """The real store; a worker can be interrupted, or die, before every single commit and read.

    `leases` is told until when each worker may believe in its claim.
    """

    def __init__(self, database: PipelineDatabase, leases: dict[Actor | None, datetime]) -> None:
        super().__init__(database.open, database.vault)
        self._leases = leases

    def insert(self, run: NewRun, admission: Admission | None) -> None:
        pause_here("before insert")
        super().insert(run, admission)
        self._leases[current_actor()] = run.lease_until

    def read(self, key: RunKey) -> StageRun | None:
        pause_here("before read")
        return super().read(key)

    def take_over(self, run: StageRun, *, claim_token: str, worker: str, lease_until: datetime) -> None:
        pause_here("before take_over")
        super().take_over(run, claim_token=claim_token, worker=worker, lease_until=lease_until)
        self._leases[current_actor()] = lease_until

    def save_checkpoint(
        self, key: RunKey, claim_token: str, checkpoint: Mapping[str, Any], *, call: CallVersion | None = None
    ) -> None:
        pause_here("before save_checkpoint")
        super().save_checkpoint(key, claim_token, checkpoint, call=call)

    def sleep(self, key: RunKey, claim_token: str, sleep: Sleep) -> None:
        pause_here("before sleep")
        super().sleep(key, claim_token, sleep)

    def finish(self, run: StageRun, completed: Completed) -> None:
        pause_here("before finish")
        super().finish(run, completed)


def delivery_of(mail: Mail) -> Delivery:
    data = b"{}" if isinstance(mail.event, TranscriptionOutput) else mail.event.model_dump_json().encode()
    return Delivery("m-1", data, dict(mail.attributes), "projects/p/subscriptions/s")
