"""The webhook service in its real server, as in the container: what gunicorn and functions-framework add to it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from handlers.receiver import MAX_BODY_BYTES
from infra.local.plan import PROJECT_ROOT, worker_command, worker_identity
from infra.local.ports import Ports
from tests.support.waiting import eventually

SHARED = "/v1/callrail/webhook"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a running webhook service whose neighbours are all away."""
    ports = Ports()
    port = ports.take()
    log = tmp_path_factory.mktemp("webhook") / "log"
    process = _start(port, log)
    try:
        eventually(lambda: _is_listening(port) or process.poll() is not None, what="the server listens", timeout_s=30)
        assert process.poll() is None, log.read_text()
        yield port
    finally:
        process.terminate()
        process.wait(timeout=15)
        ports.release()


def _start(port: int, log: Path) -> subprocess.Popen[bytes]:
    env = {
        "PATH": os.environ.get("PATH", ""),
        "PORT": str(port),
        "GOOGLE_CLOUD_PROJECT": "test-project",
        "PIPELINE_ENVIRONMENT": "local",
        "PIPELINE_BIND_HOST": "127.0.0.1",
        "PIPELINE_PUSH_AUTH": "off",
        "SPANNER_EMULATOR_HOST": "127.0.0.1:1",
        "PUBSUB_EMULATOR_HOST": "127.0.0.1:1",
        "STORAGE_EMULATOR_HOST": "http://127.0.0.1:1",
        **worker_identity("webhook"),
    }
    with log.open("wb") as sink:
        return subprocess.Popen(worker_command(), env=env, cwd=PROJECT_ROOT, stdout=sink, stderr=sink)


def _is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def ask(
    port: int, method: str, path: str, body: Any = None, *, content_type: str = "application/json"
) -> tuple[int, dict[str, Any]]:
    """One request on a connection of its own; an iterator as `body` is sent chunked."""
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, body, {"Content-Type": content_type})
        answer = connection.getresponse()
        document: dict[str, Any] = json.loads(answer.read())
        return answer.status, document
    finally:
        connection.close()


def pieces(size: int) -> Iterator[bytes]:
    """`size` bytes in chunks of 64 KiB."""
    whole, rest = divmod(size, 65_536)
    yield from [b"x" * 65_536] * whole
    if rest:
        yield b"x" * rest


def test_a_body_over_the_limit_is_answered_413_and_not_500(server: int) -> None:
    """functions-framework reads every body once more after the answer: over the limit that ended in a 500."""
    status, answer = ask(server, "POST", SHARED, b"x" * (MAX_BODY_BYTES + 1))
    assert (status, answer["error"]) == (413, "body_too_large")


def test_a_chunked_body_is_bounded_too(server: int) -> None:
    status, answer = ask(server, "POST", SHARED, pieces(MAX_BODY_BYTES + 1))
    assert (status, answer["error"]) == (413, "body_too_large")
    status, answer = ask(server, "POST", SHARED, pieces(MAX_BODY_BYTES))
    assert (status, answer["error"]) == (400, "unreadable_body")


@pytest.mark.parametrize(
    ("method", "path", "content_type", "status"),
    [
        ("POST", "/nowhere", "application/json", 404),
        ("PUT", SHARED, "application/json", 405),
        ("POST", SHARED, "text/plain", 415),
    ],
)
def test_a_body_that_nobody_wants_is_not_waited_for(
    server: int, method: str, path: str, content_type: str, status: int
) -> None:
    """Without this, anybody could fill the memory with bodies sent to no address at all."""
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\nContent-Length: 900000000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server), timeout=20) as connection:
        connection.sendall(head.encode() + b"x" * 1000)
        assert connection.recv(12) == f"HTTP/1.1 {status}".encode()


@pytest.mark.parametrize(
    "request_body",
    [
        b"Content-Length: 1000\r\n\r\n{",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\n{",
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{",
    ],
    ids=["shorter than said", "chunk cut off", "no chunk"],
)
def test_a_body_that_breaks_off_is_refused_and_the_server_lives_on(server: int, request_body: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server), timeout=20) as connection:
        head = f"POST {SHARED} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
        connection.sendall(head.encode() + request_body)
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert ask(server, "POST", SHARED, b"{")[0] == 400


def test_without_pubsub_and_inbox_the_health_page_says_503(server: int) -> None:
    status, answer = ask(server, "GET", "/v1/health")
    assert (status, answer["status"]) == (503, "unhealthy")
    assert answer["services"] == {
        "database": "unknown",
        "storage": "unknown",
        "speech_api": "unknown",
        "vertex_ai": "unknown",
        "pubsub": "unhealthy",
    }


def test_without_its_database_a_webhook_is_answered_503_in_time(server: int) -> None:
    status, answer = ask(server, "POST", SHARED, b'{"company_resource_id": "COM1"}')
    assert (status, answer["status"]) == (503, "error")
    assert "try" in answer["message"] or "send" in answer["message"]
