"""A rolling deployment and clocks that disagree: old code meets new events and other schemas, nothing is lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
import structlog
from google.cloud import spanner

from schemas.events import CallReceived, Event
from shared.claims import Admission, RunKey
from shared.deliveries import Delivery
from shared.errors import Deferred, PermanentFailure
from shared.gateways.circuit_store import SpannerCircuits
from shared.gateways.migration_files import load_migrations
from shared.gateways.sweep_store import SpannerSweepStore
from shared.inbox import Inbox
from shared.stage import Completed, StageContext, Usage
from shared.sweeper import Sweeper
from stages.download.intake import admit
from tests.support.emulators import SpannerDatabaseFactory
from tests.support.pipeline_database import OUR_TENANT, PipelineDatabase, pipeline_ddl
from tests.support.ports import NOON, HandClock, MemoryObjects
from tests.support.runner_bench import RECEIVED, REQUEST, STORED, Bench, raising

pytestmark = pytest.mark.emulators

KEY = RunKey(OUR_TENANT.tenant_id, REQUEST, "download")
NEWEST = max(migration.version for migration in load_migrations())


@pytest.fixture
def bench(pipeline_database: PipelineDatabase) -> Bench:
    return Bench(pipeline_database)


# -- schema ------------------------------------------------------------------------------------------------------


def ddl_of(version: int) -> list[str]:
    """What one migration changes, as far as the emulator understands it."""
    (migration,) = [one for one in load_migrations() if one.version == version]
    return [statement.text for statement in migration.statements if not statement.spanner_only]


def ddl_until(version: int) -> list[str]:
    return [text for one in load_migrations() if one.version <= version for text in ddl_of(one.version)]


def bench_on(fresh: SpannerDatabaseFactory, ddl: list[str]) -> Bench:
    made = fresh(ddl)
    client = spanner.Client(project=made.project_id, disable_builtin_metrics=True)
    database = PipelineDatabase(client.instance(made.instance_id).database(made.database_id))
    database.add_tenant_without_keyset(OUR_TENANT)
    if "tenant_keysets" in " ".join(ddl):
        database.keysets.create(OUR_TENANT.tenant_id, actor="test")
    return Bench(database)


def migrate(bench: Bench, *versions: int) -> None:
    """While the workers go on: `pipeline migrate`, then `pipeline keys create --all`."""
    statements = [text for version in versions for text in ddl_of(version)]
    if statements:  # a migration of grants alone has none for the emulator
        bench.database.database.update_ddl(statements).result(timeout=30)
    bench.database.keysets.create(OUR_TENANT.tenant_id, actor="test")


@pytest.mark.parametrize("version", range(3, NEWEST))
def test_a_schema_behind_the_code_loses_nothing_and_needs_no_restart(
    spanner_database: SpannerDatabaseFactory, version: int
) -> None:
    """Workers were deployed before `pipeline migrate` ran: what cannot be stored yet is answered 503."""
    bench = bench_on(spanner_database, ddl_until(version))

    with structlog.testing.capture_logs() as logs:
        status = bench.deliver()

    assert status in (204, 503)
    if status == 503:
        (line,) = [line for line in logs if line["event"] == "delivery_put_back"]
        assert line["code"] in {"spanner_not_found", "spanner_refused"}
    migrate(bench, *range(version + 1, NEWEST + 1))
    assert bench.deliver() == 204
    assert bench.run_row()["state"] == "done"
    assert set(bench.publisher.topics()) == {STORED.topic}


def test_a_missing_column_stops_a_stage_for_now_and_makes_no_dead_letter(
    spanner_database: SpannerDatabaseFactory,
) -> None:
    """Fault found here: what Spanner refuses inside a stage was taken for the call's own fault, and given up."""
    bench = bench_on(spanner_database, ddl_until(3))
    circuits = SpannerCircuits(bench.database.open)

    def guarded(_context: StageContext) -> Completed:
        circuits.read(OUR_TENANT.tenant_id, "hubspot")  # a table of migration 4
        return Completed(next_event=STORED)

    bench.behave = guarded
    runner = bench.runner()
    runner = replace(runner, stage=replace(runner.stage, admit=admit_without_details))
    delivery = delivery_of_received()
    assert runner.handle(delivery, RECEIVED).status == 503
    assert bench.publisher.topics() == []

    migrate(bench, *range(4, NEWEST + 1))
    bench.clock.advance(61)
    assert runner.handle(delivery, RECEIVED).status == 204
    assert bench.publisher.topics() == [STORED.topic]


def admit_without_details(event: Event) -> Admission:
    assert isinstance(event, CallReceived)
    return replace(admit(event), said=None)


def delivery_of_received() -> Delivery:
    return Delivery("m-1", RECEIVED.model_dump_json().encode(), RECEIVED.attributes(), "projects/p/s/x")


AHEAD = [
    "ALTER TABLE stage_runs ADD COLUMN of_the_future STRING(16)",
    "ALTER TABLE processing_requests ADD COLUMN of_the_future INT64 NOT NULL DEFAULT (0)",
    "ALTER TABLE call_records ADD COLUMN of_the_future JSON",
    "CREATE TABLE future_things (tenant_id STRING(40) NOT NULL) PRIMARY KEY (tenant_id),"
    " INTERLEAVE IN PARENT tenants ON DELETE NO ACTION",
    "CREATE INDEX runs_of_the_future ON stage_runs (tenant_id, of_the_future)",
]
"""What a migration may do beside running workers: add tables, indexes, columns that may be left out."""


def test_a_schema_ahead_of_the_code_works(spanner_database: SpannerDatabaseFactory) -> None:
    bench = bench_on(spanner_database, [*pipeline_ddl(), *AHEAD])
    bench.behave = raising(Deferred("crm_quota", "tomorrow", until=NOON + timedelta(hours=3)))
    assert bench.deliver() == 204
    assert bench.run_row()["state"] == "deferred"
    bench.behave = lambda _context: Completed(next_event=STORED)
    bench.clock.advance(3 * 3600)
    assert sweeper(bench, bench.clock).sweep().actions == {"deferred_sent_again": 1}
    assert bench.deliver(swept="true") == 204
    assert bench.run_row()["state"] == "done"


# -- events ------------------------------------------------------------------------------------------------------


def test_a_next_event_of_a_newer_worker_is_left_to_newer_workers(bench: Bench) -> None:
    """A deployment was rolled back half way: the row holds an event that this worker cannot read."""
    bench.publisher.failing = 1
    assert bench.deliver() == 503
    newer = STORED.model_copy(update={"version": 2}).model_dump_json()
    rewrite(bench, "next_event", newer)

    assert bench.deliver() == 503
    assert bench.publisher.topics() == []
    assert bench.run_row()["state"] == "done"


def test_the_sweeper_leaves_newer_events_alone_and_goes_on(bench: Bench) -> None:
    bench.behave = raising(Deferred("crm_quota", "tomorrow", until=NOON))
    bench.deliver()
    other = RECEIVED.model_copy(update={"request_id": "r-fedcba9876543210"})
    bench.deliver(other)
    rewrite(bench, "event", RECEIVED.model_copy(update={"version": 2}).model_dump_json())
    bench.clock.advance(1)

    report = sweeper(bench, bench.clock).sweep()

    assert report.actions == {"deferred_sent_again": 1, "event_unreadable": 1}
    assert [message.attributes["request_id"] for message in bench.publisher.messages] == [other.request_id]


def rewrite(bench: Bench, column: str, value: str) -> None:
    with bench.database.database.batch() as batch:
        batch.update(table="stage_runs", columns=("tenant_id", "request_id", "stage", column), values=[(*KEY, value)])


# -- clocks ------------------------------------------------------------------------------------------------------

SKEW = timedelta(minutes=7)
LEASE = timedelta(seconds=60)


def sweeper(bench: Bench, clock: Callable[[], object]) -> Sweeper:
    store = SpannerSweepStore(bench.database.open, bench.database.vault)
    return Sweeper(store, bench.publisher, Inbox(MemoryObjects()), clock)  # type: ignore[arg-type] # a hand clock


@pytest.mark.parametrize("skew", [SKEW, -SKEW], ids=["ahead", "behind"])
def test_workers_whose_clocks_disagree_record_a_stage_once(bench: Bench, skew: timedelta) -> None:
    """A fast clock takes a live claim over, a slow one writes leases that are over: both run, one is recorded."""
    other = replace(bench.runner(), now=HandClock(bench.clock() + skew), worker="elsewhere")
    elsewhere: list[int] = []

    def while_working(_context: StageContext) -> Completed:
        bench.behave = lambda _context: Completed(next_event=STORED, usage=Usage(model="second"))
        elsewhere.append(other.handle(delivery_of_received(), RECEIVED).status)
        return Completed(next_event=STORED, usage=Usage(model="first"))

    bench.behave = while_working
    statuses = [bench.deliver(), *elsewhere]
    while 503 in statuses[-1:]:
        bench.clock.advance(61)
        statuses.append(bench.deliver())

    assert bench.run_row()["state"] == "done"
    assert bench.database.value("SELECT COUNT(*) FROM usage_ledger") == 1
    assert set(bench.publisher.topics()) == {STORED.topic}


@pytest.mark.parametrize("skew", [SKEW, -SKEW], ids=["ahead", "behind"])
def test_a_claim_of_a_dead_worker_with_another_clock_is_taken_over(bench: Bench, skew: timedelta) -> None:
    dead = replace(bench.runner(), now=HandClock(bench.clock() + skew))
    bench.behave = raising(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        dead.handle(delivery_of_received(), RECEIVED)
    bench.behave = lambda _context: Completed(next_event=STORED)

    bench.clock.advance((max(skew, timedelta()) + LEASE).total_seconds() + 1)

    assert bench.deliver() == 204
    assert bench.run_row()["state"] == "done"


def test_a_sweeper_whose_clock_is_fast_wakes_early_and_breaks_nothing(bench: Bench) -> None:
    bench.behave = raising(Deferred("crm_quota", "soon", until=NOON + timedelta(minutes=5)))
    bench.deliver()
    report = sweeper(bench, HandClock(NOON + SKEW)).sweep()
    assert report.actions == {"deferred_sent_again": 1}
    assert sweeper(bench, bench.clock).sweep().actions == {}, "marked until the fast clock's next look"

    bench.behave = lambda _context: Completed(next_event=STORED)
    swept = bench.publisher.messages[-1]
    assert bench.deliver(RECEIVED, **{"swept": swept.attributes["swept"]}) == 204
    assert bench.run_row()["state"] == "done"


def test_a_loser_whose_clock_is_slow_cannot_fail_the_winners_run(bench: Bench) -> None:
    fast = replace(bench.runner(), now=HandClock(bench.clock() + SKEW))

    def overtaken(_context: StageContext) -> Completed:
        bench.behave = lambda _context: Completed(next_event=STORED)
        assert fast.handle(delivery_of_received(), RECEIVED).status == 204
        raise PermanentFailure("too_late", "the loser's verdict")

    bench.behave = overtaken
    assert bench.deliver() == 503
    assert bench.run_row()["state"] == "done"
    assert bench.publisher.topics() == [STORED.topic]
