"""A call's spans on the screen: order, depth, waits, outcomes, and what happens to spans that lost their parent."""

from __future__ import annotations

from datetime import timedelta

from shared.trace_tree import SeenSpan, tree_lines
from tests.support.ports import NOON


def seen(name: str, span_id: str, parent_id: str, begun_s: float, ended_s: float, **more: str) -> SeenSpan:
    error = more.pop("error", "")
    begun, ended = NOON + timedelta(seconds=begun_s), NOON + timedelta(seconds=ended_s)
    return SeenSpan("t", span_id, parent_id, name, "service", begun, ended, more, error)


def test_a_call_as_a_tree_with_times_waits_and_outcomes() -> None:
    spans = [
        seen("analyze", "d", "a", 200, 201.5, attempt="1", outcome="done", queue_s="3.25"),
        seen("request", "a", "", 0, 0.5, kind="post_call", origin="webhook"),
        seen("speech submit", "c", "b", 1.1, 1.2, vendor="speech", outcome="ok"),
        seen("transcribe", "b", "a", 1, 1.25, attempt="2", outcome="waiting"),
    ]

    assert list(tree_lines(spans)) == [
        "   0.000s  request                              500 ms  kind post_call, origin webhook",
        "   1.000s    transcribe                         250 ms  attempt 2, outcome waiting",
        "   1.100s      speech submit                    100 ms  outcome ok, vendor speech",
        "             … 3.3 min in which nothing ran",
        " 200.000s    analyze                             1.5 s  queued 3.2 s, attempt 1, outcome done",
    ]


def test_an_attempt_that_failed_is_marked_with_its_code() -> None:
    (line,) = tree_lines([seen("crm_sync", "a", "gone", 0, 1, error="hubspot_503", outcome="retrying")])

    assert line.endswith("outcome retrying  ✗ hubspot_503")


def test_spans_whose_parent_was_never_stored_stand_side_by_side_in_time() -> None:
    lines = list(tree_lines([seen("second", "b", "gone", 5, 6), seen("first", "a", "gone", 0, 1)]))

    assert [line.split()[1] for line in lines if "nothing ran" not in line] == ["first", "second"]


def test_no_spans_are_no_tree() -> None:
    assert list(tree_lines([])) == []
