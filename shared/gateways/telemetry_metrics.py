"""Metrics on their way out: `shared/measures.py` as OpenTelemetry's instruments, read when somebody says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricReader, MetricsData
from opentelemetry.sdk.resources import Resource

from shared.measures import MEASURES, Measure


class _OnDemandReader(MetricReader):
    """Exports when it is told to; the SDK's own reader has a thread and a clock for that."""

    def __init__(self, exporter: MetricExporter) -> None:
        super().__init__()
        self._exporter = exporter
        self.is_taken = True

    def _receive_metrics(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> None:
        del kwargs
        self.is_taken = self._exporter.export(metrics_data, timeout_millis) is MetricExportResult.SUCCESS

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        del kwargs
        self._exporter.shutdown(timeout_millis)


class ExportedMetrics:
    """Implements `shared.gateways.telemetry_pipes.MetricPipe`: one instrument for each measure.

    Cumulative, as Cloud Monitoring and Prometheus want it: what one sending loses, the next one brings.
    """

    def __init__(self, exporter: MetricExporter, resource: Resource) -> None:
        self._reader = _OnDemandReader(exporter)
        meter = MeterProvider([self._reader], resource=resource, shutdown_on_exit=False).get_meter("pipeline")
        makers: dict[str, Any] = {
            "counter": meter.create_counter,
            "gauge": meter.create_gauge,
            "histogram": meter.create_histogram,
        }
        self._instruments: dict[str, Any] = {}
        for measure in MEASURES:
            bounds = {"explicit_bucket_boundaries_advisory": measure.bounds} if measure.bounds else {}
            self._instruments[measure.name] = makers[measure.kind](
                measure.name, unit=measure.unit, description=measure.description, **bounds
            )

    def record(self, measure: Measure, value: float, labels: Mapping[str, str]) -> None:
        instrument = self._instruments[measure.name]
        value = float(value)  # a series is of integers or of numbers, never of both
        match measure.kind:
            case "counter":
                instrument.add(value, dict(labels))
            case "histogram":
                instrument.record(value, dict(labels))
            case "gauge":
                instrument.set(value, dict(labels))

    def send(self) -> bool:
        self._reader.collect()
        return self._reader.is_taken
