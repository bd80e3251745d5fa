"""The claims a process holds now, so that they can be given back at a shutdown."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from shared.claims import RunKey, StageRun


class ActiveClaims:
    """Thread-safe: several requests run at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[str, RunKey] = {}
        self._closed = False

    @contextmanager
    def held(self, run: StageRun) -> Iterator[None]:
        """The claim is held inside the block."""
        with self._lock:
            self._held[run.claim_token] = run.key
        try:
            yield
        finally:
            with self._lock:
                self._held.pop(run.claim_token, None)

    @property
    def closed(self) -> bool:
        """Whether nothing may be claimed any more. Read again once a claim is held: it may have come just too late."""
        with self._lock:
            return self._closed

    def close(self) -> list[tuple[str, RunKey]]:
        """From now on nothing is claimed; what is held still, as by `all`."""
        with self._lock:
            self._closed = True
        return self.all()

    def all(self) -> list[tuple[str, RunKey]]:
        """Claim token and key of each."""
        with self._lock:
            return list(self._held.items())
