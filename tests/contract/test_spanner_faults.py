"""Spanner cut, frozen, silent, without our sessions, aborting, or with another schema: our errors in time, no loss.

All connections go through a proxy to the real emulator; the bounds are the production's, made shorter.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Any

import pytest
from google.cloud.spanner_v1.database import Database

from schemas.calls import CallDetails
from shared.call_merge import Merged
from shared.circuits import Circuit
from shared.claims import Admission, NewRun, RunKey, Sleep, StageRun
from shared.dead_letters import AuditEntry, DeadLetter, NewDeadLetter
from shared.errors import AlreadyThere, InvalidEvent, TransientFailure
from shared.gateways import database as bounds
from shared.gateways.call_merger import SpannerCallMerger
from shared.gateways.calls import SpannerCalls
from shared.gateways.circuit_store import SpannerCircuits
from shared.gateways.database import OpenDatabase, database_opener
from shared.gateways.dead_letter_store import SpannerDeadLetters
from shared.gateways.run_store import SpannerRunStore
from shared.gateways.sweep_store import SpannerSweepStore
from shared.gateways.tenants import SpannerTenantDirectory
from shared.stage import Completed
from shared.sweeper import OverdueRun, StuckRequest
from tests.support.emulators import TEST_INSTANCE, TEST_PROJECT
from tests.support.pipeline_database import OUR_TENANT, PipelineDatabase
from tests.support.ports import NOON
from tests.support.proxy import Proxy, proxy_to
from tests.support.waiting import eventually

pytestmark = pytest.mark.emulators

READ_S, REQUEST_S, COMMIT_S, TRANSACTION_S = 1.0, 1.0, 1.5, 2.0
SLACK_S = 4.0
"""For a busy machine; far below the client's own patience (30 s for a request, an hour for a commit)."""

TENANT = OUR_TENANT.tenant_id
CALL = "CAL019aa0c4d1f07b2e9c3d5a6f70819203"
DETAILS = CallDetails(call_id=CALL, direction="inbound", answered=True)
ADMISSION = Admission("post_call", "webhook", NOON, said=Merged(DETAILS, {}))


def key_of(name: str) -> RunKey:
    return RunKey(TENANT, f"r-{name}".ljust(12, "0"), "download")


def new_run(name: str) -> NewRun:
    return NewRun(key_of(name), CALL, f"token-{name}", "test", NOON + timedelta(minutes=1), event="{}")


@dataclass
class Reach:
    """The database behind a proxy, opened as a worker opens it."""

    proxy: Proxy
    direct: PipelineDatabase
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(10_000)))

    @cached_property
    def open(self) -> OpenDatabase:
        return database_opener(
            project_id=TEST_PROJECT, instance_id=TEST_INSTANCE, database_id=self.direct.database.database_id
        )

    @property
    def runs(self) -> SpannerRunStore:
        return SpannerRunStore(self.open)

    def claimed(self) -> StageRun:
        """A fresh run of a fresh request."""
        name = f"run-{next(self.numbers)}"
        self.runs.insert(new_run(name), ADMISSION)
        run = self.runs.read(key_of(name))
        assert run is not None
        return run

    def delete_sessions(self) -> None:
        """What Spanner does with sessions that grow too old, or that somebody deletes."""
        database: Database = self.direct.database
        for session in database.spanner_api.list_sessions(database=database.name):
            database.spanner_api.delete_session(name=session.name)


@pytest.fixture
def reach(
    pipeline_database: PipelineDatabase, spanner_emulator: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Reach]:
    monkeypatch.setattr(bounds, "READ_TIMEOUT_S", READ_S)
    monkeypatch.setattr(bounds, "REQUEST_TIMEOUT_S", REQUEST_S)
    monkeypatch.setattr(bounds, "COMMIT_TIMEOUT_S", COMMIT_S)
    monkeypatch.setattr(bounds, "TRANSACTION_TIMEOUT_S", TRANSACTION_S)
    with proxy_to(spanner_emulator) as proxy:
        monkeypatch.setenv("SPANNER_EMULATOR_HOST", proxy.address)
        yield Reach(proxy, pipeline_database)


# -- every method of every store ---------------------------------------------------------------------------

LETTER = NewDeadLetter(TENANT, "d-1", "", CALL, "download", "reason", "detail", "", 1, "call-received", "{}", {})
KEPT_LETTER = DeadLetter(TENANT, "d-1", "", CALL, "download", "open", "reason", "detail", "", 1, 1, 0, NOON, NOON)
AUDIT = AuditEntry("test", "test", "d-1", {})
CIRCUIT = Circuit(TENANT, "hubspot", "blocked", 3, NOON)
OVERDUE = OverdueRun("r-00000001", "download", "retrying", "{}", None, NOON)
STUCK = StuckRequest("r-00000001", "download", "{}", NOON)

Method = tuple[float, Callable[[Reach, StageRun], object]]
"""Its bound in seconds, and how it is called with a run of ours."""


def _fresh_insert(reach: Reach, _run: StageRun) -> None:
    reach.runs.insert(new_run(f"new-{next(reach.numbers)}"), None if reach is None else ADMISSION)


METHODS: dict[str, Method] = {
    "runs.insert": (COMMIT_S, _fresh_insert),
    "runs.read": (READ_S, lambda reach, run: reach.runs.read(run.key)),
    "runs.take_over": (
        TRANSACTION_S,
        lambda reach, run: reach.runs.take_over(run, claim_token=run.claim_token, worker="w", lease_until=NOON),
    ),
    "runs.save_checkpoint": (
        TRANSACTION_S,
        lambda reach, run: reach.runs.save_checkpoint(run.key, run.claim_token, {"a": 1}),
    ),
    "runs.sleep": (
        TRANSACTION_S,
        lambda reach, run: reach.runs.sleep(run.key, run.claim_token, Sleep("retrying")),
    ),
    "runs.finish": (COMMIT_S, lambda reach, run: reach.runs.finish(run, Completed(next_event=None))),
    "calls.get": (READ_S, lambda reach, _: SpannerCalls(reach.open).get(TENANT, CALL)),
    "calls.list_recent": (READ_S, lambda reach, _: SpannerCalls(reach.open).list_recent(TENANT, limit=1)),
    "calls.story": (READ_S, lambda reach, _: SpannerCalls(reach.open).story(TENANT, CALL)),
    "merger.merge": (
        TRANSACTION_S,
        lambda reach, _: SpannerCallMerger(reach.open).merge(TENANT, Merged(DETAILS, {}), now=NOON),
    ),
    "sweep.tenants": (READ_S, lambda reach, _: SpannerSweepStore(reach.open).tenants()),
    "sweep.overdue": (
        READ_S,
        lambda reach, _: SpannerSweepStore(reach.open).overdue(TENANT, now=NOON, stale_before=NOON, limit=1),
    ),
    "sweep.blocked_by_suspension": (
        READ_S,
        lambda reach, _: SpannerSweepStore(reach.open).blocked_by_suspension(TENANT, limit=1),
    ),
    "sweep.stuck": (
        READ_S,
        lambda reach, _: SpannerSweepStore(reach.open).stuck(TENANT, stale_before=NOON, limit=1),
    ),
    "sweep.postpone": (
        TRANSACTION_S,
        lambda reach, _: SpannerSweepStore(reach.open).postpone(TENANT, OVERDUE, next_due=NOON),
    ),
    "sweep.touch": (TRANSACTION_S, lambda reach, _: SpannerSweepStore(reach.open).touch(TENANT, STUCK)),
    "circuits.read": (READ_S, lambda reach, _: SpannerCircuits(reach.open).read(TENANT, "hubspot")),
    "circuits.read_all": (READ_S, lambda reach, _: SpannerCircuits(reach.open).read_all(TENANT)),
    "circuits.write": (COMMIT_S, lambda reach, _: SpannerCircuits(reach.open).write(CIRCUIT)),
    "circuits.claim_probe": (
        TRANSACTION_S,
        lambda reach, _: SpannerCircuits(reach.open).claim_probe(CIRCUIT, next_probe_at=NOON),
    ),
    "circuits.close": (TRANSACTION_S, lambda reach, _: SpannerCircuits(reach.open).close(TENANT, "hubspot", now=NOON)),
    "letters.record": (COMMIT_S, lambda reach, _: SpannerDeadLetters(reach.open).record(LETTER)),
    "letters.ensure_unassigned_tenant": (
        COMMIT_S,
        lambda reach, _: SpannerDeadLetters(reach.open).ensure_unassigned_tenant(),
    ),
    "letters.read": (READ_S, lambda reach, _: SpannerDeadLetters(reach.open).read(TENANT, "d-1")),
    "letters.discard": (
        TRANSACTION_S,
        lambda reach, _: SpannerDeadLetters(reach.open).discard(KEPT_LETTER, "why", AUDIT),
    ),
    "tenants.by_id": (
        READ_S,
        lambda reach, _: SpannerTenantDirectory(reach.open, ttl_s=1, negative_ttl_s=1).by_id(TENANT),
    ),
}


def ended_as(work: Callable[[], object]) -> tuple[str, float]:
    """How a call ended, and after how many seconds."""
    begun = time.monotonic()
    try:
        work()
    except (TransientFailure, InvalidEvent) as error:
        return error.code, time.monotonic() - begun
    return "done", time.monotonic() - begun


def all_at_once(reach: Reach) -> dict[str, tuple[str, float]]:
    """Every method in a thread of its own, as the threads of a busy worker; what is not ours fails the test."""
    runs = {name: reach.claimed() for name in METHODS} if reach.proxy.is_open else reach_runs(reach)
    with ThreadPoolExecutor(max_workers=len(METHODS)) as pool:
        calls = {
            name: pool.submit(ended_as, lambda call=call, name=name: call(reach, runs[name]))  # type: ignore[misc] # bound per loop
            for name, (_, call) in METHODS.items()
        }
    return {name: call.result() for name, call in calls.items()}
