"""The claims a process holds now, so that they can be given back at a shutdown."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from shared.claims import RunKey, StageRun
from shared.errors import NotReady
from shared.ports import Clock

_LEFT_FOR_WHAT_IS_PAID = 2 / 3
"""Of a lease: 80 of the transcribe stage's 120 s, for two submissions of 30 s, their pauses and a search."""


class ActiveClaims:
    """Thread-safe: several requests run at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[str, RunKey] = {}
        self._kept: set[str] = set()
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
                self._kept.discard(run.claim_token)

    @property
    def closed(self) -> bool:
        """Whether nothing may be claimed any more. Read again once a claim is held: it may have come just too late."""
        with self._lock:
            return self._closed

    def keep(self, claim_token: str) -> bool:
        """Keep this claim from being given back as long as it is held. False: it was given back, or soon will be."""
        with self._lock:
            if self._closed:
                return False
            self._kept.add(claim_token)
            return True

    def close(self) -> list[tuple[str, RunKey]]:
        """From now on nothing is claimed. Claim token and key of each that is held still and not kept."""
        with self._lock:
            self._closed = True
            return [(token, key) for token, key in self._held.items() if token not in self._kept]


def begin_paid(claims: ActiveClaims, run: StageRun, *, lease: timedelta, now: Clock) -> None:
    """What a runner gives to its stage as `StageContext.begin_paid`."""
    if now() >= run.lease_until - lease * _LEFT_FOR_WHAT_IS_PAID:
        raise NotReady("claim_too_old", "too little is left of the claim to begin what is paid for each time")
    if not claims.keep(run.claim_token):
        raise NotReady("worker_stopped", "the worker is being shut down")
