"""Remembers that Pub/Sub does not answer, so that not every sender has to find out by waiting for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

FAILURES_IN_A_ROW = 3
"""One slow answer is none; what goes to the inbox without need waits for the sweeper."""
PROBE_EVERY_S = 1.0


@dataclass
class Outage:
    """Whether to try. During an outage one sender in each second finds out whether it is over. Thread-safe."""

    monotonic: Callable[[], float] = time.monotonic
    _failures: int = 0
    _probe_at: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def may_try(self) -> bool:
        """Always while nothing is wrong; during an outage, for the one whose turn it is."""
        if self._failures < FAILURES_IN_A_ROW:
            return True
        with self._lock:
            now = self.monotonic()
            if now < self._probe_at:
                return False
            self._probe_at = now + PROBE_EVERY_S
            return True

    def failed(self) -> None:
        """A publish was not confirmed."""
        with self._lock:
            self._failures += 1
            self._probe_at = self.monotonic() + PROBE_EVERY_S

    def worked(self) -> None:
        """A publish was confirmed: the outage, if there was one, is over."""
        self._failures = 0
