"""A bounded cache of tenants: one load at a time per key, negative answers apart, old answers during an outage.

Known and unknown keys live in separate caches of `MAX_ENTRIES` each: a flood of made-up company ids can push out
other made-up ones, never a real tenant.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from cachetools import TTLCache

from schemas.tenant import Tenant
from shared.errors import TransientFailure

MAX_ENTRIES = 10_000
MAX_LOADS = 64
"""Loads under way at once. More means that Spanner hangs while unknown keys keep coming: refuse, do not pile up."""
OUTAGE_PAUSE_S = 5.0
"""After a failed load the old answer serves this long before Spanner is asked again."""

Key = tuple[str, str]
Load = Callable[[], Tenant | None]


@dataclass
class _Known:
    tenant: Tenant
    fresh_until: float


class TenantCache:
    """Thread-safe. Seconds throughout, measured by `timer`."""

    def __init__(
        self,
        *,
        ttl_s: float,
        negative_ttl_s: float,
        stale_for_s: float,
        load_timeout_s: float,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ttl_s = ttl_s
        self._load_timeout_s = load_timeout_s
        self._timer = timer
        self._lock = threading.Lock()
        self._known: TTLCache[Key, _Known] = TTLCache(MAX_ENTRIES, ttl=ttl_s + stale_for_s, timer=timer)
        self._unknown: TTLCache[Key, None] = TTLCache(MAX_ENTRIES, ttl=negative_ttl_s, timer=timer)
        self._loads: dict[Key, Future[Tenant | None]] = {}

    def get(self, key: Key, load: Load) -> Tenant | None:
        """The cached answer, or what `load` says; callers that ask for the same key meanwhile share one load.

        Waits `load_timeout_s` at most. Raises `TransientFailure` when `load` does or takes too long, unless an answer
        that expired less than `stale_for_s` ago can serve; any other error of `load` is raised as it is.
        """
        with self._lock:
            known = self._known.get(key)
            if known is not None and self._timer() < known.fresh_until:
                return known.tenant
            if known is None and key in self._unknown:
                return None
            pending = self._join_or_start(key, load)
        try:
            return _answer(pending, self._load_timeout_s)
        except TransientFailure:
            if known is None:
                raise
            with self._lock:
                known.fresh_until = self._timer() + OUTAGE_PAUSE_S
            return known.tenant

    def _join_or_start(self, key: Key, load: Load) -> Future[Tenant | None] | None:
        """The load of this key that is under way, or a new one; None when too many are."""
        pending = self._loads.get(key)
        if pending is None and len(self._loads) < MAX_LOADS:
            pending = self._loads[key] = Future()
            # A thread of its own, because Google's client may wait far longer than any caller should (30 s for a
            # session alone), and a daemon, because a hanging load must not hold up the end of the process.
            threading.Thread(target=self._run, args=(key, load, pending), name="tenant-load", daemon=True).start()
        return pending

    def _run(self, key: Key, load: Load, pending: Future[Tenant | None]) -> None:
        try:
            tenant = load()
        except BaseException as error:  # whatever it is, it belongs to those who wait
            with self._lock:
                del self._loads[key]
            pending.set_exception(error)
            return
        with self._lock:
            self._keep(key, tenant)
            del self._loads[key]
        pending.set_result(tenant)

    def _keep(self, key: Key, tenant: Tenant | None) -> None:
        if tenant is None:
            self._known.pop(key, None)
            self._unknown[key] = None
        else:
            self._unknown.pop(key, None)
            self._known[key] = _Known(tenant, self._timer() + self._ttl_s)


def _answer(pending: Future[Tenant | None] | None, timeout_s: float) -> Tenant | None:
    if pending is None:
        raise TransientFailure("tenant_lookup_busy", f"{MAX_LOADS} look-ups of tenants are waiting for Spanner")
    try:
        return pending.result(timeout_s)
    except TimeoutError as error:
        raise TransientFailure(
            "tenant_lookup_timeout", f"Spanner did not name the tenant in {timeout_s:g} s"
        ) from error
