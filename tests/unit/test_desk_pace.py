"""A replay goes as fast as live calls can bear, and no faster."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from shared.desk_pace import ENOUGH_FOR_A_VERDICT, ENOUGH_LIVE, LOOKED_BACK, LiveTime, Pace, percentile

LIVE_RATE = 2.0
CALLS_BEFORE = int(LIVE_RATE * LOOKED_BACK.total_seconds())


def live(*seconds: float) -> list[LiveTime]:
    return [LiveTime(ended_at=float(number), took_s=took_s) for number, took_s in enumerate(seconds)]


def begun(pace: Pace, took_s: Callable[[], float] = lambda: 1.0) -> Pace:
    pace.begin(live(*(took_s() for _ in range(CALLS_BEFORE))))
    return pace


@pytest.mark.parametrize("max_slowdown", [0.0, 0.1])
def test_without_live_calls_only_the_cap_holds(max_slowdown: float) -> None:
    pace = Pace(cap=10, max_slowdown=max_slowdown)
    pace.begin(live(*[1.0] * (ENOUGH_LIVE - 1)))
    pace.note(live(*[60.0] * 100))

    assert (pace.rate, pace.is_held_back, pace.limit_s) == (10, False, None)


def test_whoever_does_not_care_is_not_held_back() -> None:
    pace = begun(Pace(cap=10, max_slowdown=0))
    pace.note(live(*[60.0] * 100))

    assert pace.rate == 10


def test_it_begins_with_a_twentieth_of_the_live_rate() -> None:
    pace = begun(Pace(cap=10, max_slowdown=0.1))

    assert pace.rate == pytest.approx(LIVE_RATE / 20)
    assert pace.limit_s == pytest.approx(1.1)
    assert pace.is_held_back


def test_it_reaches_its_cap_while_live_calls_stay_as_they_were() -> None:
    pace = begun(Pace(cap=10, max_slowdown=0.1))
    for _ in range(12):
        pace.note(live(*[1.05] * ENOUGH_FOR_A_VERDICT))

    assert pace.rate == 10
    assert not pace.is_held_back


def test_more_than_a_tenth_of_slow_calls_halves_it_and_it_never_stands_still() -> None:
    pace = begun(Pace(cap=10, max_slowdown=0.1))
    for _ in range(12):
        pace.note(live(*[1.0] * ENOUGH_FOR_A_VERDICT))
    pace.note(live(*[1.0] * (ENOUGH_FOR_A_VERDICT - 5), *[2.0] * 5))
    assert pace.rate == 5
    for _ in range(50):
        pace.note(live(*[9.0] * ENOUGH_FOR_A_VERDICT))

    assert pace.rate == pace.floor > 0


def test_a_bad_beginning_is_made_up_for() -> None:
    """The promise is about the whole replay: its slow calls have to become few among all before it goes faster."""
    pace = begun(Pace(cap=10, max_slowdown=0.1))
    pace.note(live(*[9.0] * ENOUGH_FOR_A_VERDICT))
    pace.note(live(*[1.0] * ENOUGH_FOR_A_VERDICT))
    assert pace.rate == pace.floor
    for _ in range(35):
        pace.note(live(*[1.0] * ENOUGH_FOR_A_VERDICT))

    assert pace.rate > pace.floor


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("bears", [0.3, 1.0, 4.0])
def test_a_long_replay_keeps_the_live_p95_within_a_tenth(bears: float, seed: int) -> None:
    """A system that slows live calls down when more than `bears` letters a second are sent beside them."""
    chance = random.Random(seed)  # noqa: S311 # a simulation
    pace = begun(Pace(cap=20, max_slowdown=0.1), took_s=lambda: chance.uniform(0.2, 0.3))
    alone = percentile(sorted(chance.uniform(0.2, 0.3) for _ in range(CALLS_BEFORE)), 0.95)
    beside, sent = [], 0.0
    for second in range(3600):
        sent += pace.rate
        queueing = max(0.0, pace.rate - bears) * 0.3
        took = [chance.uniform(0.2, 0.3) + queueing for _ in range(int(LIVE_RATE))]
        beside += took
        pace.note(LiveTime(float(second), one) for one in took)

    assert percentile(sorted(beside), 0.95) <= alone * 1.1
    assert sent / 3600 > bears / 4, "it uses what the system can bear"
