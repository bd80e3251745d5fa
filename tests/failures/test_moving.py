"""Failures seen in other pipelines while work was under way: PCA, CKM, Svix, octue, PostHog and others."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from google.api_core import exceptions as google_errors

from handlers import wiring
from infra.local.ports import Ports
from infra.local.standins.faults import FaultRule
from infra.local.topics import archive_request, subscription_request
from schemas.events import CallReceived
from shared.crash_points import crashing
from shared.gateways import database as bounds
from shared.pipeline import load_pipeline
from tests.integration.test_shutdown import start_worker
from tests.support.audio import wav
from tests.support.flaky import STAGES, Chain, wired_chain
from tests.support.office import Office
from tests.support.proxied_spanner import COMMIT_S, READ_S, REQUEST_S, TRANSACTION_S
from tests.support.proxy import Proxy, proxy_to
from tests.support.waiting import eventually

pytestmark = pytest.mark.emulators

DAY_S = 24 * 3600


def arrived_once(office: Office, event: CallReceived) -> bool:
    return office.request_state(event) == "done" and office.crm_calls(event) == (1, 1)


# -- taken, not acknowledged, crashed --------------------------------------------------------------------------------


def test_taken_not_acknowledged_crashed(chain: Chain, office: Office, tmp_path: Path) -> None:
    """gcp-ingestion#154, CKM: SIGKILL in the middle of a stage. The message comes again, the claim is taken over."""
    event = office.received(chain.new_tenant(), audio=wav(1.0))
    chain.neighbours.plans["callrail"].add(FaultRule(operation="recording.*", kind="stall", delay_s=5, times=1))
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
        for process in [*children_of(worker.pid), worker.pid]:
            kill(process)
        pushing.join()

    assert office.runs(event) == {"download": "running"}, "nobody could say goodbye"
    chain.neighbours.plans["callrail"].clear()
    office.clock.advance(660)  # longer than the download's lease
    office.carry(event)
    assert arrived_once(office, event)
    assert office.speech_jobs(event) == 1


def push(port: int, document: object) -> None:
    with contextlib.suppress(httpx.TransportError):
        httpx.post(f"http://127.0.0.1:{port}/", content=json.dumps(document), trust_env=False, timeout=30)


def children_of(pid: int) -> list[int]:
    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


# -- recovery lives in what failed -----------------------------------------------------------------------------------


@pytest.fixture
def breaking(
    chain: Chain, spanner_emulator: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Office, dict[str, Proxy]]]:
    """The same stages with a proxy before the database and before the bucket."""
    monkeypatch.setattr(bounds, "READ_TIMEOUT_S", READ_S)
    monkeypatch.setattr(bounds, "REQUEST_TIMEOUT_S", REQUEST_S)
    monkeypatch.setattr(bounds, "COMMIT_TIMEOUT_S", COMMIT_S)
    monkeypatch.setattr(bounds, "TRANSACTION_TIMEOUT_S", TRANSACTION_S)
    monkeypatch.setattr("shared.gateways.objects.RETRY_S", 0.5)
    monkeypatch.setattr("shared.gateways.objects.TIMEOUT_S", (1.0, 1.0))
    # A setting of its own makes the parts of these stages new ones: wiring keeps parts by their settings.
    monkeypatch.setenv("PIPELINE_LOG_LEVEL", "WARNING")
    with (
        proxy_to(spanner_emulator) as spanner,
        proxy_to(chain.neighbours.storage_url.removeprefix("http://")) as bucket,
    ):
        monkeypatch.setenv("SPANNER_EMULATOR_HOST", spanner.address)
        neighbours = _with_storage(chain, f"http://{bucket.address}")
        with wired_chain(neighbours, chain.database) as proxied:
            yield Office(proxied), {"spanner": spanner, "storage": bucket}


def _with_storage(chain: Chain, url: str) -> Any:
    return replace(chain.neighbours, storage_url=url)


@pytest.mark.parametrize("which", ["spanner", "storage"])
@pytest.mark.parametrize("how", ["cut", "freeze"])
def test_recovery_lives_in_what_failed(
    chain: Chain, breaking: tuple[Office, dict[str, Proxy]], which: str, how: str
) -> None:
    """svix#1844, vexa#520: what was down comes back, and everything goes on without a person and without a restart."""
    office, proxies = breaking
    event = office.received(chain.new_tenant(), audio=wav(1.0))
    getattr(proxies[which], how)()
    office.carry(event, tries=2)
    assert office.letters() == []

    proxies[which].restore()
    office.clock.advance(660)
    deliver_again_until(office, event, lambda: arrived_once(office, event))

    assert office.speech_jobs(event) == 1
    assert office.letters() == []


def deliver_again_until(office: Office, event: CallReceived, has_ended: Callable[[], bool]) -> None:
    """As Pub/Sub does with what was never acknowledged."""

    def look() -> bool:
        office.delivered = 0
        office.carry(event, tries=3)
        office.clock.advance(660)
        return has_ended()

    eventually(look, what="the call arrives", timeout_s=40)


def test_worker_alive_takes_nothing(chain: Chain, breaking: tuple[Office, dict[str, Proxy]]) -> None:
    """svix#1511. Fault found here: a thread that met an absent Spanner refused every later transaction, for ever."""
    office, proxies = breaking
    proxies["spanner"].cut()
    for _ in range(2):
        office.carry(office.received(chain.new_tenant()), tries=1)
    proxies["spanner"].restore()
    office.publisher.messages.clear()
    office.delivered = 0

    event = office.received(chain.new_tenant())
    deliver_again_until(office, event, lambda: arrived_once(office, event))


# -- completion, payment ---------------------------------------------------------------------------------------------


def test_completion_overtakes_the_record_of_the_wait(chain: Chain, office: Office) -> None:
    """PCA#277: Speech is done before our commit says that we wait. The notice is put back and finds the row later."""
    event = office.received(chain.new_tenant(), audio=wav(2.0, channels=2))
    overtaking: list[int] = []

    def notify_too_early(point: str) -> None:
        if point == "before_sleep" and not overtaking:
            chain.neighbours.speech.book.wait_until_idle()
            overtaking.append(-1)
            overtaking.extend(office.notify(event))

    with crashing(notify_too_early):
        office.carry(event)

    assert overtaking[1:] == [503]
    assert arrived_once(office, event)
    assert office.speech_jobs(event) == 1


def test_600_s_push_limit_doubles_paid_work(chain: Chain, office: Office) -> None:
    """octue#223, python-pubsub#593: a recogniser slower than any push request is still one job."""
    chain.neighbours.plans["speech"].add(FaultRule(operation="recognition", kind="stall", delay_s=120))
    event = office.received(chain.new_tenant(), audio=wav(2.0, channels=2))
    assert office.take(office.publisher.messages[-1]) == 204
    stored = office.publisher.messages[-1]
    for _ in range(4):
        assert office.take(stored) == 204
        office.clock.advance(3600)
        office.sweep()
        assert office.take(stored, swept="true") == 204
    assert office.runs(event)["transcribe"] == "waiting"

    chain.neighbours.plans["speech"].clear()
    chain.neighbours.speech.book.wait_until_idle()
    office.delivered = len(office.publisher.messages)
    office.notify(event)
    office.carry(event)

    assert arrived_once(office, event)
    assert office.speech_jobs(event) == 1


# -- dead letters by mistake -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("refusal", [google_errors.FailedPrecondition, google_errors.PermissionDenied])
def test_transient_fault_sent_straight_to_dead_letters(
    chain: Chain, office: Office, monkeypatch: pytest.MonkeyPatch, refusal: type[Exception]
) -> None:
    """PostHog#10396: the database is read-only for a minute. Fault found here: a stage took that for a final no."""
    event = office.received(chain.new_tenant(), audio=wav(1.0))
    with pytest.MonkeyPatch.context() as patch:
        for stage in STAGES:
            database = wiring.database(chain.settings, role=stage)()
            transport = database.spanner_api.transport
            patch.setitem(transport._wrapped_methods, transport.commit, _refusing(refusal))
        office.carry(event, tries=3)
        assert office.letters() == []

    office.delivered = 0
    office.clock.advance(660)
    office.carry(event)
    assert office.letters() == []
    assert arrived_once(office, event)


def _refusing(refusal: type[Exception]) -> Callable[..., None]:
    def commit(*_arguments: object, **_options: object) -> None:
        raise refusal("the database is read-only")

    return commit


def test_push_without_dead_letter_short_retention() -> None:
    """cross-media-measurement#3945: every push subscription ends in a topic that somebody keeps, and waits for days."""
    pipeline = load_pipeline()
    requests = {
        subscription.subscription: (
            service.role,
            subscription_request(
                project_id="p", service=service, subscription=subscription, endpoint="http://x", backoff_scale=1
            ),
        )
        for service in pipeline.services.values()
        for subscription in service.subscribes
    }
    for role, request in requests.values():
        retention: Any = request.message_retention_duration  # proto-plus makes a timedelta of it
        assert retention.total_seconds() >= 7 * DAY_S
        if role != "recorder":
            assert request.dead_letter_policy.dead_letter_topic.endswith("/dead-letters")
            assert 5 <= request.dead_letter_policy.max_delivery_attempts <= 100
    keepers = [request for role, request in requests.values() if request.topic.endswith("/dead-letters")]
    assert keepers, "a dead-letter topic without a subscription throws everything away"
    archives = [archive_request(project_id="p", archive=one) for one in pipeline.archives]
    assert [request.topic for request in archives] == ["projects/p/topics/dead-letters"]
    assert not archives[0].expiration_policy.ttl, "nobody reads it for months, and it must still be there"
