"""What is recorded, how much of it, and when it is sent; and that no call fails over it."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from shared.errors import TransientFailure
from shared.gateways.telemetry import OpenTelemetry, Pace
from shared.gateways.telemetry_pipes import EndedSpan, Pipes
from shared.measures import STAGE_SECONDS, WEBHOOKS, Measure
from shared.telemetry import OFF, current_span, span
from shared.traces import trace_of_request
from tests.support.waiting import eventually


@dataclass
class Spans:
    """Takes spans, unless told not to."""

    taken: list[EndedSpan] = field(default_factory=list)
    takes: bool = True
    breaks: bool = False

    def send(self, spans: Sequence[EndedSpan]) -> bool:
        if self.breaks:
            raise RuntimeError("an exporter with a bug")
        if self.takes:
            self.taken += spans
        return self.takes


@dataclass
class Metrics:
    """Keeps what was measured; `sent` counts the sendings."""

    recorded: list[tuple[str, float, Mapping[str, str]]] = field(default_factory=list)
    sent: int = 0

    def record(self, measure: Measure, value: float, labels: Mapping[str, str]) -> None:
        self.recorded.append((measure.name, value, labels))

    def send(self) -> bool:
        self.sent += 1
        return True


@dataclass
class Bench:
    spans: Spans = field(default_factory=Spans)
    metrics: Metrics = field(default_factory=Metrics)
    now_s: float = 1000.0
    opened: int = 0

    def telemetry(self, *, ratio: float = 1.0, spans_per_s: float = 100, every_s: float = 5) -> OpenTelemetry:
        def open_spans() -> Spans:
            self.opened += 1
            return self.spans

        return OpenTelemetry(
            Pipes(open_spans, lambda: self.metrics),
            Pace(every_s, 30, spans_per_s, ratio),
            clock_ns=lambda: int(self.now_s * 1e9),
            steady_s=lambda: self.now_s,
        )


TRACE = trace_of_request("acme-plumbing", "r-1")


def test_spans_lie_inside_each_other_and_name_their_trace() -> None:
    bench = Bench()
    telemetry = bench.telemetry()
    with span(telemetry, "crm_sync", kind="consumer", within=TRACE, attempt=2):
        bench.now_s += 1
        with span(telemetry, "hubspot sync_call", kind="client"):
            bench.now_s += 0.5
    telemetry.flush()
    inner, outer = bench.spans.taken

    assert (outer.parent, outer.attributes) == (TRACE, {"attempt": 2})
    assert inner.parent == outer.context
    assert outer.context.trace_id == TRACE.trace_id
    assert (outer.ended_ns - outer.begun_ns, inner.ended_ns - inner.begun_ns) == (1_500_000_000, 500_000_000)


def test_an_error_that_leaves_the_block_marks_the_span_with_its_code_and_goes_on() -> None:
    bench = Bench()
    telemetry = bench.telemetry()
    with pytest.raises(TransientFailure), span(telemetry, "x", kind="client", within=TRACE):
        raise TransientFailure("hubspot_timeout", "told to")
    telemetry.flush()

    assert [one.error for one in bench.spans.taken] == ["hubspot_timeout"]
    assert current_span().context is None


def test_a_request_that_is_not_sampled_records_nothing_and_still_has_its_trace() -> None:
    bench = Bench()
    telemetry = bench.telemetry(ratio=0.0)
    trace = telemetry.trace_of("acme-plumbing", "r-1")
    with span(telemetry, "x", kind="consumer", within=trace) as around:
        assert around.context == trace
    telemetry.flush()

    assert trace.header == TRACE.header[:-2] + "00"
    assert bench.spans.taken == []


def test_a_flood_records_no_more_spans_than_it_may_and_counts_all_of_it() -> None:
    bench = Bench()
    telemetry = bench.telemetry(spans_per_s=20)
    for _ in range(500):
        telemetry.end(telemetry.begin("webhook", kind="server", within=TRACE))
        telemetry.count(WEBHOOKS, outcome="accepted", code="")
    bench.now_s += 1
    telemetry.end(telemetry.begin("webhook", kind="server", within=TRACE))
    telemetry.flush()

    assert len(bench.spans.taken) == 21
    assert bench.metrics.recorded == [("pipeline_webhooks_total", 500, {"outcome": "accepted", "code": ""})]


def test_threads_count_together_and_nothing_is_counted_twice() -> None:
    bench = Bench()
    telemetry = bench.telemetry()

    def count() -> None:
        for _ in range(1000):
            telemetry.count(WEBHOOKS, outcome="accepted", code="")

    for _ in range(2):
        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        telemetry.flush()
    telemetry.flush()

    assert [value for _, value, _ in bench.metrics.recorded] == [4000, 4000]


def one_span(telemetry: OpenTelemetry) -> None:
    telemetry.end(telemetry.begin("x", kind="internal", within=TRACE))


def test_a_lone_requests_spans_are_out_before_its_answer_and_a_bursts_wait_their_turn() -> None:
    bench = Bench()
    telemetry = bench.telemetry()
    one_span(telemetry)
    telemetry.flush_if_due()
    assert len(bench.spans.taken) == 1

    one_span(telemetry)
    telemetry.flush_if_due()
    assert len(bench.spans.taken) == 1
    bench.now_s += 5
    telemetry.flush_if_due()
    assert len(bench.spans.taken) == 2


def test_at_the_end_everything_goes_due_or_not() -> None:
    bench = Bench()
    telemetry = bench.telemetry(every_s=600)
    for _ in range(3):
        one_span(telemetry)
        telemetry.flush_if_due()
    telemetry.observe(STAGE_SECONDS, 0.2, stage="download", outcome="done")
    telemetry.flush()

    assert len(bench.spans.taken) == 3
    assert bench.metrics.recorded[-1] == ("pipeline_stage_seconds", 0.2, {"stage": "download", "outcome": "done"})


def test_series_that_stand_still_are_repeated_once_a_minute() -> None:
    bench = Bench()
    telemetry = bench.telemetry()
    sent = []
    for _ in range(13):
        telemetry.flush_if_due()
        sent.append(bench.metrics.sent)
        bench.now_s += 10

    assert sent[:7] == [1, 1, 1, 1, 1, 1, 2]
    assert sent[-1] == 3


def test_a_nudge_sends_in_the_background_and_loads_the_sdk_there() -> None:
    bench = Bench()
    telemetry = bench.telemetry()
    one_span(telemetry)
    assert bench.opened == 0
    telemetry.nudge()

    eventually(lambda: bool(bench.spans.taken), what="the span is sent by the thread")
    assert bench.opened == 1
    assert {thread.name for thread in threading.enumerate() if thread.name == "telemetry"} == {"telemetry"}


@pytest.mark.parametrize("fault", ["takes", "breaks"])
def test_nobody_fails_because_spans_are_not_taken_and_it_is_said_once_a_minute(
    fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = Bench()
    bench.spans.takes, bench.spans.breaks = fault != "takes", fault == "breaks"
    telemetry = bench.telemetry()
    for _ in range(3):
        one_span(telemetry)
        telemetry.flush()
    assert capsys.readouterr().out.count("telemetry_not_sent") == 1

    bench.now_s += 60
    one_span(telemetry)
    telemetry.flush()
    assert capsys.readouterr().out.count("telemetry_not_sent") == 1


def test_off_records_nothing_and_marks_traces_as_not_sampled() -> None:
    with span(OFF, "x", kind="consumer", within=TRACE) as around:
        around.set(attempt=1)
    OFF.count(WEBHOOKS, outcome="accepted", code="")
    OFF.flush()

    assert OFF.trace_of("acme-plumbing", "r-1").header == TRACE.header[:-2] + "00"
