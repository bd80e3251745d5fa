"""How fast a replay sends: below its cap, and no faster than live calls can bear.

A replay shares workers and database with the calls of the hour. What is too fast depends on what else runs, so it is
not guessed: the replay begins slowly, looks at how long live calls take, and goes faster while they take no longer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple

LOOKED_BACK = timedelta(minutes=15)
"""So long before a replay its live calls are taken as the measure."""
ENOUGH_LIVE = 40
"""Live calls that a 95th percentile needs; where fewer came, there is no live traffic to protect."""
ENOUGH_FOR_A_VERDICT = 40
"""Live calls between two changes of the pace."""
SLOW_SHARE = 0.05
"""Of all calls, so many may be slower than a 95th percentile says."""
OURS_TO_SPEND = 0.6
"""Of what is left of that share beside the calls that are slow anyway: the rest is for chance."""
FASTER, MORE_CAREFULLY = 1.5, 1.1
"""The rate's growth before and after live calls were first seen to suffer."""
SLOWER = 0.5


class LiveTime(NamedTuple):
    """How long one live call took from its webhook to its end, and when that was (seconds since the epoch)."""

    ended_at: float
    took_s: float


@dataclass
class Pace:
    """The rate of one run of a replay.

    `cap` is in messages a second. `max_slowdown` is a share of the live calls' 95th percentile; 0: no care. Every live
    call slower than the limit counts against the whole run, so that the run's own 95th percentile stays below it.
    """

    cap: float
    max_slowdown: float
    limit_s: float | None = None
    """Slower live calls are too slow; None: nothing to go by."""
    floor: float = 0.0
    rate: float = field(init=False)
    calls: int = 0
    slow: int = 0
    _bearable: float = SLOW_SHARE
    _growth: float = FASTER
    _window: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rate = self.cap

    @property
    def is_held_back(self) -> bool:
        return self.rate < self.cap

    def begin(self, before: Iterable[LiveTime]) -> None:
        """Take the measure from the live calls of `LOOKED_BACK`.

        The floor is a twentieth of the live rate: were every letter to slow down one live call, 95 of 100 would still
        be as quick as before. A replay never stands still.
        """
        times = sorted(time.took_s for time in before)
        if not self.max_slowdown or len(times) < ENOUGH_LIVE:
            return
        self.limit_s = percentile(times, 1 - SLOW_SHARE) * (1 + self.max_slowdown)
        slow_anyway = sum(time > self.limit_s for time in times) / len(times)
        self._bearable = slow_anyway + OURS_TO_SPEND * (SLOW_SHARE - slow_anyway)
        self.floor = min(self.cap, SLOW_SHARE * len(times) / LOOKED_BACK.total_seconds())
        self.rate = self.floor

    def note(self, live: Iterable[LiveTime]) -> None:
        """Live calls that ended since the last time."""
        if self.limit_s is None:
            return
        for time in live:
            is_slow = time.took_s > self.limit_s
            self.calls += 1
            self.slow += is_slow
            self._window.append(is_slow)
            if len(self._window) >= ENOUGH_FOR_A_VERDICT:
                self._judge()

    def _judge(self) -> None:
        lately, overall = sum(self._window) / len(self._window), self.slow / self.calls
        self._window.clear()
        if lately > 2 * SLOW_SHARE or (lately > self._bearable and overall > self._bearable):
            self.rate = max(self.floor, self.rate * SLOWER)
            self._growth = MORE_CAREFULLY
        elif lately <= self._bearable and overall <= self._bearable:
            self.rate = min(self.cap, self.rate * self._growth)


def percentile(times: list[float], share: float) -> float:
    """Of sorted times, the one that so large a share does not exceed."""
    return times[min(len(times) - 1, int(len(times) * share))]
