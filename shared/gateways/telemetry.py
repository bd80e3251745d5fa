"""Spans and metrics by OpenTelemetry's SDK: its data model and its exporters, with a buffer of our own between.

The SDK's own batch processors send from background threads, which Cloud Run freezes between requests. Here whoever
answers a request sends what is due (`flush_if_due`), and a thread does so where nobody may wait (`nudge`); why that
loses nothing: docs/decisions/0013-telemetry-is-sent-while-there-is-cpu.md.
"""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from shared.gateways.telemetry_pipes import EndedSpan, MetricPipe, Pipes, SpanPipe
from shared.measures import Measure
from shared.telemetry import Span, SpanKind, Value, current_span
from shared.traces import TraceContext, trace_of_request

log = structlog.get_logger()

_MOST_WAITING = 4096
"""Spans, and values of histograms, kept while nobody can take them, some 4 MB each; then the oldest go."""
_COMPLAIN_EVERY_S = 60.0
_WITHOUT_NEWS_S = 60.0
"""Series that stand still are repeated so often: Cloud Monitoring takes one for gone after 5 minutes."""


@dataclass(frozen=True)
class Pace:
    """How often is sent, and how many spans a process records. All times in seconds."""

    spans_every_s: float
    metrics_every_s: float
    """Cloud Monitoring takes one point of a series every 5 s."""
    spans_per_s: float
    ratio: float


class _OpenSpan(Span):
    """A span that will be recorded."""

    __slots__ = ("begun_ns", "kind", "name", "parent")

    def __init__(self, name: str, *, kind: SpanKind, context: TraceContext, parent: TraceContext, begun_ns: int):
        super().__init__(context)
        self.name = name
        self.kind: SpanKind = kind
        self.parent = parent
        self.begun_ns = begun_ns

    @property
    def is_recorded(self) -> bool:
        return True


_Counts = dict[tuple[Measure, tuple[tuple[str, str], ...]], float]


class OpenTelemetry:
    """Implements `shared.telemetry.Telemetry`."""

    def __init__(
        self,
        pipes: Pipes,
        pace: Pace,
        *,
        clock_ns: Callable[[], int] = time.time_ns,
        steady_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pipes = pipes
        self._pace = pace
        self._spans: SpanPipe | None = None
        self._metrics: MetricPipe | None = None
        self._clock_ns = clock_ns
        self._steady_s = steady_s
        self._waiting: deque[EndedSpan] = deque(maxlen=_MOST_WAITING)
        self._of_thread = threading.local()
        self._counts: list[_Counts] = []
        """Of every thread, since the process began."""
        self._told: _Counts = {}
        """What of them was handed over."""
        self._has_counted = False
        self._values: deque[tuple[Measure, float, Mapping[str, str]]] = deque(maxlen=_MOST_WAITING)
        self._starting = threading.Lock()
        self._sending = threading.Lock()
        self._spans_sent_s = self._metrics_sent_s = self._complained_s = float("-inf")
        self._second = 0
        self._in_second = 0
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    # -- spans -------------------------------------------------------------------------------------

    def trace_of(self, tenant_id: str, request_id: str) -> TraceContext:
        ratio = self._pace.ratio if self._pipes.spans else 0.0
        return trace_of_request(tenant_id, request_id, ratio=ratio)

    def begin(self, name: str, *, kind: SpanKind, within: TraceContext | None = None) -> Span:
        parent = within or current_span().context
        if self._pipes.spans is None or parent is None or not parent.is_sampled or not self._has_room():
            return Span(parent)  # children and log lines belong to what is around it
        context = parent.inside(random.getrandbits(64) or 1)
        return _OpenSpan(name, kind=kind, context=context, parent=parent, begun_ns=self._clock_ns())

    def end(self, span: Span) -> None:
        if isinstance(span, _OpenSpan) and span.context is not None:
            self._waiting.append(
                EndedSpan(
                    name=span.name,
                    kind=span.kind,
                    context=span.context,
                    parent=span.parent,
                    begun_ns=span.begun_ns,
                    ended_ns=self._clock_ns(),
                    attributes=span.attributes,
                    error=span.error,
                    links=tuple(span.links),
                )
            )

    def record_root(self, name: str, context: TraceContext, *, begun_s: float, **attributes: Value) -> None:
        if self._pipes.spans is None or not context.is_sampled:
            return
        self._waiting.append(
            EndedSpan(
                name=name,
                kind="internal",
                context=context,
                parent=None,
                begun_ns=int(begun_s * 1e9),
                ended_ns=self._clock_ns(),
                attributes=attributes,
            )
        )

    def _has_room(self) -> bool:
        """Whether this second may have one more span. Two threads may both take the last place: no harm."""
        second = int(self._steady_s())
        if second != self._second:
            self._second, self._in_second = second, 0
        self._in_second += 1
        return self._in_second <= self._pace.spans_per_s

    # -- metrics -----------------------------------------------------------------------------------

    def count(self, measure: Measure, amount: float = 1, **labels: str) -> None:
        # Added up here and handed over when it is sent: the SDK's own counter takes ten times as long. In each thread
        # by itself: a lock would make a convoy of the receiver's threads (shared/logs.py).
        if self._pipes.metrics is None:
            return
        try:
            mine: _Counts = self._of_thread.counts
        except AttributeError:
            mine = self._of_thread.counts = {}
            self._counts.append(mine)
        key = (measure, tuple(labels.items()))
        mine[key] = mine.get(key, 0.0) + amount
        self._has_counted = True

    def observe(self, measure: Measure, value: float, **labels: str) -> None:
        if self._pipes.metrics is not None:
            self._values.append((measure, value, labels))

    def gauge(self, measure: Measure, value: float, **labels: str) -> None:
        self.observe(measure, value, **labels)

    # -- sending -----------------------------------------------------------------------------------

    def connect(self) -> None:
        """Load the SDK and the exporters now. Raises `ConfigurationError` where credentials are missing."""
        if self._pipes.spans and self._spans is None:
            self._spans = self._pipes.spans()
        if self._pipes.metrics and self._metrics is None:
            self._metrics = self._pipes.metrics()

    def nudge(self) -> None:
        if self._is_due() and not self._wake.is_set():
            self._wake.set()
            self._start_thread()

    def flush_if_due(self) -> None:
        self._start_thread()  # for what a last request leaves behind, where the CPU stays
        # Whoever finds another at it has nothing to add.
        if self._is_due() and self._sending.acquire(blocking=False):
            try:
                self._send(everything=False)
            finally:
                self._sending.release()

    def flush(self) -> None:
        with self._sending:
            self._send(everything=True)

    def _spans_due(self) -> bool:
        return bool(self._waiting) and self._steady_s() - self._spans_sent_s >= self._pace.spans_every_s

    def _metrics_due(self) -> bool:
        if self._pipes.metrics is None:
            return False
        has_news = self._has_counted or bool(self._values)
        every_s = self._pace.metrics_every_s if has_news else max(_WITHOUT_NEWS_S, self._pace.metrics_every_s)
        return self._steady_s() - self._metrics_sent_s >= every_s

    def _is_due(self) -> bool:
        return self._spans_due() or self._metrics_due()

    def _send(self, *, everything: bool) -> None:
        try:
            self.connect()
            if self._waiting and (everything or self._spans_due()):
                self._send_spans()
            if everything or self._metrics_due():
                self._send_metrics()
        except Exception as error:  # no call may fail because nobody could be told of it
            self._complain("telemetry", type(error).__name__)

    def _send_spans(self) -> None:
        self._spans_sent_s = self._steady_s()
        batch = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if self._spans is not None and not self._spans.send(batch):
            self._complain("spans", f"{len(batch)} spans were not taken")

    def _send_metrics(self) -> None:
        if self._metrics is None:
            return
        self._metrics_sent_s = self._steady_s()
        self._has_counted = False
        totals: defaultdict[tuple[Measure, tuple[tuple[str, str], ...]], float] = defaultdict(float)
        for counts in list(self._counts):
            for key, amount in list(counts.items()):
                totals[key] += amount
        for key, total in totals.items():
            if grown := total - self._told.get(key, 0.0):
                self._metrics.record(key[0], grown, dict(key[1]))
        self._told = dict(totals)
        while self._values:
            self._metrics.record(*self._values.popleft())
        if not self._metrics.send():
            self._complain("metrics", "the next sending has them")

    def _complain(self, what: str, detail: str) -> None:
        if self._steady_s() - self._complained_s >= _COMPLAIN_EVERY_S:
            self._complained_s = self._steady_s()
            log.warning("telemetry_not_sent", what=what, detail=detail)

    def _start_thread(self) -> None:
        if self._thread is None:
            with self._starting:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
                    self._thread.start()

    def _run(self) -> None:
        while True:
            self._wake.wait(min(self._pace.spans_every_s or 1.0, self._pace.metrics_every_s))
            with self._sending:
                self._send(everything=False)
            self._wake.clear()
