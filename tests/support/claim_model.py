"""What the claim protocol's model check is made of: behaviours, mail, rows, and a store at which workers pause."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.cloud import spanner
from hypothesis import strategies as st

from infra.local.spanner import create_database, drop_database
from schemas.events import CallReceived, CallSynced, Event, RecordingStored, TranscriptionOutput
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
from shared.ports import Clock
from shared.stage import Completed, StageContext
from shared.stage_spec import StageSpec
from tests.support.actors import Actor, current_actor, pause_here
from tests.support.emulators import TEST_INSTANCE, TEST_PROJECT
from tests.support.pipeline_database import OUR_TENANT, PipelineDatabase, pipeline_ddl

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
LEASE = timedelta(seconds=60)
MAX_ATTEMPTS = 3
_REQUESTS = itertools.count(1)
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

    def end_request(self, key: RunKey) -> None:
        pause_here("before end_request")
        super().end_request(key)


def new_call(*, is_last_stage: bool) -> tuple[CallReceived, Completed]:
    """A call nobody has heard of, and how its first stage ends: with another one to follow, or as the last one."""
    number = next(_REQUESTS)
    ids = {
        "tenant_id": OUR_TENANT.tenant_id,
        "request_id": f"r-{os.getpid():08d}{number:08d}",
        "call_id": f"CAL{number}",
    }
    event = CallReceived(**ids, kind="post_call", received_at=datetime.now(UTC), payload={})
    if is_last_stage:
        return event, Completed(CallSynced(**ids), request_state="done")
    return event, Completed(RecordingStored(**ids))


def stage_spec(run: Callable[[StageContext], Completed], now: Clock) -> StageSpec:
    """The first stage, whose work is `run`."""
    return StageSpec(
        name="download",
        accepts=(CallReceived,),
        run=run,
        resume=run,
        admit=lambda _event: Admission("post_call", "webhook", now(), said=None),
        lease=LEASE,
        max_attempts=MAX_ATTEMPTS,
    )


def delivery_of(mail: Mail) -> Delivery:
    data = b"{}" if isinstance(mail.event, TranscriptionOutput) else mail.event.model_dump_json().encode()
    return Delivery("m-1", data, dict(mail.attributes), "projects/p/subscriptions/s")


# -- the database ----------------------------------------------------------------------------------------------


@pytest.fixture
def protocol_database(spanner_emulator: str) -> Iterator[PipelineDatabase]:
    where: dict[str, Any] = {
        "address": spanner_emulator,
        "project_id": TEST_PROJECT,
        "instance_id": TEST_INSTANCE,
        "database_id": f"claims-{os.getpid()}",
    }
    create_database(**where, ddl=pipeline_ddl())
    client = spanner.Client(project=TEST_PROJECT, disable_builtin_metrics=True)
    database = PipelineDatabase(client.instance(TEST_INSTANCE).database(where["database_id"]))
    database.add_tenant(OUR_TENANT)
    yield database
    client.close()
    drop_database(**where)


def rows_of(database: PipelineDatabase, request_ids: Sequence[str]) -> dict[str, Row]:
    """One look at everything. A second ledger row of a run would be a second row here, and fail."""
    ids = ", ".join(f"'{request_id}'" for request_id in request_ids)
    rows = database.rows(
        "SELECT r.request_id, r.state, r.attempt, r.claim_token, r.lease_until, r.due_at, r.next_event,"
        " l.claim_token FROM stage_runs AS r LEFT JOIN usage_ledger AS l ON l.tenant_id = r.tenant_id"
        " AND l.request_id = r.request_id AND l.stage = r.stage"
        f" WHERE r.tenant_id = '{OUR_TENANT.tenant_id}' AND r.request_id IN ({ids})"
    )
    assert len(rows) == len({row[0] for row in rows})
    return {row[0]: Row(*row[1:]) for row in rows}


def request_states(database: PipelineDatabase) -> dict[str, str]:
    """Of every request."""
    tenant_id = OUR_TENANT.tenant_id
    return dict(database.rows(f"SELECT request_id, state FROM processing_requests WHERE tenant_id = '{tenant_id}'"))
