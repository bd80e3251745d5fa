"""Named places where a process of the local stack can be told to die, between any two steps that must survive it.

A process dies only where `PIPELINE_CRASH_POINTS` says so, and settings refuse that variable outside `local`: everywhere
else a crash point calls a function that does nothing.
"""

from __future__ import annotations

import os
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from shared.errors import ConfigurationError

CRASH_STATUS = 137
"""What a process killed by SIGKILL leaves behind."""

POINTS = {
    # The receiver: what a sender without an answer sends again.
    "receiver_before_keep": "a webhook was checked; nothing holds it yet",
    "receiver_before_answer": "Pub/Sub or the inbox holds the webhook; the sender does not know",
    # The runner, in the order of its steps.
    "claimed": "a first delivery has its row",
    "taken_over": "a later delivery has the row",
    "before_checkpoint": "something outside was done; its name is not saved",
    "after_checkpoint": "the name of what was done outside is saved",
    "stage_run": "the stage has returned its results",
    "recorded": "results and next event are committed",
    "published": "the next event is published; Pub/Sub has no answer",
    "absorbed": "a repeated event's news are merged into the call; what follows from them is not published",
    "published_beside": "an event beside the stage's own is published",
    "before_sleep": "the stage has stopped or waits for an outside job; the row does not say so",
    "after_sleep": "the row says how the stage stopped",
    "given_up": "the dead letter is published; Pub/Sub has no answer",
    # The recorder of dead letters.
    "letter_recorded": "the dead letter has its row; Pub/Sub has no answer",
    # The sweeper.
    "sweep_marked": "a run is marked as sent again; its event is not published",
    "sweep_sent": "the run's event is published",
    "inbox_published": "an inbox object's event is published; the object is still there",
}
"""Every point, with what is true there."""

_ENTRY = re.compile(r"^(?P<service>[a-z_]+)\.(?P<point>[a-z_]+)#(?P<passing>[1-9][0-9]{0,5})$")

Crash = Callable[[str], None]


def _live_on(_point: str) -> None:
    """What a crash point does in production."""


_crash: Crash = _live_on


def crash_point(point: str) -> None:
    """Die here, if this process was told to."""
    _crash(point)


class Death(NamedTuple):
    """`service` dies when it passes `point` for the `passing`-th time since its process began."""

    service: str
    point: str
    passing: int

    def __str__(self) -> str:
        return f"{self.service}.{self.point}#{self.passing}"


def parse_deaths(text: str) -> tuple[Death, ...]:
    """`service.point#passing`, separated by commas. Raises `ConfigurationError`."""
    return tuple(_death(entry.strip()) for entry in text.split(",") if entry.strip())


def _death(entry: str) -> Death:
    match = _ENTRY.match(entry)
    if match is None or match["point"] not in POINTS:
        raise ConfigurationError(
            "bad_crash_point", f"{entry!r} is no crash point", fix=f"service.point#passing, points: {', '.join(POINTS)}"
        )
    return Death(match["service"], match["point"], int(match["passing"]))


@dataclass
class Executioner:
    """Kills this process at its deaths. Each happens once: a file in `marks` outlives the process and says so.

    Without `marks` a death comes back in every process that takes this one's place.
    """

    deaths: frozenset[Death]
    service: str
    marks: Path | None
    kill: Callable[[int], object] = os._exit
    _passings: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, point: str) -> None:
        with self._lock:
            self._passings[point] += 1
            death = Death(self.service, point, self._passings[point])
        if death in self.deaths and self._is_first(death):
            self.kill(CRASH_STATUS)

    def _is_first(self, death: Death) -> bool:
        if self.marks is None:
            return True
        try:
            (self.marks / str(death)).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


def arm(text: str, *, service: str, marks: str) -> None:
    """Make this process die as `text` says, for the rest of its life. Raises `ConfigurationError`."""
    global _crash  # noqa: PLW0603 - passing it through every layer would put a drill's tool into production's signatures
    deaths = frozenset(death for death in parse_deaths(text) if death.service == service)
    if deaths:
        _crash = Executioner(deaths, service, Path(marks) if marks else None)


@contextmanager
def crashing(crash: Crash) -> Iterator[None]:
    """Call `crash` at every point inside the block: how a test walks them all without losing its process."""
    global _crash  # noqa: PLW0603 - see `arm`
    before, _crash = _crash, crash
    try:
        yield
    finally:
        _crash = before
