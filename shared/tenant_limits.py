"""How much one tenant may ask of what all tenants share: a token bucket each, in bounded memory."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

MAX_TENANTS = 10_000
"""Buckets kept at once (about 2 MB). A tenant that is forgotten begins with a full bucket again."""


class TenantLimits:
    """For each tenant `rate_per_s` for good and `burst` at once, in this process; safe to use from many threads.

    Count only what is known to be the tenant's: an attacker who could use up a tenant's share by naming it would turn
    the fence into a weapon.
    """

    def __init__(
        self,
        *,
        rate_per_s: float,
        burst: float,
        max_tenants: int = MAX_TENANTS,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._max_tenants = max_tenants
        self._timer = timer
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """Tenant → what was left, and when; the one used longest ago first."""

    def wait_s(self, tenant_id: str) -> float:
        """Take one; 0 when there was one, else how long until there is (and nothing is taken)."""
        with self._lock:
            now = self._timer()
            left, since = self._buckets.pop(tenant_id, (self._burst, now))
            left = min(self._burst, left + max(0.0, now - since) * self._rate_per_s)
            wait_s = 0.0 if left >= 1 else (1 - left) / self._rate_per_s
            self._buckets[tenant_id] = (left - 1 if wait_s == 0 else left, now)
            if len(self._buckets) > self._max_tenants:
                self._buckets.popitem(last=False)
            return wait_s

    def __len__(self) -> int:
        """How many tenants are remembered."""
        return len(self._buckets)
