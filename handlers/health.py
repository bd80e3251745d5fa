"""The receiver's health page: its own publish path, and its neighbours' state as the operator service sees it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from handlers.receiver import Reply
from shared.ports import Clock

NEIGHBOURS = ("database", "storage", "speech_api", "vertex_ai")
CACHED_FOR = timedelta(seconds=5)

States = Mapping[str, str]


@dataclass
class HealthPage:
    """`healthy`, `degraded` (a neighbour is not well: calls are still accepted), `unhealthy` (503: they are not)."""

    can_publish: Callable[[], bool]
    neighbours: Callable[[], States]
    """Asks the operator service; returns an empty mapping when it cannot be reached."""
    now: Clock
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _cached: tuple[datetime, bool, States] | None = None

    def reply(self) -> Reply:
        can_publish, states = self._look()
        services = {name: states.get(name, "unknown") for name in NEIGHBOURS}
        if not can_publish:
            status = "unhealthy"
        elif all(state == "healthy" for state in services.values()):
            status = "healthy"
        else:
            status = "degraded"
        body = {
            "status": status,
            "timestamp": self.now().strftime("%Y-%m-%dT%H:%M:%SZ"),
            "services": {**services, "pubsub": "healthy" if can_publish else "unhealthy"},
        }
        return Reply(200 if can_publish else 503, body)

    def _look(self) -> tuple[bool, States]:
        """A fresh look at most every few seconds: the page must not become a load on anything."""
        with self._lock:
            now = self.now()
            if self._cached is None or now - self._cached[0] > CACHED_FOR:
                self._cached = (now, self.can_publish(), self.neighbours())
            return self._cached[1], self._cached[2]
