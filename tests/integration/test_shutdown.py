"""A deployment in the middle of a call: the claim is given back, and nobody waits for a lease to run out."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from infra.local.plan import PROJECT_ROOT, worker_command, worker_identity
from infra.local.ports import Ports
from infra.local.standins.faults import FaultRule
from shared.claims import Admission, ClaimLost, NewRun, RunKey
from shared.errors import TransientFailure
from shared.gateways.run_store import SpannerRunStore
from shared.runner import Runner
from shared.stage import Completed, StageContext
from tests.support.audio import wav
from tests.support.flaky import Chain, _environment
from tests.support.office import Office, open_chain
from tests.support.pipeline_database import PipelineDatabase
from tests.support.runner_bench import RECEIVED, STORED, Bench, delivery_of
from tests.support.waiting import eventually

pytestmark = pytest.mark.emulators

CLOUD_RUNS_PATIENCE_S = 10.0


@pytest.fixture
def bench(pipeline_database: PipelineDatabase) -> Bench:
    return Bench(pipeline_database)


def handle(runner: Runner) -> int:
    return runner.handle(delivery_of(RECEIVED), RECEIVED).status


def test_a_claim_that_was_given_back_is_taken_over_at_once_and_its_late_result_changes_nothing(bench: Bench) -> None:
    stopping = bench.runner()

    def shut_down_in_the_middle(_context: StageContext) -> Completed:
        assert stopping.give_back_claims() == 1
        assert bench.run_row()["state"] == "retrying"
        assert bench.run_row()["error_code"] == "worker_stopped"
        bench.behave = lambda _context: Completed(next_event=STORED)
        assert bench.deliver() == 204, "another worker, no lease to wait for"
        return Completed(next_event=None)

    bench.behave = shut_down_in_the_middle
    assert handle(stopping) == 204

    assert bench.run_row()["state"] == "done"
    assert bench.run_row()["next_event"] == STORED.model_dump_json()
    assert bench.database.value("SELECT COUNT(*) FROM usage_ledger") == 1


def test_a_result_that_comes_after_its_claim_was_given_back_is_still_worth_recording(bench: Bench) -> None:
    stopping = bench.runner()

    def shut_down_in_the_middle(_context: StageContext) -> Completed:
        stopping.give_back_claims()
        return Completed(next_event=STORED)

    bench.behave = shut_down_in_the_middle
    assert handle(stopping) == 204
    assert bench.run_row()["state"] == "done"
    assert bench.publisher.topics() == [STORED.topic]


def test_finished_and_lost_claims_are_not_given_back(bench: Bench) -> None:
    stopping = bench.runner()
    assert handle(stopping) == 204
    assert stopping.give_back_claims() == 0
    assert bench.run_row()["state"] == "done"


def test_a_delivery_that_is_begun_after_the_claims_were_given_back_claims_nothing(bench: Bench) -> None:
    """It waited for a free thread: nobody would give its claim back before the process is killed."""
    stopping = bench.runner()
    stopping.give_back_claims()

    assert handle(stopping) == 503
    assert bench.database.rows("SELECT stage FROM stage_runs") == []
    assert bench.deliver() == 204, "another worker"


class ClaimsSlowly(SpannerRunStore):
    """The claims are given back while this claim's commit is under way."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench.database.open, bench.database.vault)
        self.meanwhile: Callable[[], object] = lambda: None

    def insert(self, run: NewRun, admission: Admission | None) -> None:
        super().insert(run, admission)
        self.meanwhile()


def test_a_claim_that_comes_while_the_claims_are_given_back_is_given_back_too(bench: Bench) -> None:
    store = ClaimsSlowly(bench)
    stopping = replace(bench.runner(), store=store)
    store.meanwhile = stopping.give_back_claims

    assert handle(stopping) == 503
    assert bench.contexts == [], "no work is begun"
    assert bench.run_row()["state"] == "retrying"
    assert bench.run_row()["error_code"] == "worker_stopped"
    assert bench.deliver() == 204, "no lease to wait for"


class Unreachable(SpannerRunStore):
    """Spanner is away when a claim is to be given back."""

    def sleep(self, key: RunKey, claim_token: str, sleep: object) -> None:
        raise TransientFailure("spanner_unavailable", "away")


def test_a_claim_that_cannot_be_given_back_does_not_keep_the_others(bench: Bench) -> None:
    stopping = Runner(
        bench.runner().stage,
        Unreachable(bench.database.open, bench.database.vault),
        bench.runner().tenants,
        bench.publisher,
        bench.clock,
        worker="test",
    )

    def shut_down_in_the_middle(_context: StageContext) -> Completed:
        assert stopping.give_back_claims() == 0
        raise ClaimLost

    bench.behave = shut_down_in_the_middle
    assert handle(stopping) == 503
    assert bench.run_row()["state"] == "running", "its lease runs out as for any dead worker"


# -- a real worker -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chain(spanner_emulator: str, gcs_server: str) -> Iterator[Chain]:
    with open_chain(spanner_emulator, gcs_server, name="shutdown") as chain:
        yield chain


def start_worker(stack: ExitStack, chain: Chain, *, port: int, log: Path) -> subprocess.Popen[bytes]:
    """The download service in its real server, as in the container."""
    env = {
        **os.environ,
        **_environment(chain.neighbours, chain.database),
        **worker_identity("download"),
        "PORT": str(port),
        "PIPELINE_BIND_HOST": "127.0.0.1",
        "PUBSUB_EMULATOR_HOST": "127.0.0.1:1",
    }
    sink = stack.enter_context(log.open("wb"))
    process = subprocess.Popen(worker_command(), env=env, cwd=PROJECT_ROOT, stdout=sink, stderr=sink)
    stack.callback(process.wait, timeout=15)
    stack.callback(process.kill)
    url = f"http://127.0.0.1:{port}/livez"
    eventually(lambda: answers(url) or process.poll() is not None, what="the worker answers", timeout_s=40)
    assert process.poll() is None, log.read_text()
    return process


def answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False, timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def test_a_worker_that_is_told_to_stop_gives_its_claims_back_and_exits_in_time(chain: Chain, tmp_path: Path) -> None:
    office = Office(chain)
    event = office.received(chain.new_tenant(), audio=wav(1.0))
    chain.neighbours.plans["callrail"].add(FaultRule(operation="recording.*", kind="stall", delay_s=12, times=3))
    message = {
        "messageId": "1",
        "data": base64.b64encode(event.model_dump_json().encode()).decode(),
        "attributes": event.attributes(),
    }
    ports = Ports()
    with ExitStack() as stack:
        stack.callback(ports.release)
        port = ports.take()
        worker = start_worker(stack, chain, port=port, log=tmp_path / "log")
        pushing = threading.Thread(target=push, args=(port, {"message": message, "subscription": "s"}))
        pushing.start()
        eventually(lambda: office.runs(event) == {"download": "running"}, what="the stage is claimed", timeout_s=30)

        begun = time.monotonic()
        worker.send_signal(signal.SIGTERM)
        worker.wait(timeout=CLOUD_RUNS_PATIENCE_S + 5)
        took = time.monotonic() - begun
        pushing.join()

    assert took < CLOUD_RUNS_PATIENCE_S, "Cloud Run would have killed it"
    assert office.runs(event) == {"download": "retrying"}
    chain.neighbours.plans["callrail"].clear()
    office.carry(event)
    assert office.request_state(event) == "done"
    assert office.crm_calls(event) == (1, 1)


def push(port: int, document: object) -> None:
    with contextlib.suppress(httpx.TransportError):  # the worker may be gone first: Pub/Sub would deliver again
        httpx.post(f"http://127.0.0.1:{port}/", content=json.dumps(document), trust_env=False, timeout=30)
