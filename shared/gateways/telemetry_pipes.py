"""What leaves a process: ended spans and measurements, and the two pipes that take them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from shared.measures import Measure
from shared.telemetry import SpanKind, Value
from shared.traces import TraceContext


@dataclass(frozen=True)
class EndedSpan:
    """A span with nothing more to come. Times are nanoseconds since 1970."""

    name: str
    kind: SpanKind
    context: TraceContext
    parent: TraceContext | None
    begun_ns: int
    ended_ns: int
    attributes: Mapping[str, Value]
    error: str = ""
    links: tuple[TraceContext, ...] = field(default=())


class SpanPipe(Protocol):
    """Takes spans out of the process."""

    def send(self, spans: Sequence[EndedSpan]) -> bool:
        """Whether they were taken."""
        ...


class MetricPipe(Protocol):
    """Adds measurements up and takes the sums out of the process."""

    def record(self, measure: Measure, value: float, labels: Mapping[str, str]) -> None: ...

    def send(self) -> bool:
        """Whether they were taken; what was not, the next sending has too."""
        ...


@dataclass(frozen=True)
class Pipes:
    """Makes the pipes, None for one that is off. Making one loads the SDK, which takes 0.2 s: at the first sending."""

    spans: Callable[[], SpanPipe] | None
    metrics: Callable[[], MetricPipe] | None
