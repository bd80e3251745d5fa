"""Spans and metrics as a collector receives them: a real one's protocol, decoded with OpenTelemetry's own messages."""

from __future__ import annotations

import gzip
import os
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from google.oauth2.credentials import Credentials
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from infra.local.plan import PROJECT_ROOT, worker_command, worker_identity
from infra.local.ports import Ports
from shared.errors import ConfigurationError
from shared.gateways.telemetry import OpenTelemetry, Pace
from shared.gateways.telemetry_exports import Destination, telemetry_to
from shared.measures import CALL_TO_CRM_SECONDS, SWEEP_ACTIONS, WEBHOOKS
from shared.telemetry import span
from tests.support.waiting import eventually


@dataclass
class Collector:
    """What was received; `status` is what it answers."""

    url: str = ""
    status: int = 200
    spans: list[Any] = field(default_factory=list)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    resources: list[dict[str, str]] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)

    def take(self, path: str, body: bytes) -> None:
        if self.status != 200:
            return
        if path == "/v1/traces":
            for group in ExportTraceServiceRequest.FromString(body).resource_spans:
                self.resources.append({item.key: item.value.string_value for item in group.resource.attributes})
                self.spans += [one for scope in group.scope_spans for one in scope.spans]
        else:
            for sent in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                self.metrics.append({one.name: one for scope in sent.scope_metrics for one in scope.metrics})

    def webhooks(self) -> float:
        """What the counter of webhooks stood at when it was sent last."""
        if not self.metrics or "pipeline_webhooks_total" not in self.metrics[-1]:
            return 0
        points = self.metrics[-1]["pipeline_webhooks_total"].sum.data_points
        return float(sum(point.as_double for point in points))


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            made.authorizations.append(self.headers.get("Authorization", ""))
            made.take(self.path, body)
            self.send_response(made.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield made
    server.shutdown()
    server.server_close()


def telemetry_of(collector: Collector) -> OpenTelemetry:
    place = Destination(
        "crm_sync", "my-project", "us-central1", "crm-sync-00042", "otlp", "otlp", collector.url, "", on_cloud_run=True
    )
    return telemetry_to(place, Pace(0, 3600, 100, 1.0))


def test_a_span_arrives_with_its_trace_parent_attributes_and_error(collector: Collector) -> None:
    telemetry = telemetry_of(collector)
    trace = telemetry.trace_of("acme-plumbing", "r-1")
    with span(telemetry, "crm_sync", kind="consumer", within=trace, attempt=2, tenant_id="acme-plumbing") as around:
        around.fail("hubspot_503")
    telemetry.flush()
    (seen,) = collector.spans

    assert (seen.trace_id, seen.parent_span_id) == (
        trace.trace_id.to_bytes(16, "big"),
        trace.span_id.to_bytes(8, "big"),
    )
    assert (seen.name, seen.kind, seen.status.code, seen.status.message) == ("crm_sync", 5, 2, "hubspot_503")
    assert {item.key for item in seen.attributes} == {"attempt", "tenant_id"}
    assert collector.resources[0] | {"service.instance.id": ""} == {
        "service.name": "crm_sync",
        "service.namespace": "pipeline",
        "service.version": "crm-sync-00042",
        "service.instance.id": "",
        "cloud.provider": "gcp",
        "cloud.platform": "gcp_cloud_run",
        "cloud.region": "us-central1",
        "gcp.project_id": "my-project",
    }


def test_metrics_arrive_as_cumulative_series_and_nothing_of_an_outage_is_missing(collector: Collector) -> None:
    telemetry = telemetry_of(collector)
    telemetry.count(WEBHOOKS, outcome="accepted", code="")
    telemetry.observe(CALL_TO_CRM_SECONDS, 700.0)
    telemetry.gauge(SWEEP_ACTIONS, 4, action="running_sent_again")
    collector.status = 400
    telemetry.flush()
    assert collector.metrics == []

    collector.status = 200
    telemetry.count(WEBHOOKS, 2, outcome="accepted", code="")
    telemetry.flush()
    (seen,) = collector.metrics
    histogram = seen["pipeline_call_to_crm_seconds"].histogram

    assert collector.webhooks() == 3
    assert seen["pipeline_webhooks_total"].sum.aggregation_temporality == 2, "cumulative"
    assert 600.0 in list(histogram.data_points[0].explicit_bounds)
    assert histogram.data_points[0].sum == 700.0
    assert seen["pipeline_sweep_actions"].gauge.data_points[0].as_double == 4


def test_google_gets_the_service_accounts_token(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """Google's endpoint speaks the same protocol: a collector in its place, and credentials that are made up."""
    credentials = Credentials(token="made-up-token")
    monkeypatch.setattr("google.auth.default", lambda **_: (credentials, "my-project"))
    monkeypatch.setattr("shared.gateways.telemetry_exports.GOOGLE_ENDPOINT", collector.url)
    place = Destination("crm_sync", "p", "r", "v", "google", "google", "http://127.0.0.1:9", "", on_cloud_run=True)
    telemetry = telemetry_to(place, Pace(0, 30, 100, 1.0))
    telemetry.end(telemetry.begin("x", kind="internal", within=telemetry.trace_of("acme-plumbing", "r-1")))
    telemetry.count(WEBHOOKS, outcome="accepted", code="")
    telemetry.flush()

    assert (len(collector.spans), collector.webhooks()) == (1, 1)
    assert set(collector.authorizations) == {"Bearer made-up-token"}


def test_google_without_credentials_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "CLOUDSDK_CONFIG"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS")
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    place = Destination("crm_sync", "p", "r", "v", "google", "off", "", "", on_cloud_run=True)

    with pytest.raises(ConfigurationError, match="no credentials"):
        telemetry_to(place, Pace(0, 30, 100, 1.0)).connect()


def test_a_service_sends_what_is_left_when_it_is_told_to_stop(collector: Collector) -> None:
    """In its real server: the second webhook comes before anything is due again, and SIGTERM brings it out."""
    ports = Ports()
    port = ports.take()
    env = {
        "PATH": os.environ.get("PATH", ""),
        "PORT": str(port),
        "GOOGLE_CLOUD_PROJECT": "test-project",
        "PIPELINE_ENVIRONMENT": "local",
        "PIPELINE_BIND_HOST": "127.0.0.1",
        "PIPELINE_PUSH_AUTH": "off",
        "PIPELINE_METRICS": "otlp",
        "PIPELINE_OTLP_ENDPOINT": collector.url,
        "PIPELINE_METRICS_EVERY_S": "600",
        "SPANNER_EMULATOR_HOST": "127.0.0.1:1",
        "PUBSUB_EMULATOR_HOST": "127.0.0.1:1",
        "STORAGE_EMULATOR_HOST": "http://127.0.0.1:1",
        **worker_identity("webhook"),
    }
    process = subprocess.Popen(worker_command(), env=env, cwd=PROJECT_ROOT)
    address = f"http://127.0.0.1:{port}"
    try:
        eventually(lambda: _answers(f"{address}/livez"), what="the server answers", timeout_s=30)
        _post_rubbish(address)
        eventually(lambda: bool(collector.metrics), what="the first sending", timeout_s=20)
        for _ in range(2):
            _post_rubbish(address)
    finally:
        process.terminate()
        process.wait(timeout=15)
        ports.release()

    assert collector.webhooks() == 3


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def _post_rubbish(address: str) -> None:
    headers = {"Content-Type": "application/json"}
    answer = httpx.post(
        f"{address}/v1/callrail/webhook", content=b"rubbish", headers=headers, timeout=10, trust_env=False
    )
    assert answer.status_code == 400
