"""How many requests this process sends to each CallRail account: a token bucket per account, below CallRail's limits.

CallRail counts by account, and tenants of one agency share an account (callrail.md §4.5): 1,000 requests an hour and
10,000 a day, for everybody who has a key of that account. The download workers ask for one link per call beside us.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

REQUESTS_PER_HOUR = 400
"""24 × 400 stays below the 10,000 of the day and leaves 600 of the hour to the download workers and the customer."""
BURST = 100
"""Together at most 500 in any hour."""


@dataclass
class _Bucket:
    tokens: float
    filled_at: float
    closed_until: float = 0.0


class RequestBudgets:
    """Thread-safe; one object for everything in a process that asks CallRail's API."""

    def __init__(
        self,
        *,
        per_hour: float = REQUESTS_PER_HOUR,
        burst: int = BURST,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._per_s = per_hour / 3600
        self._burst = burst
        self._monotonic = monotonic
        self._lock = Lock()
        self._buckets: dict[str, _Bucket] = {}

    def take(self, account_id: str) -> float:
        """Take one request: 0 when it is granted, otherwise the seconds until it could be."""
        with self._lock:
            now = self._monotonic()
            bucket = self._filled(account_id, now)
            if bucket.closed_until > now:
                return bucket.closed_until - now
            if bucket.tokens < 1:
                return (1 - bucket.tokens) / self._per_s
            bucket.tokens -= 1
            return 0.0

    def close(self, account_id: str, *, for_s: float) -> None:
        """Grant nothing for a while: CallRail itself said that the account's limit is reached."""
        with self._lock:
            now = self._monotonic()
            self._filled(account_id, now).closed_until = now + for_s

    def _filled(self, account_id: str, now: float) -> _Bucket:
        bucket = self._buckets.setdefault(account_id, _Bucket(float(self._burst), now))
        bucket.tokens = min(float(self._burst), bucket.tokens + (now - bucket.filled_at) * self._per_s)
        bucket.filled_at = now
        return bucket
