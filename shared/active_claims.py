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

    def all(self) -> list[tuple[str, RunKey]]:
        """Claim token and key of each."""
        with self._lock:
            return list(self._held.items())
