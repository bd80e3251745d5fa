"""One thing to be fuzzed, and what must hold for every input: in time, only declared errors, nobody's data in them."""

from __future__ import annotations

import io
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import structlog
from hypothesis import strategies as st

from shared.logs import configure_logging
from tests.fuzz.material import leaked

DEADLINE_S = 5.0
"""For one input. The slowest good one (a megabyte of nested JSON) takes 0.1 s."""


class Finding(AssertionError):
    """An input that broke a promise."""


class Hang(Finding):
    """An input that took longer than its deadline."""


@dataclass(frozen=True)
class Target:
    """Inputs are plain literals (text, bytes, numbers, tuples), so that a found one can be written down and read."""

    name: str
    inputs: st.SearchStrategy[Any]
    check: Callable[[Any], None]
    """Raises `Finding`, or whatever else must not be raised."""
    declared: tuple[type[Exception], ...] = ()
    """What the code under test may raise; their texts are looked through for leaks."""
    deadline_s: float = DEADLINE_S
    may_repeat: Callable[[Any], frozenset[str]] = lambda _given: frozenset()
    """Which marks of an input its error may name."""

    def try_one(self, given: Any) -> None:
        """Check one input. Raises `Finding`, or the undeclared error as it came."""
        with within(self.deadline_s), written_log() as log:
            try:
                self.check(given)
            except self.declared as error:
                look_through(error, may_repeat=self.may_repeat(given))
        if found := leaked(log.getvalue()):
            raise Finding(f"the log repeats the input: {sorted(found)}")


def look_through(error: BaseException, *, may_repeat: frozenset[str] = frozenset()) -> None:
    """Raises `Finding` for an error whose texts repeat somebody's data: a log line or a dead letter is made of them.

    Causes are left out: they are logged without their messages.
    """
    parts = [str(error), *(str(getattr(error, name, "")) for name in ("code", "detail", "fix"))]
    if found := leaked("\n".join(parts)) - may_repeat:
        raise Finding(f"the error repeats its input: {sorted(found)}") from error


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raises `Hang` in the main thread when the time is over; another timer that was running goes on after it.

    Also when the time is over in the very moment in which the body ends.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    is_over = False

    def ring(_number: int, _frame: FrameType | None) -> None:
        if not is_over:
            raise Hang(f"not done within {seconds:g} s")

    handler = signal.signal(signal.SIGALRM, ring)
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        try:
            yield
        finally:
            is_over = True
    finally:
        signal.setitimer(signal.ITIMER_REAL, left, interval)
        signal.signal(signal.SIGALRM, handler)


_sink = io.StringIO()


@contextmanager
def production_log() -> Iterator[None]:
    """Log lines made as in production, kept in memory."""
    before = structlog.get_config(), logging.root.handlers[:], logging.root.level
    configure_logging(service="fuzz", project_id="p", level="INFO")
    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(_sink), cache_logger_on_first_use=False)
    for handler in logging.root.handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(_sink)
    try:
        yield
    finally:
        structlog.configure(**before[0])
        logging.root.handlers, level = before[1], before[2]
        logging.root.setLevel(level)


@contextmanager
def written_log() -> Iterator[io.StringIO]:
    """What is logged from here on; needs `production_log` around it."""
    _sink.seek(0)
    _sink.truncate()
    yield _sink
