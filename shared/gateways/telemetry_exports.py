"""Where telemetry goes: lines on standard output or in files, an OTLP collector, or Google's own OTLP endpoint.

Google's endpoint (telemetry.googleapis.com) takes plain OTLP, so both ways are one exporter and differ in address and
credentials: docs/decisions/0014-otlp-to-google.md.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal
from uuid import uuid4

from shared.errors import ConfigurationError
from shared.gateways.telemetry import OpenTelemetry, Pace
from shared.gateways.telemetry_pipes import MetricPipe, Pipes, SpanPipe

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace.export import SpanExporter
    from requests import Session

Target = Literal["off", "console", "otlp", "google"]

GOOGLE_ENDPOINT = "https://telemetry.googleapis.com"
_TIMEOUT_S = 2.0
"""A worker that answers its request may wait so long for an export, every few seconds at most; at the end of a process
two of them must fit into what Cloud Run leaves of its 10 s."""


@dataclass(frozen=True)
class Destination:
    """Who sends, and where to."""

    service: str
    project_id: str
    region: str
    revision: str
    traces: Target
    metrics: Target
    endpoint: str
    """Base URL of the OTLP collector; asked only where a target is `otlp`."""
    folder: str
    """Where `console` writes its files; empty means standard output."""
    on_cloud_run: bool


def telemetry_to(destination: Destination, pace: Pace) -> OpenTelemetry:
    """Ready to record; what it takes to send is loaded later, or by `connect`."""
    return OpenTelemetry(
        Pipes(
            spans=None if destination.traces == "off" else lambda: _span_pipe(destination),
            metrics=None if destination.metrics == "off" else lambda: _metric_pipe(destination),
        ),
        pace,
    )


def _span_pipe(destination: Destination) -> SpanPipe:
    from shared.gateways.telemetry_spans import ExportedSpans

    return ExportedSpans(_span_exporter(destination), _resource(destination))


def _metric_pipe(destination: Destination) -> MetricPipe:
    from shared.gateways.telemetry_metrics import ExportedMetrics

    return ExportedMetrics(_metric_exporter(destination), _resource(destination))


def spans_file(folder: str | Path, service: str) -> Path:
    """Where `console` writes a service's spans, a line each, as the SDK writes them in JSON."""
    return Path(folder) / f"spans-{service}.jsonl"


def metrics_file(folder: str | Path, service: str) -> Path:
    """Where `console` writes a service's metrics, a line each time."""
    return Path(folder) / f"metrics-{service}.jsonl"


def _resource(destination: Destination) -> Resource:
    """Google makes the labels location, namespace, job and instance of these (its resource `prometheus_target`)."""
    from opentelemetry.sdk.resources import Resource

    return Resource(
        {
            "service.name": destination.service,
            "service.namespace": "pipeline",
            "service.version": destination.revision,
            # Counters begin at nothing in every process, so every process is a series of its own.
            "service.instance.id": str(uuid4()),
            "cloud.provider": "gcp",
            "cloud.region": destination.region,
            "gcp.project_id": destination.project_id,
            **({"cloud.platform": "gcp_cloud_run"} if destination.on_cloud_run else {}),
        }
    )


def _span_exporter(destination: Destination) -> SpanExporter:
    if destination.traces == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        out = _lines(spans_file(destination.folder, destination.service), destination)
        return ConsoleSpanExporter(out=out, formatter=lambda span: span.to_json(indent=None) + "\n")
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(
        endpoint=f"{_base(destination, destination.traces)}/v1/traces",
        timeout=_TIMEOUT_S,
        session=_session(destination.traces),
    )


def _metric_exporter(destination: Destination) -> MetricExporter:
    if destination.metrics == "console":
        from opentelemetry.sdk.metrics.export import ConsoleMetricExporter

        out = _lines(metrics_file(destination.folder, destination.service), destination)
        return ConsoleMetricExporter(out=out, formatter=lambda data: data.to_json(indent=None) + "\n")
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

    return OTLPMetricExporter(
        endpoint=f"{_base(destination, destination.metrics)}/v1/metrics",
        timeout=_TIMEOUT_S,
        session=_session(destination.metrics),
    )


def _base(destination: Destination, target: Target) -> str:
    return GOOGLE_ENDPOINT if target == "google" else destination.endpoint.rstrip("/")


def _session(target: Target) -> Session | None:
    """With the service account's token on each request; None for a collector, which asks for none."""
    if target != "google":
        return None
    import google.auth
    from google.auth.exceptions import GoogleAuthError
    from google.auth.transport.requests import AuthorizedSession

    try:
        credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    except GoogleAuthError as error:
        raise ConfigurationError(
            "no_telemetry_credentials",
            "PIPELINE_TRACES or PIPELINE_METRICS says google, and there are no credentials of Google",
            fix="give the process a service account, or say otlp, console or off",
        ) from error
    return AuthorizedSession(credentials)


def _lines(path: Path, destination: Destination) -> IO[str]:
    if not destination.folder:
        return sys.stdout
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("a", encoding="utf-8", buffering=1)
