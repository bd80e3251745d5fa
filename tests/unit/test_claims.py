"""Claims: what each state of a row means for a delivery that meets it (design §4)."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import product
from typing import get_args

import pytest

from shared.claims import RunKey, RunState, StageRun, Verdict, decide
from tests.support.ports import NOON

OURS = "ours"
KEY = RunKey("acme-plumbing", "r-0123456789abcdef", "download")
MINUTE = timedelta(minutes=1)


def run(state: RunState, *, lease_until: datetime = NOON + MINUTE, due_at: datetime | None = None) -> StageRun:
    return StageRun(
        key=KEY,
        call_id="CAL1",
        state=state,
        attempt=1,
        claim_token="theirs",
        lease_until=lease_until,
        event="{}",
        due_at=due_at,
    )


def verdict(found: StageRun, *, our_token: str = OURS, is_continuation: bool = False) -> Verdict:
    return decide(found, our_token=our_token, now=NOON, is_continuation=is_continuation)


STATES: tuple[RunState, ...] = get_args(RunState)
EXPECTED: dict[RunState, tuple[Verdict, Verdict]] = {
    # state: (the stage's own event, the outside job's event)
    "running": (Verdict.BUSY, Verdict.BUSY),
    "waiting": (Verdict.SLEEPS, Verdict.TAKE_OVER),
    "retrying": (Verdict.TAKE_OVER, Verdict.TAKE_OVER),
    "deferred": (Verdict.TAKE_OVER, Verdict.TAKE_OVER),
    "blocked": (Verdict.TAKE_OVER, Verdict.TAKE_OVER),
    "failed": (Verdict.REPEAT_DEAD_LETTER, Verdict.REPEAT_DEAD_LETTER),
    "done": (Verdict.REPEAT_NEXT_EVENT, Verdict.REPEAT_NEXT_EVENT),
}


@pytest.mark.parametrize("state", STATES)
def test_what_a_delivery_does_with_each_state(state: RunState) -> None:
    assert (verdict(run(state)), verdict(run(state), is_continuation=True)) == EXPECTED[state]


@pytest.mark.parametrize(("state", "is_continuation"), list(product(STATES, [False, True])))
def test_our_own_token_means_our_own_claim_in_every_state(state: RunState, is_continuation: bool) -> None:
    """The client repeated a commit whose answer was lost, and met the row that it had written itself."""
    assert verdict(run(state), our_token="theirs", is_continuation=is_continuation) is Verdict.OURS


@pytest.mark.parametrize(
    ("lease_until", "expected"),
    [
        (NOON + timedelta(microseconds=1), Verdict.BUSY),
        (NOON, Verdict.TAKE_OVER),
        (NOON - MINUTE, Verdict.TAKE_OVER),
    ],
)
def test_a_running_claim_is_taken_over_when_its_lease_is_over(lease_until: datetime, expected: Verdict) -> None:
    assert verdict(run("running", lease_until=lease_until)) is expected
    assert verdict(run("running", lease_until=lease_until), is_continuation=True) is expected


@pytest.mark.parametrize("state", [state for state in STATES if state != "running"])
def test_the_lease_means_nothing_once_the_attempt_has_ended(state: RunState) -> None:
    assert verdict(run(state, lease_until=NOON - MINUTE)) is EXPECTED[state][0]


@pytest.mark.parametrize(
    ("due_at", "expected"),
    [
        (None, Verdict.TAKE_OVER),
        (NOON - MINUTE, Verdict.TAKE_OVER),
        (NOON, Verdict.TAKE_OVER),
        (NOON + timedelta(microseconds=1), Verdict.SLEEPS),
    ],
)
def test_a_deferred_run_sleeps_until_it_is_due(due_at: datetime | None, expected: Verdict) -> None:
    assert verdict(run("deferred", due_at=due_at)) is expected


def test_the_outside_jobs_event_wakes_a_deferred_run_early() -> None:
    assert verdict(run("deferred", due_at=NOON + MINUTE), is_continuation=True) is Verdict.TAKE_OVER


def test_a_wait_is_not_ended_by_its_own_deadline() -> None:
    """The sweeper asks the outside job when nothing was heard; the first event again must not submit it twice."""
    assert verdict(run("waiting", due_at=NOON - MINUTE)) is Verdict.SLEEPS
