"""Loads in the background, once a service has begun to answer, what would make somebody wait at its first use."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

log = structlog.get_logger()


@dataclass
class WarmUp:
    """`begin` starts `work` in a thread of its own, once, and costs nothing afterwards."""

    work: Callable[[], None]
    _first: threading.Lock = field(default_factory=threading.Lock)
    """Taken by whoever comes first, and never given back."""

    def begin(self) -> None:
        """Start unless somebody has. A failure is logged and no more: the first use will say it again."""
        if self._first.acquire(blocking=False):
            threading.Thread(target=self._run, name="warm-up", daemon=True).start()

    def _run(self) -> None:
        try:
            self.work()
        except Exception:
            log.exception("warm_up_failed")
