"""What `pipeline bench --only replay` measures, in small: letters of a down-time replayed beside live calls."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from infra.local.bench.replay import ReplayCourse, ReplayResult, _Live, measure_replay
from infra.local.stack import say_nothing
from tests.e2e.command_line import pipeline
from tests.support.stack import LocalStack

pytestmark = pytest.mark.emulators


def measured(stack: LocalStack, course: ReplayCourse) -> ReplayResult:
    return measure_replay(
        stack.env,
        base_url=stack.env["WEBHOOK_URL"],
        key=stack.env["DEMO_WEBHOOK_SECRET"],
        course=course,
        report=say_nothing,
    )


def test_every_letter_and_every_live_call_arrives(local_stack: LocalStack) -> None:
    result = measured(local_stack, ReplayCourse(letters=3, rate=4.0, live_rate=4.0))

    assert (result.sent, result.arrived) == (3, 3)
    assert (result.alone.unfinished, result.beside.unfinished) == (0, 0)
    assert result.beside.calls > 0
    assert result.beside.p95_ms >= result.beside.p50_ms > 0
    assert result.replay_s >= 2 / 4, "never faster than its cap"


def test_a_replay_that_is_given_a_time_is_stopped_and_what_it_sent_arrives(local_stack: LocalStack) -> None:
    result = measured(local_stack, ReplayCourse(letters=60, rate=4.0, live_rate=4.0, most_s=1.0))

    assert 0 < result.sent < 60
    assert result.arrived == result.sent
    assert result.replay_s < 60 / 4


def test_ctrl_c_stops_the_replay_too(local_stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its thread is waited for, and ten thousand letters take an hour."""

    def interrupted(_live: _Live, _goes_on: Callable[[], bool]) -> list[str]:
        time.sleep(1.0)
        raise KeyboardInterrupt

    monkeypatch.setattr(_Live, "post_while", interrupted)

    with pytest.raises(KeyboardInterrupt):
        measured(local_stack, ReplayCourse(letters=40, rate=8.0, live_rate=4.0))

    jobs = pipeline("dead-letters", "jobs", "--json").document()
    (job,) = [one for one in jobs if sum(one["counts"].values()) == 40]
    assert job["state"] == "stopped"
