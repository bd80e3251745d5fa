"""docs/api/error-tables.md, row by row: each answer of each neighbour, played to the real gateway."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import grpc
import httpx
import pytest
from flask import Flask, Response
from google.cloud import spanner
from google.cloud.spanner_v1 import CommitRequest, CommitResponse, CreateSessionRequest, Session
from google.pubsub_v1.types import PublishRequest, PublishResponse

from infra.local import gcs
from infra.local.plan import PROJECT_ROOT
from infra.local.standins.faults import FaultRule
from infra.local.standins.grpc_serving import RunningStandin
from infra.local.standins.secret_manager import serve_secret_manager
from infra.local.standins.serving import drop_connection, serve_in_thread
from infra.local.standins.speech import RunningSpeech, serve_speech
from infra.local.standins.vertex import serve_vertex
from shared.errors import AlreadyThere, PipelineError, StoreConflict
from shared.gateways import database as bounds
from shared.gateways import speech as speech_gateway
from shared.gateways.database import blind_commit
from shared.gateways.gemini import GeminiModel
from shared.gateways.objects import GcsObjectStore
from shared.gateways.publisher import PubSubPublisher
from shared.gateways.secrets import SecretManagerSecrets
from shared.gateways.speech import speech_recognizer
from shared.ports import ModelRequest, SpeechJob
from stages.analyze.prompt import response_schema
from tests.support import error_rows
from tests.support.crm_calls import crm_call
from tests.support.error_rows import Row, Table
from tests.support.hubspot_portal import HubSpotHarness
from tests.support.recordings import WEBHOOK_LINK, CallRail, running_callrail, tenant

PAGE = PROJECT_ROOT / "docs" / "api" / "error-tables.md"
PATIENCE_S = 0.4
"""Of the gateways' own short retries, which are tested elsewhere."""


def test_the_page_is_what_the_tests_play() -> None:
    assert PAGE.read_text(encoding="utf-8") == error_rows.page(), "run python -m tests.support.error_rows"


def rows_of(table: Table) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("row", table.rows, ids=[row.answer for row in table.rows])


def assert_becomes(row: Row, work: Callable[[], object]) -> None:
    with pytest.raises((PipelineError, StoreConflict)) as caught:
        work()
    if row.ours is StoreConflict:
        assert isinstance(caught.value, AlreadyThere)
        return
    assert isinstance(caught.value, PipelineError)
    assert isinstance(caught.value, row.ours)
    assert caught.value.code == row.code


def fault(row: Row, operation: str, *, times: int = 50) -> FaultRule:
    return FaultRule(operation=operation, times=times, **row.fault)


# -- CRMs ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def _hubspot() -> Iterator[HubSpotHarness]:
    with ExitStack() as stack:
        yield HubSpotHarness(stack)


@pytest.fixture
def hubspot(_hubspot: HubSpotHarness) -> Iterator[HubSpotHarness]:
    yield _hubspot
    _hubspot.clear_faults()


@rows_of(error_rows.HUBSPOT)
def test_hubspot(hubspot: HubSpotHarness, row: Row) -> None:
    hubspot.plan.add(fault(row, "calls.upsert"))
    assert_becomes(row, lambda: hubspot.bare_gateway(budget_s=1.5).sync_call(crm_call()))


# -- Google's, over gRPC -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vertex() -> Iterator[RunningStandin]:
    with serve_vertex() as standin:
        yield standin


@rows_of(error_rows.GEMINI)
def test_gemini(vertex: RunningStandin, row: Row) -> None:
    vertex.plan.clear()
    vertex.plan.add(fault(row, "generate_content"))
    model = GeminiModel(project="p", location="us", local_address=vertex.address, budget_s=PATIENCE_S)
    request = ModelRequest(
        model="gemini-3.5-flash-lite",
        system_instruction="Judge the call.",
        user_text="caller: My heater burst.",
        response_schema=response_schema(),
        max_output_tokens=512,
        tenant_label="acme-plumbing",
    )
    assert_becomes(row, lambda: model.generate(request))


@pytest.fixture(scope="module")
def secret_manager() -> Iterator[RunningStandin]:
    with serve_secret_manager() as standin:
        yield standin


@rows_of(error_rows.SECRETS)
def test_secret_manager(secret_manager: RunningStandin, row: Row) -> None:
    secret_manager.plan.clear()
    secret_manager.plan.add(fault(row, "access"))
    secrets = SecretManagerSecrets(project="p", local_address=secret_manager.address)
    assert_becomes(row, lambda: secrets.read("acme-hubspot"))


@pytest.fixture(scope="module")
def speech_and_bucket() -> Iterator[RunningSpeech]:
    with gcs.serve(bucket="audio") as storage_url, serve_speech(storage_url=storage_url, location="us") as standin:
        yield standin


@pytest.fixture
def speech(speech_and_bucket: RunningSpeech, monkeypatch: pytest.MonkeyPatch) -> RunningSpeech:
    monkeypatch.setattr(speech_gateway, "SUBMIT_RETRY_BUDGET_S", PATIENCE_S)
    monkeypatch.setattr(speech_gateway, "POLL_RETRY_BUDGET_S", PATIENCE_S)
    speech_and_bucket.plan.clear()
    return speech_and_bucket


def recognizer(standin: RunningSpeech) -> Any:
    return speech_recognizer(project_id="local", location="us", dynamic_batch=False, local_address=standin.address)


@rows_of(error_rows.SPEECH)
def test_speech_submission(speech: RunningSpeech, row: Row) -> None:
    speech.plan.add(fault(row, "batch_recognize"))
    name = uuid.uuid4().hex
    job = SpeechJob(
        audio_uri=f"gs://audio/recordings/acme/{name}.mp3",
        output_uri_prefix=f"gs://audio/transcripts/acme/{name}/",
        channels=2,
        duration_s=6.0,
        language_codes=("en-US",),
        model="chirp_3",
        agent_channel=1,
    )
    assert_becomes(row, lambda: recognizer(speech).submit(job))


@rows_of(error_rows.SPEECH_POLL)
def test_speech_operation(speech: RunningSpeech, row: Row) -> None:
    speech.plan.add(fault(row, "get_operation"))
    assert_becomes(row, lambda: recognizer(speech).operation("projects/local/locations/us/operations/one"))


class Refusing:
    """A gRPC service whose one method always ends with the same status."""

    def __init__(self, row: Row) -> None:
        self._code = grpc.StatusCode[row.fault["grpc_code"]]
        self._message = row.fault.get("message", "refused on purpose")

    def refuse(self, _request: Any, context: grpc.ServicerContext) -> Any:
        context.abort(self._code, self._message)

    @staticmethod
    def session(request: Any, _context: grpc.ServicerContext) -> Session:
        return Session(name=f"{request.database}/sessions/one", multiplexed=True)


@pytest.fixture
def grpc_server() -> Iterator[Callable[[str, dict[str, Any]], str]]:
    """Serves the methods of one service; returns host:port."""
    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool)

        def serve(service: str, methods: dict[str, Any]) -> str:
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))
            port = server.add_insecure_port("127.0.0.1:0")
            server.start()
            return f"127.0.0.1:{port}"

        yield serve
        server.stop(grace=None).wait()


def unary(work: Any, request: Any, response: Any) -> Any:
    return grpc.unary_unary_rpc_method_handler(
        work, request_deserializer=request.deserialize, response_serializer=response.serialize
    )


@rows_of(error_rows.SPANNER)
def test_spanner(grpc_server: Any, row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    refusing = Refusing(row)
    methods = {
        "CreateSession": unary(refusing.session, CreateSessionRequest, Session),
        "Commit": unary(refusing.refuse, CommitRequest, CommitResponse),
    }
    monkeypatch.setenv("SPANNER_EMULATOR_HOST", grpc_server("google.spanner.v1.Spanner", methods))
    monkeypatch.setattr(bounds, "COMMIT_TIMEOUT_S", PATIENCE_S)
    client = spanner.Client(project="p", disable_builtin_metrics=True)
    database = client.instance("i").database("d")
    bounds._bound_requests(database)

    def commit() -> None:
        with blind_commit(lambda: database, what="claim") as batch:
            batch.delete("stage_runs", spanner.KeySet(all_=True))

    assert_becomes(row, commit)
    client.close()


@rows_of(error_rows.PUBSUB)
def test_pubsub(grpc_server: Any, row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    methods = {"Publish": unary(Refusing(row).refuse, PublishRequest, PublishResponse)}
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", grpc_server("google.pubsub.v1.Publisher", methods))
    publisher = PubSubPublisher(project_id="p", topic_prefix="", timeout_s=1.0, window_ms=1)
    assert_becomes(row, lambda: publisher.publish("call-received", b"{}", {}))


# -- over HTTP -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def callrail() -> Iterator[CallRail]:
    with running_callrail() as standin:
        standin.holds(b"ID3" + b"x" * 100)
        yield standin


@rows_of(error_rows.RECORDINGS)
def test_recordings(callrail: CallRail, row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.gateways.recordings.OPENING_BUDGET_S", PATIENCE_S)
    httpx.delete(f"{callrail.url}/_standin/faults", trust_env=False).raise_for_status()
    callrail.misbehaves({"operation": "recording.redirect", "times": 50, **row.fault})

    def fetch() -> bytes:
        with callrail.recordings().open(
            tenant(with_api=False), call_id="CAL019aa0c4d1f07b2e9c3d5a6f70819203", recording_url=WEBHOOK_LINK
        ) as stream:
            return b"".join(stream.chunks)

    assert_becomes(row, fetch)


def storage_that(row: Row) -> Flask:
    """A bucket that gives every request the same answer."""
    app = Flask("storage")

    @app.route("/", defaults={"path": ""}, methods=["GET", "POST", "PUT", "DELETE"])
    @app.route("/<path:path>", methods=["GET", "POST", "PUT", "DELETE"])
    def answer(path: str) -> Response:
        if row.fault["kind"] == "drop":
            drop_connection()
        return Response(json.dumps({"error": {"message": path}}), status=row.fault["status"])

    return app


@rows_of(error_rows.STORAGE_READ)
def test_reading_from_storage(row: Row) -> None:
    with serve_in_thread(storage_that(row)) as url:
        store = GcsObjectStore("audio", project_id="p", endpoint=url, retry_s=PATIENCE_S)
        assert_becomes(row, lambda: store.read("x", max_bytes=10))
        assert_becomes(row, lambda: store.open("x"))


@rows_of(error_rows.STORAGE_WRITE)
def test_writing_to_storage(row: Row) -> None:
    with serve_in_thread(storage_that(row)) as url:
        store = GcsObjectStore("audio", project_id="p", endpoint=url, retry_s=PATIENCE_S)
        assert_becomes(row, lambda: store.create("x", iter([b"sound"]), content_type="audio/mpeg"))
