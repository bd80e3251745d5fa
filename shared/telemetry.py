"""Spans and metrics as the rest of the code sees them: a port, the span under way, and the implementation that is off.

`shared/gateways/telemetry.py` implements the port with OpenTelemetry's SDK, which is loaded only where it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, Protocol

from shared.measures import Measure
from shared.traces import TraceContext, trace_of_request

Value = str | int | float | bool
SpanKind = Literal["server", "consumer", "client", "internal"]


class Span:
    """One span under way. Attributes are ids, codes and numbers: never what a caller said or is called."""

    __slots__ = ("attributes", "context", "error", "links")

    def __init__(self, context: TraceContext | None = None) -> None:
        self.context = context
        """None where nothing is recorded."""
        self.attributes: dict[str, Value] = {}
        self.error = ""
        """An error code; empty while all is well."""
        self.links: list[TraceContext] = []

    @property
    def is_recorded(self) -> bool:
        """Whether anybody will see what is set."""
        return False

    def set(self, **attributes: Value) -> None:
        """Add attributes; None of them may be personal data."""
        self.attributes.update(attributes)

    def fail(self, code: str) -> None:
        """The span ends in an error of this code."""
        self.error = code or "unknown"


_current: ContextVar[Span | None] = ContextVar("current_span", default=None)


def current_span() -> Span:
    """The innermost span of this thread; one that nobody records where there is none."""
    return _current.get() or Span()


@contextmanager
def as_current(span: Span) -> Iterator[None]:
    """Make it the innermost span inside the block."""
    before = _current.set(span)
    try:
        yield
    finally:
        _current.reset(before)


class Telemetry(Protocol):
    """Takes spans and measurements. No method raises, and none waits except `flush` and `flush_if_due`."""

    def trace_of(self, tenant_id: str, request_id: str) -> TraceContext:
        """The request's trace, sampled or not."""
        ...

    def begin(self, name: str, *, kind: SpanKind, within: TraceContext | None = None) -> Span:
        """A new span, inside `within` or else the current span; `end` records it."""
        ...

    def end(self, span: Span) -> None: ...

    def record_root(self, name: str, context: TraceContext, *, begun_s: float, **attributes: Value) -> None:
        """The span that a trace's other spans are inside of, from `begun_s` (seconds since 1970) until now."""
        ...

    def count(self, measure: Measure, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""
        ...

    def observe(self, measure: Measure, value: float, **labels: str) -> None:
        """One value of a histogram."""
        ...

    def gauge(self, measure: Measure, value: float, **labels: str) -> None:
        """What a gauge stands at."""
        ...

    def nudge(self) -> None:
        """Have the background thread send what is due; costs next to nothing."""
        ...

    def flush_if_due(self) -> None:
        """Send now, in this thread, what has waited long enough; bounded by a short time-out."""
        ...

    def flush(self) -> None:
        """Send everything; bounded by a short time-out."""
        ...


@contextmanager
def span(
    telemetry: Telemetry, name: str, *, kind: SpanKind, within: TraceContext | None = None, **attributes: Value
) -> Iterator[Span]:
    """A span around the block. An exception that leaves the block marks it with its type and goes on."""
    begun = telemetry.begin(name, kind=kind, within=within)
    begun.set(**attributes)
    try:
        with as_current(begun):
            yield begun
    except BaseException as error:
        if not begun.error:
            begun.fail(getattr(error, "code", "") or type(error).__name__)
        raise
    finally:
        telemetry.end(begun)


class NoTelemetry:
    """Records nothing; traces exist all the same, because logs and messages name them."""

    def trace_of(self, tenant_id: str, request_id: str) -> TraceContext:
        # Not sampled: who looks at the flag must not search for spans that nobody recorded.
        return trace_of_request(tenant_id, request_id, ratio=0.0)

    def begin(self, name: str, *, kind: SpanKind, within: TraceContext | None = None) -> Span:
        del name, kind
        return Span(within)

    def end(self, span: Span) -> None:
        pass

    def record_root(self, name: str, context: TraceContext, *, begun_s: float, **attributes: Value) -> None:
        pass

    def count(self, measure: Measure, amount: float = 1, **labels: str) -> None:
        pass

    def observe(self, measure: Measure, value: float, **labels: str) -> None:
        pass

    def gauge(self, measure: Measure, value: float, **labels: str) -> None:
        pass

    def nudge(self) -> None:
        pass

    def flush_if_due(self) -> None:
        pass

    def flush(self) -> None:
        pass


OFF: Telemetry = NoTelemetry()
