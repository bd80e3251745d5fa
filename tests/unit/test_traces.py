"""A request's trace follows from the request, is written as the W3C says, and is sampled as others would sample it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased

from shared.traces import TraceContext, read_traceparent, trace_of_request


def test_everybody_finds_the_same_trace_and_no_two_requests_share_one() -> None:
    ours = trace_of_request("acme-plumbing", "r-1")
    others = [trace_of_request("acme-plumbing", "r-2"), trace_of_request("other-dental", "r-1")]

    assert trace_of_request("acme-plumbing", "r-1") == ours
    assert len({ours.trace_id, *(one.trace_id for one in others)}) == 3


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans())
def test_what_is_written_is_read_again(trace_id: int, span_id: int, is_sampled: bool) -> None:
    context = TraceContext(trace_id, span_id, is_sampled)

    assert read_traceparent(context.header) == context


@pytest.mark.parametrize(
    "text",
    [
        "",
        "rubbish",
        "00-" + "0" * 32 + "-" + "2" * 16 + "-01",
        "00-" + "1" * 32 + "-" + "0" * 16 + "-01",
        "ff-" + "1" * 32 + "-" + "2" * 16 + "-01",
        "00-" + "A" * 32 + "-" + "2" * 16 + "-01",
    ],
)
def test_what_is_no_traceparent_is_no_trace(text: str) -> None:
    assert read_traceparent(text) is None


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5, 1.0])
def test_the_same_requests_are_sampled_as_by_opentelemetrys_own_sampler(ratio: float) -> None:
    sampler = TraceIdRatioBased(ratio)
    traces = [trace_of_request("acme-plumbing", f"r-{number}", ratio=ratio) for number in range(2000)]
    theirs = [
        sampler.should_sample(None, trace.trace_id, "x").decision is Decision.RECORD_AND_SAMPLE for trace in traces
    ]

    assert [trace.is_sampled for trace in traces] == theirs
    assert abs(sum(theirs) / len(theirs) - ratio) < 0.05
