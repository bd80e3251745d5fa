"""Tests wait for a condition, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable

_INTERVAL_S = 0.02


def eventually(condition: Callable[[], bool], *, what: str, timeout_s: float = 15.0) -> None:
    """Return as soon as the condition holds; fail naming `what` when it does not within the time-out."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:.0f} s: {what}")
        time.sleep(_INTERVAL_S)
