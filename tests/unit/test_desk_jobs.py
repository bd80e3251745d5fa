"""Replay jobs without a database: step sizes, outcomes, shares, and what remains."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from shared.desk_jobs import (
    LEASE_S,
    JobReport,
    ReplayOptions,
    SentItem,
    failure_share,
    outcome_of,
    pause_after_look,
    step_sizes,
)
from tests.support.ports import NOON


@pytest.mark.parametrize(
    ("total", "steps", "sizes"),
    [
        (0, (), []),
        (7, (), [7]),
        (0, (1, 5), []),
        (1, (1, 5), [1]),
        (6, (1, 5), [1, 5]),
        (20, (1, 5), [1, 5, 5, 5, 4]),
        (3, (10,), [3]),
    ],
)
def test_the_last_step_size_is_repeated_to_the_end(total: int, steps: tuple[int, ...], sizes: list[int]) -> None:
    assert step_sizes(total, steps) == sizes


@pytest.mark.timeout(10)
def test_many_small_steps_are_counted_at_once() -> None:
    assert step_sizes(200_000, (1,)) == [1] * 200_000


def sent(**changes: Any) -> SentItem:
    values: dict[str, Any] = {
        "tenant_id": "acme-plumbing",
        "dead_letter_id": "d-1",
        "position": 0,
        "state": "sent",
        "replay_number": 1,
        "letter_state": "replaying",
        "letter_replays": 1,
        "run_state": "retrying",
        "request_state": "active",
        "rest_state": None,
        "is_untouched": False,
    }
    return SentItem(**(values | changes))


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({}, None),
        ({"run_state": "running"}, None),
        ({"run_state": "waiting", "rest_state": "waiting"}, None),
        ({"run_state": None, "request_state": None}, None),
        ({"run_state": "done", "request_state": "done"}, "arrived"),
        ({"run_state": "done", "request_state": "not_processed"}, "arrived"),
        ({"letter_state": "closed", "run_state": None, "request_state": None}, "arrived"),
        ({"run_state": "done"}, None),
        ({"letter_state": "closed", "run_state": "done"}, None),
        ({"run_state": "done", "request_state": "failed"}, "failed"),
        ({"letter_state": "closed", "run_state": "done", "request_state": "failed"}, "failed"),
        ({"run_state": "done", "rest_state": "waiting"}, "parked"),
        ({"run_state": "done", "rest_state": "deferred"}, "parked"),
        ({"run_state": "done", "rest_state": "blocked", "request_state": "blocked"}, "parked"),
        ({"letter_state": "open"}, "failed"),
        ({"letter_state": "discarded"}, "failed"),
        ({"letter_replays": 2}, "failed"),
        ({"run_state": "failed"}, "failed"),
        ({"run_state": None, "request_state": "failed"}, "failed"),
        ({"run_state": "blocked", "rest_state": "blocked", "request_state": "blocked"}, "parked"),
        ({"run_state": "deferred", "rest_state": "deferred"}, "parked"),
        ({"run_state": "done", "request_state": "done", "letter_state": "open"}, "arrived"),
    ],
    ids=str,
)
def test_what_became_of_a_letter_is_read_from_its_rows(changes: dict[str, Any], outcome: str | None) -> None:
    assert outcome_of(sent(**changes)) == outcome


def test_parked_letters_are_neither_a_success_nor_a_failure() -> None:
    assert failure_share({"arrived": 3, "failed": 1, "parked": 6, "sent": 10}) == 0.25
    assert failure_share({"parked": 6}) == 0.0


@pytest.mark.parametrize(
    ("counts", "reasons", "left_out", "waited_for", "remaining"),
    [
        ({"arrived": 5}, {}, {}, True, 0),
        ({"arrived": 3, "failed": 2}, {}, {}, True, 2),
        ({"arrived": 4, "sent": 1}, {}, {}, True, 1),
        ({"sent": 5}, {}, {}, False, 0),
        ({"arrived": 4, "skipped": 1}, {"closed": 1}, {}, True, 0),
        ({"arrived": 4, "skipped": 1}, {"loop_guard": 1}, {}, True, 1),
        ({"arrived": 5}, {}, {"held": 2, "closed": 3}, True, 2),
        ({"arrived": 1, "pending": 4}, {}, {}, False, 4),
    ],
)
def test_what_remains_decides_about_the_exit_status(
    counts: dict[str, int], reasons: dict[str, int], left_out: dict[str, int], waited_for: bool, remaining: int
) -> None:
    report = JobReport("j", "finished", "", "olga", "all", NOON, 5, counts, reasons, left_out, waited_for)
    assert report.remaining == remaining


@pytest.mark.parametrize(
    "wrong", [{"rate": 0}, {"rate": -1}, {"max_failures": 1.1}, {"max_replays": 0}, {"wait_s": -1}]
)
def test_options_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ReplayOptions(**wrong)


def test_a_look_that_takes_long_makes_the_next_one_later_but_the_lock_is_kept() -> None:
    assert pause_after_look(0.01) == 1.0
    assert pause_after_look(0.2) == pytest.approx(4.0), "a twentieth of the time at most"
    assert pause_after_look(30.0) < LEASE_S / 2
