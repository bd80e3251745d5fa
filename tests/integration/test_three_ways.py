"""Every stage delivered once, twice, in the same moment to two workers, and among failing neighbours: one outcome."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from google.cloud import spanner

from infra.local.spanner import create_database, drop_database
from infra.local.standins.faults import FaultRule
from schemas.events import CallReceived
from shared.names import first_request_id
from tests.support.audio import wav
from tests.support.emulators import TEST_INSTANCE, TEST_PROJECT
from tests.support.flaky import Chain, running_neighbours, wired_chain
from tests.support.mail import STEPS, Mail, Step, Way
from tests.support.outcome import Outcome, outcome_of
from tests.support.pipeline_database import PipelineDatabase, pipeline_ddl
from tests.support.proxy import Proxy, proxy_to
from tests.support.webhooks import CALL, POST_CALL

pytestmark = pytest.mark.emulators

CONVERSATION = {
    "turns": [
        {"channel": 1, "start_s": 0, "end_s": 1.5, "text": "Example Plumbing, how can I help you?"},
        {"channel": 2, "start_s": 1.6, "end_s": 4, "text": "My water heater burst, I need somebody today."},
    ]
}

NEIGHBOURS: Mapping[Step, Mapping[str, tuple[str, ...]]] = {
    "download": {
        "callrail": ("recording.json", "recording.redirect", "recording.file"),
        "secret_manager": ("access",),
    },
    "submit": {"speech": ("batch_recognize",)},
    "collect": {},
    "analyze": {"vertex": ("generate_content",)},
    "crm_sync": {
        "hubspot": ("contacts.search", "contacts.upsert", "calls.upsert", "associations.put"),
        "salesforce": ("oauth.token", "search", "query", "composite", "task.upsert"),
    },
}
"""Whom each step talks to, by the operations that its happy path needs."""

FAULTS: Mapping[str, dict[str, Any]] = {
    "503 twice": {"kind": "status", "status": 503, "grpc_code": "UNAVAILABLE", "times": 2},
    "429": {"kind": "status", "status": 429, "grpc_code": "RESOURCE_EXHAUSTED", "headers": {"Retry-After": "0"}},
    "drop": {"kind": "drop"},
    "drop_after": {"kind": "drop_after"},
}


@pytest.fixture(scope="module")
def database(spanner_emulator: str) -> Iterator[PipelineDatabase]:
    """One for the module: every call has a tenant of its own."""
    where = {
        "address": spanner_emulator,
        "project_id": TEST_PROJECT,
        "instance_id": TEST_INSTANCE,
        "database_id": f"three-ways-{os.getpid()}",
    }
    create_database(**where, ddl=pipeline_ddl())
    client = spanner.Client(project=TEST_PROJECT, disable_builtin_metrics=True)
    yield PipelineDatabase(client.instance(TEST_INSTANCE).database(where["database_id"]))
    client.close()
    drop_database(**where)


@pytest.fixture(scope="module")
def chain(database: PipelineDatabase, gcs_server: str) -> Iterator[Chain]:
    """All stages with all neighbours; CallRail holds the call's recording, Speech knows what it says."""
    with running_neighbours(gcs_server) as neighbours, wired_chain(neighbours, database) as chain:
        chain.hold_recording(CALL, wav(4.0, channels=2))
        said = {"audio_uri": "*", "transcript": CONVERSATION}
        httpx.post(f"{neighbours.speech.admin_url}/_standin/transcripts", json=said, trust_env=False).raise_for_status()
        yield chain


@pytest.fixture(scope="module")
def once(chain: Chain) -> Outcome:
    """What a call leaves when every message comes once and every neighbour is well."""
    return carried(chain)


def carried(
    chain: Chain,
    *,
    at: Step = "download",
    way: Way = "once",
    faults: Mapping[str, list[FaultRule]] | None = None,
    trouble: AbstractContextManager[None] | None = None,
    publish_failures: int = 0,
) -> Outcome:
    """One call of a new tenant through all steps, with `at` disturbed, and what it left."""
    tenant = chain.new_tenant()
    event = CallReceived(
        tenant_id=tenant.tenant_id,
        request_id=first_request_id(tenant.tenant_id, CALL),
        call_id=CALL,
        kind="post_call",
        received_at=datetime.now(UTC),
        payload=POST_CALL,
    )
    trouble = trouble or (chain.neighbours.misbehaving(faults) if faults else nullcontext())
    mail = Mail(chain, way=way, at=at, trouble=trouble, publish_failures=publish_failures)
    mail.carry(event)
    return outcome_of(chain, event, mail.publisher)


def test_delivered_once_a_call_ends_in_both_crms_and_is_paid_once(once: Outcome) -> None:
    assert {(row["stage"], row["state"]) for row in once["rows"]["stage_runs"]} == {
        (stage, "done") for stage in ("download", "transcribe", "analyze", "crm_sync")
    }
    assert [row["state"] for row in once["rows"]["processing_requests"]] == ["done"]
    assert {kind: len(records) for kind, records in once["hubspot"].items()} == {"contacts": 1, "calls": 1}
    assert {kind: len(records) for kind, records in once["salesforce"].items()} == {
        "leads": 1,
        "contacts": 0,
        "tasks": 1,
    }
    assert [row["activity_id"] for row in once["rows"]["crm_syncs"]] == ["calls 1", "tasks 1"]
    assert once["speech operations"] == 1
    assert once["vertex"]["answers"] == 1
    billed = {row["stage"]: row for row in once["rows"]["usage_ledger"]}
    assert billed["transcribe"]["audio_s"] == 8.0, "four seconds on each of two channels"
    assert billed["analyze"]["input_tokens"] == once["vertex"]["input_tokens"]
    assert not [message for message in once["messages"] if message.startswith("dead-letters")]


@pytest.mark.parametrize("step", STEPS)
def test_a_second_delivery_changes_nothing(chain: Chain, once: Outcome, step: Step) -> None:
    assert carried(chain, at=step, way="twice") == once


@pytest.mark.parametrize("step", STEPS)
def test_two_workers_at_once_change_nothing(chain: Chain, once: Outcome, step: Step) -> None:
    """A slow answer from the outside makes sure that the second worker comes while the first is busy."""
    slow = {
        name: [FaultRule(operation=operations[0], kind="stall", delay_s=0.3)]
        for name, operations in NEIGHBOURS[step].items()
    }
    assert carried(chain, at=step, way="at once", faults=slow) == once


@pytest.mark.parametrize("step", STEPS)
def test_a_failed_publish_changes_nothing(chain: Chain, once: Outcome, step: Step) -> None:
    failures = 0 if step == "submit" else 1  # submit publishes nothing: it waits for Speech
    assert carried(chain, at=step, publish_failures=failures) == once


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("step", [step for step in STEPS if NEIGHBOURS[step]])
def test_failing_neighbours_change_nothing(chain: Chain, once: Outcome, step: Step, fault: str) -> None:
    faults = {
        name: [FaultRule(operation=operation, **FAULTS[fault]) for operation in operations]
        for name, operations in NEIGHBOURS[step].items()
    }

    disturbed = carried(chain, at=step, faults=faults, publish_failures=0 if step == "submit" else 1)

    if fault == "drop_after":
        assert without_what_a_lost_answer_hides(disturbed) == without_what_a_lost_answer_hides(once)
    else:
        assert disturbed == once


@pytest.fixture
def behind_proxy(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Chain, Proxy]]:
    """The same stages with a proxy before the bucket; Speech writes to the bucket itself, as on Google."""
    # A setting of its own makes the parts of these stages new ones: wiring keeps parts by their settings.
    monkeypatch.setenv("PIPELINE_LOG_LEVEL", "WARNING")
    with proxy_to(chain.neighbours.storage_url.removeprefix("http://")) as bucket:
        neighbours = replace(chain.neighbours, storage_url=f"http://{bucket.address}")
        with wired_chain(neighbours, chain.database) as proxied:
            yield proxied, bucket


@pytest.mark.parametrize(
    ("step", "requests_before"), [("download", 1), ("download", 2), ("download", 3), ("collect", 1)]
)
def test_a_bucket_that_breaks_off_changes_nothing(
    behind_proxy: tuple[Chain, Proxy], once: Outcome, step: Step, requests_before: int
) -> None:
    """The request has arrived, its answer is lost with the connection: the bucket may hold what was written, or not."""
    chain, bucket = behind_proxy

    @contextmanager
    def breaking_off() -> Iterator[None]:
        bucket.after_requests(requests_before, bucket.drop_connections)
        yield
        assert bucket.breaks == 1, "nobody met the fault"

    assert carried(chain, at=step, trouble=breaking_off()) == once


def without_what_a_lost_answer_hides(outcome: Outcome) -> Outcome:
    """Vertex bills an answer that was lost on the way, and a CRM says of a repeated creation that it was there."""
    syncs = [{**row, "person_created": None} for row in outcome["rows"]["crm_syncs"]]
    return {**outcome, "vertex": None, "rows": {**outcome["rows"], "crm_syncs": syncs}}
