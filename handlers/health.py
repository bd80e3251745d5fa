"""The receiver's health page: can it keep a webhook, and how are its neighbours, as the operator service sees them."""

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


@dataclass(frozen=True)
class _Look:
    """What one look around found."""

    can_publish: bool
    can_accept: bool
    neighbours: States


@dataclass
class HealthPage:
    """`healthy`, `degraded` (something is not well: calls are still accepted), `unhealthy` (503: they are not)."""

    can_publish: Callable[[], bool]
    can_keep: Callable[[], bool]
    """Whether the inbox, where webhooks go that Pub/Sub does not take, can be reached; asked only then."""
    neighbours: Callable[[], States]
    """Asks the operator service; returns an empty mapping when it cannot be reached."""
    now: Clock
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _cached: tuple[datetime, _Look] | None = None

    def reply(self) -> Reply:
        look = self._look()
        services = {name: look.neighbours.get(name, "unknown") for name in NEIGHBOURS}
        services["pubsub"] = "healthy" if look.can_publish else "unhealthy"
        if not look.can_accept:
            status = "unhealthy"
        elif all(state == "healthy" for state in services.values()):
            status = "healthy"
        else:
            status = "degraded"
        body = {
            "status": status,
            "timestamp": self.now().strftime("%Y-%m-%dT%H:%M:%SZ"),
            "services": services,
        }
        return Reply(200 if look.can_accept else 503, body)

    def _look(self) -> _Look:
        """A fresh look at most every few seconds: the page must not become a load on anything."""
        with self._lock:
            now = self.now()
            if self._cached is None or now - self._cached[0] > CACHED_FOR:
                can_publish = self.can_publish()
                self._cached = (now, _Look(can_publish, can_publish or self.can_keep(), self.neighbours()))
            return self._cached[1]
