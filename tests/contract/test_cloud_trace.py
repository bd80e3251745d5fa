"""One trace from Cloud Trace's v1 interface: its JSON, its ids as decimal numbers, and its refusals in our words."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests

from shared.errors import ConfigurationError, TransientFailure
from shared.gateways.cloud_trace import CloudTrace
from shared.trace_tree import tree_lines

TRACE = "69850108fa307cc83d424a346486ec73"
PATH = f"/v1/projects/my-project/traces/{TRACE}"


@dataclass
class Standin:
    """Answers with `document` and `status`; keeps the paths it was asked for."""

    url: str = ""
    status: int = 200
    document: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def trace(self) -> CloudTrace:
        session = requests.Session()
        session.trust_env = False
        return CloudTrace("my-project", session, address=self.url)


@pytest.fixture
def standin() -> Iterator[Standin]:
    made = Standin()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.asked.append(self.path)
            body = json.dumps(made.document).encode()
            self.send_response(made.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield made
    server.shutdown()
    server.server_close()


def v1_span(name: str, span_id: int, parent: int | None, begun: str, ended: str, **labels: str) -> dict[str, Any]:
    ids = {"spanId": str(span_id), **({"parentSpanId": str(parent)} if parent else {})}
    return {
        **ids,
        "kind": "SPAN_KIND_UNSPECIFIED",
        "name": name,
        "startTime": begun,
        "endTime": ended,
        "labels": labels,
    }


def test_a_trace_is_read_and_drawn(standin: Standin) -> None:
    standin.document = {
        "projectId": "my-project",
        "traceId": TRACE,
        "spans": [
            v1_span("request", 2**63 + 7, None, "2026-11-28T13:32:29.000000001Z", "2026-11-28T13:32:29.500Z"),
            v1_span("download", 12, 2**63 + 7, "2026-11-28T13:32:30Z", "2026-11-28T13:32:31Z", attempt="1"),
        ],
    }
    spans = standin.trace().spans_of(TRACE)

    assert standin.asked == [PATH]
    assert [line.split()[1] for line in tree_lines(spans)] == ["request", "download"]
    assert spans[1].parent_id == spans[0].span_id == f"{2**63 + 7:016x}"


def test_a_trace_that_is_not_there_has_no_spans(standin: Standin) -> None:
    standin.status = 404

    assert standin.trace().spans_of(TRACE) == []


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (403, ConfigurationError, "cloud_trace_forbidden"),
        (401, ConfigurationError, "cloud_trace_forbidden"),
        (503, TransientFailure, "cloud_trace_unavailable"),
    ],
)
def test_a_refusal_says_what_to_do(
    standin: Standin, status: int, kind: type[ConfigurationError | TransientFailure], code: str
) -> None:
    standin.status = status
    with pytest.raises(kind) as caught:
        standin.trace().spans_of(TRACE)

    assert caught.value.code == code


def test_nobody_there_is_said_as_such() -> None:
    with pytest.raises(TransientFailure) as caught:
        CloudTrace("my-project", requests.Session(), address="http://127.0.0.1:9").spans_of(TRACE)

    assert caught.value.code == "cloud_trace_unreachable"
