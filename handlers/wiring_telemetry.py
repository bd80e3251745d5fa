"""Telemetry of a service: off, or OpenTelemetry's SDK with an exporter, loaded only then; sent once more at the end."""

from __future__ import annotations

import atexit

from shared.settings import Settings
from shared.shutdown import on_sigterm_after
from shared.telemetry import OFF, Telemetry

_LAST_CALL_AFTER_S = 7.0
"""For a process whose requests do not end: gunicorn kills it 8 s after SIGTERM. Otherwise it ends by itself, and sends
what is left when it does."""


def telemetry_of(settings: Settings, *, service: str) -> Telemetry:
    """As `PIPELINE_TRACES` and `PIPELINE_METRICS` say. Raises `ConfigurationError`."""
    if settings.traces == "off" and settings.metrics == "off":
        return OFF
    from shared.gateways.telemetry import Pace
    from shared.gateways.telemetry_exports import Destination, telemetry_to

    telemetry = telemetry_to(
        Destination(
            service=service,
            project_id=settings.project_id,
            region=settings.region,
            revision=settings.revision,
            traces=settings.traces,
            metrics=settings.metrics,
            endpoint=settings.otlp_endpoint,
            folder=settings.telemetry_dir,
            on_cloud_run=bool(settings.on_cloud_run),
        ),
        Pace(
            spans_every_s=settings.trace_every_s,
            metrics_every_s=settings.metrics_every_s,
            spans_per_s=settings.trace_spans_per_s,
            ratio=settings.trace_ratio,
        ),
    )
    if service != "webhook":
        # Refused at the start where credentials are missing. The receiver must start at once instead: it connects in
        # the background, during its first requests.
        telemetry.connect()
    atexit.register(telemetry.flush)
    on_sigterm_after(_LAST_CALL_AFTER_S, telemetry.flush)
    return telemetry
