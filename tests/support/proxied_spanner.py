"""The Spanner emulator behind a proxy that can break, and every method of every store that speaks to it."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property

import pytest
from google.cloud.spanner_v1.database import Database

from schemas.calls import CallDetails
from shared.call_merge import Merged
from shared.circuits import Circuit
from shared.claims import Admission, NewRun, RunKey, Sleep, StageRun
from shared.dead_letters import NewDeadLetter
from shared.errors import AlreadyThere
from shared.gateways import database as bounds
from shared.gateways.call_merger import SpannerCallMerger
from shared.gateways.calls import SpannerCalls
from shared.gateways.circuit_store import SpannerCircuits
from shared.gateways.database import OpenDatabase, database_opener
from shared.gateways.dead_letter_store import SpannerDeadLetters
from shared.gateways.run_store import SpannerRunStore
from shared.gateways.sweep_store import SpannerSweepStore
from shared.gateways.tenants import SpannerTenantDirectory
from shared.gateways.vault import Vault
from shared.stage import Completed
from shared.sweeper import OverdueRun, StuckRequest
from tests.support.emulators import TEST_INSTANCE, TEST_PROJECT
from tests.support.keys import key_maker
from tests.support.pipeline_database import OUR_TENANT, PipelineDatabase
from tests.support.ports import NOON
from tests.support.proxy import Proxy, proxy_to

READ_S, REQUEST_S, COMMIT_S, TRANSACTION_S = 1.0, 1.0, 1.5, 2.0
"""The production's bounds (10, 10, 20, 30), made shorter."""
SLACK_S = 4.0
"""For a busy machine; far below the client's own patience (30 s for a request, an hour for a commit)."""

TENANT = OUR_TENANT.tenant_id
CALL = "CAL019aa0c4d1f07b2e9c3d5a6f7081ffff"
DETAILS = CallDetails(call_id=CALL, direction="inbound", answered=True)
ADMISSION = Admission("post_call", "webhook", NOON, said=None)


def key_of(name: str) -> RunKey:
    return RunKey(TENANT, f"r-{name}".ljust(12, "0"), "download")


def new_run(name: str) -> NewRun:
    return NewRun(
        key_of(name),
        CALL,
        f"token-{name}",
        "test",
        NOON + timedelta(minutes=1),
        event="{}",
        expires_at=NOON + timedelta(days=760),
    )


@dataclass
class Reach:
    """The database behind a proxy, opened as a worker opens it."""

    proxy: Proxy
    direct: PipelineDatabase
    numbers: Iterator[int] = field(default_factory=itertools.count)

    @cached_property
    def open(self) -> OpenDatabase:
        return database_opener(
            project_id=TEST_PROJECT, instance_id=TEST_INSTANCE, database_id=self.direct.database.database_id
        )

    @cached_property
    def vault(self) -> Vault:
        return Vault(self.open, key_maker())

    @property
    def runs(self) -> SpannerRunStore:
        return SpannerRunStore(self.open, self.vault)

    def claimed(self) -> StageRun:
        """A fresh run of a fresh request."""
        name = f"run-{next(self.numbers)}"
        with contextlib.suppress(AlreadyThere):  # the client may repeat a commit whose answer was lost
            self.runs.insert(new_run(name), ADMISSION)
        run = self.runs.read(key_of(name))
        assert run is not None
        return run

    def delete_sessions(self) -> None:
        """What Spanner does with sessions that grow too old, or that somebody deletes."""
        database: Database = self.direct.database
        for session in database.spanner_api.list_sessions(database=database.name):
            database.spanner_api.delete_session(name=session.name)


@contextmanager
def reached(direct: PipelineDatabase, emulator: str) -> Iterator[Reach]:
    """The database through a proxy to `emulator` while the block runs."""
    with pytest.MonkeyPatch.context() as patch, proxy_to(emulator) as proxy:
        patch.setenv("SPANNER_EMULATOR_HOST", proxy.address)
        yield Reach(proxy, direct)


@contextmanager
def reached_impatiently(direct: PipelineDatabase, emulator: str) -> Iterator[Reach]:
    """The same with short bounds."""
    with pytest.MonkeyPatch.context() as patch, reached(direct, emulator) as reach:
        patch.setattr(bounds, "READ_TIMEOUT_S", READ_S)
        patch.setattr(bounds, "REQUEST_TIMEOUT_S", REQUEST_S)
        patch.setattr(bounds, "COMMIT_TIMEOUT_S", COMMIT_S)
        patch.setattr(bounds, "TRANSACTION_TIMEOUT_S", TRANSACTION_S)
        yield reach


# -- every method of every store ---------------------------------------------------------------------------

LETTER = NewDeadLetter(
    tenant_id=TENANT,
    dead_letter_id="d-1",
    request_id="",
    call_id=CALL,
    stage="download",
    reason="not_audio",
    detail="a page",
    fix="",
    attempts=1,
    topic="call-received",
    event="{}",
    attributes={},
    message_id="m-1",
    published_at=None,
    source="runner",
)
CIRCUIT = Circuit(TENANT, "hubspot", "blocked", 3, NOON)
OVERDUE = OverdueRun("r-00000001", "download", "retrying", "{}", None, NOON)
STUCK = StuckRequest("r-00000001", "download", "{}", NOON)

Method = tuple[float, Callable[[Reach, StageRun], object]]
"""Its bound in seconds, and how it is called with a run of ours."""


def _fresh_insert(reach: Reach, _run: StageRun) -> None:
    reach.runs.insert(new_run(f"new-{next(reach.numbers)}"), ADMISSION)


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
    "runs.end_request": (TRANSACTION_S, lambda reach, run: reach.runs.end_request(run.key)),
    "runs.finish": (COMMIT_S, lambda reach, run: reach.runs.finish(run, Completed(next_event=None))),
    "calls.get": (READ_S, lambda reach, _: SpannerCalls(reach.open, reach.vault).get(TENANT, CALL)),
    "calls.list_recent": (READ_S, lambda reach, _: SpannerCalls(reach.open, reach.vault).list_recent(TENANT, limit=1)),
    "calls.story": (READ_S, lambda reach, _: SpannerCalls(reach.open, reach.vault).story(TENANT, CALL)),
    "merger.merge": (
        TRANSACTION_S,
        lambda reach, _: SpannerCallMerger(reach.open, reach.vault).merge(TENANT, Merged(DETAILS, {}), now=NOON),
    ),
    "sweep.tenants": (READ_S, lambda reach, _: SpannerSweepStore(reach.open, reach.vault).tenants()),
    "sweep.overdue": (
        READ_S,
        lambda reach, _: SpannerSweepStore(reach.open, reach.vault).overdue(
            TENANT, now=NOON, stale_before=NOON, limit=1
        ),
    ),
    "sweep.blocked_by_suspension": (
        READ_S,
        lambda reach, _: SpannerSweepStore(reach.open, reach.vault).blocked_by_suspension(TENANT, limit=1),
    ),
    "sweep.stuck": (
        READ_S,
        lambda reach, _: SpannerSweepStore(reach.open, reach.vault).stuck(TENANT, stale_before=NOON, limit=1),
    ),
    "sweep.postpone": (
        TRANSACTION_S,
        lambda reach, _: SpannerSweepStore(reach.open, reach.vault).postpone(TENANT, OVERDUE, next_due=NOON),
    ),
    "sweep.touch": (TRANSACTION_S, lambda reach, _: SpannerSweepStore(reach.open, reach.vault).touch(TENANT, STUCK)),
    "circuits.read": (READ_S, lambda reach, _: SpannerCircuits(reach.open).read(TENANT, "hubspot")),
    "circuits.read_all": (READ_S, lambda reach, _: SpannerCircuits(reach.open).read_all(TENANT)),
    "circuits.write": (COMMIT_S, lambda reach, _: SpannerCircuits(reach.open).write(CIRCUIT)),
    "circuits.claim_probe": (
        TRANSACTION_S,
        lambda reach, _: SpannerCircuits(reach.open).claim_probe(CIRCUIT, next_probe_at=NOON),
    ),
    "circuits.close": (TRANSACTION_S, lambda reach, _: SpannerCircuits(reach.open).close(TENANT, "hubspot", now=NOON)),
    "letters.record": (TRANSACTION_S, lambda reach, _: SpannerDeadLetters(reach.open, reach.vault).record(LETTER)),
    "letters.ensure_unassigned_tenant": (
        COMMIT_S,
        lambda reach, _: SpannerDeadLetters(reach.open, reach.vault).ensure_unassigned_tenant(),
    ),
    "letters.read": (READ_S, lambda reach, _: SpannerDeadLetters(reach.open, reach.vault).read(TENANT, "d-1")),
    "tenants.by_id": (
        READ_S,
        lambda reach, _: SpannerTenantDirectory(reach.open, ttl_s=1, negative_ttl_s=1).by_id(TENANT),
    ),
}
