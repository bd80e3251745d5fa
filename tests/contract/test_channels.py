"""How Google's APIs are reached: where a client connects to, and how soon after a neighbour is back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud.secretmanager_v1 import SecretManagerServiceClient
from google.cloud.secretmanager_v1.services.secret_manager_service.transports.grpc import (
    SecretManagerServiceGrpcTransport,
)

from infra.local.ports import Ports
from infra.local.standins.grpc_serving import RunningStandin
from infra.local.standins.secret_manager import serve_secret_manager
from shared.gateways import kms, secrets
from shared.gateways.channels import RECONNECT_WITHIN_MS, google_client, loopback_channel
from shared.gateways.gemini import _make_client as gemini_client
from shared.gateways.speech import speech_recognizer
from tests.support.waiting import eventually

_AWAY_S = 10.0
"""gRPC's own waits are 1.0, 1.6, 2.6, 4.1 and 6.6 s, each up to a fifth shorter or longer. After ten seconds a channel
would come back three to eight seconds later."""
_METHOD = "/pipeline.Test/Echo"


class _Echo(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in its stubs only
    def service(self, details: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(lambda request, _context: request)


@contextmanager
def echo_at(address: str) -> Iterator[None]:
    server = grpc.server(ThreadPoolExecutor(1), handlers=[_Echo()])
    assert server.add_insecure_port(address)
    server.start()
    try:
        yield
    finally:
        server.stop(None).wait()


def test_a_neighbour_that_was_long_away_is_reached_soon_after_its_return() -> None:
    ports = Ports()
    address = f"127.0.0.1:{ports.take()}"

    with loopback_channel(address) as channel:
        call = channel.unary_unary(_METHOD, request_serializer=None, response_deserializer=None)

        def answers() -> bool:
            try:
                return bool(call(b"hello", timeout=1.0) == b"hello")
            except grpc.RpcError:
                return False

        away_until = time.monotonic() + _AWAY_S
        while time.monotonic() < away_until:
            assert not answers()
            time.sleep(0.1)
        with echo_at(address):
            back = time.monotonic()
            eventually(answers, what="the first answer")
            waited_s = time.monotonic() - back
    ports.release()

    assert waited_s < RECONNECT_WITHIN_MS / 1000 * 1.2 + 0.6  # gRPC's jitter; a machine with other things to do


@pytest.fixture
def dialled(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """With credentials at hand; every channel that a client of Google's opens: host and options."""
    seen: list[tuple[str, dict[str, Any]]] = []

    def secure_channel(target: str, _credentials: Any, options: Any = None, **_: Any) -> grpc.Channel:
        seen.append((target, dict(options)))
        return grpc.insecure_channel("127.0.0.1:1")

    monkeypatch.setattr("google.auth.default", lambda *_, **__: (AnonymousCredentials(), "my-project"))
    monkeypatch.setattr("google.api_core.grpc_helpers.grpc.secure_channel", secure_channel)
    return seen


def test_every_client_of_a_deployment_reconnects_soon_and_dials_its_own_host(
    dialled: list[tuple[str, dict[str, Any]]],
) -> None:
    speech_recognizer(project_id="my-project", location="eu", dynamic_batch=False)
    gemini_client("europe-west4", "")
    secrets._make_client("")
    kms._make_client("")

    assert [host for host, _ in dialled] == [
        "eu-speech.googleapis.com:443",
        "europe-west4-aiplatform.googleapis.com:443",
        "secretmanager.googleapis.com:443",
        "cloudkms.googleapis.com:443",
    ]
    for host, options in dialled:
        assert options["grpc.max_reconnect_backoff_ms"] == RECONNECT_WITHIN_MS, host
        assert options["grpc.max_receive_message_length"] == -1, f"{host}: the library's own options are kept"


@pytest.fixture
def standin() -> Iterator[RunningStandin]:
    with serve_secret_manager() as running:
        yield running


def test_a_client_made_for_a_deployment_can_call(standin: RunningStandin, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same way as in the cloud, but for the TLS."""

    class Plain(SecretManagerServiceGrpcTransport):
        @classmethod
        def create_channel(cls, host: str = "", *_: Any, options: Any = (), **__: Any) -> grpc.Channel:
            return grpc.insecure_channel(host, options=options)

    monkeypatch.setattr("google.auth.default", lambda *_, **__: (AnonymousCredentials(), "my-project"))
    client = google_client(SecretManagerServiceClient, Plain, local_address="", api_endpoint=standin.address)

    made = client.create_secret(parent="projects/p", secret_id="s", secret={"replication": {"automatic": {}}})

    assert made.name == "projects/p/secrets/s"
