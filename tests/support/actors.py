"""Workers as threads that stop at every crash point: a test decides who goes on, and who dies there."""

from __future__ import annotations

import threading
from collections.abc import Callable

_PATIENCE_S = 60.0
_current = threading.local()


class Killed(BaseException):
    """The worker's process is gone: nothing of it runs any more, not even what looks after errors."""


class Actor:
    """One delivery in one worker. It runs until its first crash point, then waits to be told."""

    def __init__(self, work: Callable[[], int]) -> None:
        self.status: int | None = None
        """The worker's answer; None while there is none, and for ever after a death."""
        self.point = ""
        self.passed: list[str] = []
        self.is_over = False
        self._work = work
        self._error: BaseException | None = None
        self._is_doomed = False
        self._arrived, self._go = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._wait()

    def go_on(self) -> None:
        """To the next crash point, or to the end."""
        self._tell(doomed=False)

    def die(self) -> None:
        """Here, without another word."""
        self._tell(doomed=True)

    def finish(self) -> None:
        while not self.is_over:
            self.go_on()

    def _tell(self, *, doomed: bool) -> None:
        self._is_doomed = doomed
        self._arrived.clear()
        self._go.set()
        self._wait()

    def _wait(self) -> None:
        assert self._arrived.wait(_PATIENCE_S), f"a worker hangs after {self.point or 'its start'}"
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        _current.actor = self
        try:
            self.status = self._work()
        except Killed:
            pass
        except BaseException as error:  # shown in the test's own thread
            self._error = error
        finally:
            self.is_over = True
            self._arrived.set()

    def pause(self, point: str) -> None:
        self.point = point
        self.passed.append(point)
        self._arrived.set()
        self._go.wait()
        self._go.clear()
        if self._is_doomed:
            raise Killed


def current_actor() -> Actor | None:
    """Whoever runs in this thread; None in the test's own."""
    return getattr(_current, "actor", None)


def pause_here(point: str) -> None:
    """To be called at every crash point: `shared.crash_points.crashing(pause_here)`."""
    actor = current_actor()
    if actor is not None:
        actor.pause(point)
