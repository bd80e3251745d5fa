"""Spanner cut, frozen, silent, without our sessions, aborting: our errors in time, nothing lost, back by itself.

All connections go through a proxy to the real emulator; the bounds are the production's, made shorter.
"""

from __future__ import annotations

import inspect
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from google.cloud import spanner

from infra.local.emulators import Emulators, spanner_spec
from infra.local.plan import PROJECT_ROOT
from infra.local.spanner import create_database, create_instance
from shared.claims import ClaimLost
from shared.errors import AlreadyThere, TransientFailure
from shared.gateways.run_store import SpannerRunStore
from shared.runner import Runner
from shared.stage import Completed, StageContext
from tests.integration import test_runner, test_runner_errors
from tests.support.emulators import TEST_INSTANCE, TEST_PROJECT, _Starter
from tests.support.pipeline_database import OTHER_TENANT, OUR_TENANT, PipelineDatabase, pipeline_ddl
from tests.support.proxied_spanner import ADMISSION as ADMITTED
from tests.support.proxied_spanner import COMMIT_S, METHODS, Reach, key_of, new_run, reached, reached_impatiently
from tests.support.runner_bench import RECEIVED, STORED, Bench
from tests.support.waiting import eventually

pytestmark = pytest.mark.emulators

SLACK_S = 4.0
"""For a busy machine; far below the client's own patience (30 s for a request, an hour for a commit)."""


@pytest.fixture
def reach(pipeline_database: PipelineDatabase, spanner_emulator: str) -> Iterator[Reach]:
    """With short bounds: for tests that wait until nothing comes."""
    with reached_impatiently(pipeline_database, spanner_emulator) as reach:
        yield reach


@pytest.fixture
def patient(pipeline_database: PipelineDatabase, spanner_emulator: str) -> Iterator[Reach]:
    """With the production's bounds: for tests in which an answer comes in the end."""
    with reached(pipeline_database, spanner_emulator) as reach:
        yield reach


def ended_as(work: Callable[[], object]) -> tuple[str, float]:
    """The code of our error that ended a call (empty for none), and after how many seconds."""
    begun = time.monotonic()
    try:
        work()
    except TransientFailure as error:
        return error.code, time.monotonic() - begun
    except AlreadyThere:
        pass  # the client repeated a commit whose answer was lost: the runner recognises its own token
    return "", time.monotonic() - begun


def all_at_once(reach: Reach, runs: Mapping[str, Any]) -> dict[str, tuple[str, float]]:
    """Every method in a thread of its own, as in a busy worker. What is not a `TransientFailure` fails the test."""

    def call(name: str) -> tuple[str, float]:
        return ended_as(lambda: METHODS[name][1](reach, runs[name]))

    with ThreadPoolExecutor(max_workers=len(METHODS)) as pool:
        return dict(zip(METHODS, pool.map(call, METHODS), strict=True))


@pytest.mark.parametrize("how", ["cut", "freeze", "mute"])
def test_every_method_of_every_store_gives_our_error_in_time_and_works_again_by_itself(reach: Reach, how: str) -> None:
    runs = {name: reach.claimed() for name in METHODS}
    getattr(reach.proxy, how)()

    ended = all_at_once(reach, runs)

    assert {name for name, (code, _) in ended.items() if not code.startswith("spanner_")} == set()
    late = {name: took for name, (_, took) in ended.items() if took > METHODS[name][0] + SLACK_S}
    assert late == {}
    reach.proxy.restore()
    for name, (_, work) in METHODS.items():
        run = one_more(reach)
        eventually(lambda work=work, run=run: ended_as(lambda: work(reach, run))[0] == "", what=f"{name} works again")  # type: ignore[misc] # bound per loop


def one_more(reach: Reach) -> Any:
    """A fresh run, as soon as Spanner takes it."""
    made: list[Any] = []
    eventually(lambda: ended_as(lambda: made.append(reach.claimed()))[0] == "", what="a claim")
    return made[0]


def test_a_commit_is_bounded_also_after_others_succeeded(reach: Reach) -> None:
    """The client's own bound is an hour, and `batch()` takes no other."""
    reach.claimed()
    reach.proxy.freeze()

    code, took = ended_as(lambda: reach.runs.insert(new_run("frozen"), ADMITTED))

    assert code == "spanner_unavailable"
    assert took < COMMIT_S + SLACK_S


def test_a_thread_that_met_an_absent_spanner_can_open_transactions_later(reach: Reach) -> None:
    """Fault found here: the client's mark of a running transaction outlived a failure to get a session, for ever."""
    run = reach.claimed()
    reach.delete_sessions()
    reach.proxy.cut()
    assert ended_as(lambda: reach.runs.save_checkpoint(run.key, run.claim_token, {"a": 1}))[0]
    reach.proxy.restore()

    def is_saved() -> bool:
        return ended_as(lambda: reach.runs.save_checkpoint(run.key, run.claim_token, {"a": 2}))[0] == ""

    eventually(is_saved, what="a transaction in the same thread")


def test_lost_sessions_are_replaced(patient: Reach) -> None:
    """Fault found here: the client keeps asking with the multiplexed session that Spanner has forgotten."""
    run = patient.claimed()
    patient.delete_sessions()

    ended_as(lambda: patient.runs.read(run.key))

    assert patient.runs.read(run.key) == run
    assert patient.claimed()
    patient.runs.save_checkpoint(run.key, run.claim_token, {"a": 1})


def test_every_commit_goes_through_the_module_that_bounds_and_mends_it() -> None:
    """The client's own ways leave a thread unable to open transactions, or wait for an hour."""
    elsewhere = [
        path.name
        for folder in ("shared", "handlers", "stages")
        for path in (PROJECT_ROOT / folder).rglob("*.py")
        if re.search(r"\.run_in_transaction\(|\)?\.batch\(", path.read_text(encoding="utf-8"))
    ]
    assert sorted(elsewhere) == ["database.py", "migration_journal.py"], "migrations run on a person's machine"


# -- the runner over a breaking connection --------------------------------------------------------------------


def bench_through(reach: Reach) -> Bench:
    """The runner's bench, its store behind the proxy."""
    behind = Bench(reach.direct)
    behind.runner = lambda stage="download": through_proxy(reach, Bench.runner(behind, stage))  # type: ignore[method-assign] # the same bench, another road
    return behind


def through_proxy(reach: Reach, runner: Runner) -> Runner:
    return replace(runner, store=SpannerRunStore(reach.open, reach.vault))


def assert_done_once(bench: Bench, *, attempt: int | None = None) -> None:
    """Recorded once, its next event published; `attempt` says which attempt it must have been."""
    rows = bench.database.rows(f"SELECT state, attempt FROM stage_runs WHERE request_id = '{RECEIVED.request_id}'")
    assert rows == [["done", attempt or rows[0][1]]]
    assert bench.database.value("SELECT COUNT(*) FROM usage_ledger") == 1
    assert set(bench.publisher.topics()) == {STORED.topic}


def deliver_until_acknowledged(bench: Bench) -> list[int]:
    """As Pub/Sub does, each time after the lease of whoever died."""
    statuses: list[int] = []

    def is_acknowledged() -> bool:
        statuses.append(bench.deliver())
        bench.clock.advance(61)
        return statuses[-1] == 204

    eventually(is_acknowledged, what="the delivery is acknowledged", timeout_s=90)
    return statuses


@pytest.mark.parametrize("pieces", range(1, 6))
def test_a_connection_that_breaks_anywhere_costs_no_call_and_doubles_none(patient: Reach, pieces: int) -> None:
    """After each piece of the requests in turn: claim, checkpoint (a transaction) and record, each half sent."""
    bench = bench_through(patient)
    bench.behave = save_and_finish
    one_more(patient)  # the connection and its sessions are there
    patient.proxy.after_requests(pieces, patient.proxy.drop_connections)

    statuses = deliver_until_acknowledged(bench)

    assert patient.proxy.breaks == 1, "the call was over before its connection broke"
    assert set(statuses) <= {204, 503}
    assert_done_once(bench)


def save_and_finish(context: StageContext) -> Completed:
    context.save_checkpoint({"paid": "once"})
    return Completed(next_event=STORED)


def test_a_claim_whose_answer_was_lost_is_recognised_as_our_own(patient: Reach) -> None:
    """The client repeats the commit, meets its own row, and nobody waits for a lease."""
    bench = bench_through(patient)
    patient.vault.of(OUR_TENANT.tenant_id).warm()
    one_more(patient)
    patient.proxy.mute()
    hang_up = threading.Thread(target=lose_the_answer, args=(patient, "SELECT COUNT(*) FROM stage_runs", 2))
    hang_up.start()

    assert bench.deliver() == 204

    hang_up.join()
    assert_done_once(bench, attempt=1)


def test_a_record_whose_answer_was_lost_publishes_its_next_event(patient: Reach) -> None:
    bench = bench_through(patient)
    hang_up = threading.Thread(target=lose_the_answer, args=(patient, "SELECT COUNT(*) FROM usage_ledger", 1))

    def then_silence(_context: StageContext) -> Completed:
        patient.proxy.mute()
        hang_up.start()
        return Completed(next_event=STORED)

    bench.behave = then_silence
    assert bench.deliver() == 204

    hang_up.join()
    assert_done_once(bench, attempt=1)


def lose_the_answer(reach: Reach, count: str, until: int) -> None:
    """Once the rows are there, hang up: the commit happened, and nobody will ever say so."""
    eventually(lambda: reach.direct.value(count) == until, what="the commit")
    reach.proxy.drop_connections()
    reach.proxy.restore()


def test_spanner_away_in_the_middle_of_a_stage_costs_a_lease_and_no_call(reach: Reach) -> None:
    bench = bench_through(reach)

    def then_away(_context: StageContext) -> Completed:
        reach.proxy.cut()
        bench.behave = lambda _context: Completed(next_event=STORED)
        return Completed(next_event=STORED)

    bench.behave = then_away
    assert bench.deliver() == 503
    assert bench.publisher.topics() == []
    reach.proxy.restore()

    deliver_until_acknowledged(bench)
    assert_done_once(bench)


# -- Aborted ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def aborting_emulator(_starter: _Starter, _emulator_programs: Emulators) -> str:
    """A Spanner emulator that aborts commits at random (`--enable_fault_injection`)."""
    spec = spanner_spec(_emulator_programs, port=_starter.ports.take(), env=dict(os.environ))
    spec = replace(spec, name="spanner-aborting", command=(*spec.command, "--enable_fault_injection"))
    address = _starter.start(spec)
    create_instance(address=address, project_id=TEST_PROJECT, instance_id=TEST_INSTANCE)
    return address


@pytest.fixture
def aborting_bench(
    aborting_emulator: str, spanner_emulator: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Bench]:
    database_id = f"aborting-{abs(hash(request.node.name)) % 10**9}"
    where = {"address": aborting_emulator, "project_id": TEST_PROJECT, "instance_id": TEST_INSTANCE}
    create_database(**where, database_id=database_id, ddl=pipeline_ddl())
    monkeypatch.setenv("SPANNER_EMULATOR_HOST", aborting_emulator)
    client = spanner.Client(project=TEST_PROJECT, disable_builtin_metrics=True)
    database = PipelineDatabase(client.instance(TEST_INSTANCE).database(database_id))
    database.add_tenant(OUR_TENANT)
    database.add_tenant(OTHER_TENANT)
    yield Bench(database)
    client.close()


RUNNER_TESTS = {
    name: test
    for module in (test_runner, test_runner_errors)
    for name, test in vars(module).items()
    if name.startswith("test_") and list(inspect.signature(test).parameters) == ["bench"]
}


@pytest.mark.parametrize("name", RUNNER_TESTS)
def test_the_runner_on_a_spanner_that_aborts(aborting_bench: Bench, name: str) -> None:
    RUNNER_TESTS[name](aborting_bench)


def test_aborted_transactions_are_begun_again(pipeline_database: PipelineDatabase) -> None:
    """Two workers take over one run in the same moment, again and again: each time exactly one of them has it."""
    bench = Bench(pipeline_database)
    store = SpannerRunStore(pipeline_database.open, pipeline_database.vault)
    store.insert(new_run("contested"), ADMITTED)
    for round_number in range(5):
        run = store.read(key_of("contested"))
        assert run is not None
        start = threading.Barrier(4)

        def take(token: str, run: Any = run, start: threading.Barrier = start) -> bool:
            start.wait()
            try:
                store.take_over(run, claim_token=token, worker="w", lease_until=bench.clock() + timedelta(minutes=1))
            except ClaimLost:
                return False
            return True

        with ThreadPoolExecutor(max_workers=4) as pool:
            taken = list(pool.map(take, [f"{round_number}-{worker}" for worker in range(4)]))
        assert taken.count(True) == 1
