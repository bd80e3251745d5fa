"""Spans on their way out: our ended span as OpenTelemetry's, and an exporter that takes it."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, TraceFlags
from opentelemetry.trace import SpanKind as OtelKind
from opentelemetry.trace.status import Status, StatusCode

from shared.gateways.telemetry_pipes import EndedSpan
from shared.telemetry import SpanKind
from shared.traces import TraceContext

_KINDS: dict[SpanKind, OtelKind] = {
    "server": OtelKind.SERVER,
    "consumer": OtelKind.CONSUMER,
    "client": OtelKind.CLIENT,
    "internal": OtelKind.INTERNAL,
}
_SCOPE = InstrumentationScope("pipeline")


class ExportedSpans:
    """Gives spans to one exporter. Implements `shared.gateways.telemetry_pipes.SpanPipe`."""

    def __init__(self, exporter: SpanExporter, resource: Resource) -> None:
        self._exporter = exporter
        self._resource = resource

    def send(self, spans: Sequence[EndedSpan]) -> bool:
        """Whether they were taken; the exporter's own time-out bounds it."""
        readable = [self._readable(span) for span in spans]
        return self._exporter.export(readable) is SpanExportResult.SUCCESS

    def _readable(self, span: EndedSpan) -> ReadableSpan:
        return ReadableSpan(
            span.name,
            context=_context(span.context, is_remote=False),
            parent=_context(span.parent, is_remote=True) if span.parent else None,
            resource=self._resource,
            attributes=dict(span.attributes),
            links=[Link(_context(link, is_remote=True)) for link in span.links],
            kind=_KINDS[span.kind],
            status=Status(StatusCode.ERROR, span.error) if span.error else Status(StatusCode.UNSET),
            start_time=span.begun_ns,
            end_time=max(span.ended_ns, span.begun_ns),
            instrumentation_scope=_SCOPE,
        )


def _context(context: TraceContext, *, is_remote: bool) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if context.is_sampled else TraceFlags.DEFAULT)
    return SpanContext(context.trace_id, context.span_id, is_remote, flags)
