"""Tenants' keys, read from Spanner and unwrapped once, then kept for minutes: what seals and opens personal data.

A keyset costs one read and two unwrappings for each process, tenant and `ttl_s`; a value costs neither.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Any

from cachetools import TTLCache
from google.cloud.spanner_v1 import param_types

from shared.errors import PermanentFailure, TenantBlocked
from shared.gateways.database import OpenDatabase, read_rows
from shared.gateways.keyset_store import KeysetStore
from shared.gateways.keysets import PURPOSES, primitive, unwrap
from shared.gateways.queries import query
from shared.gateways.tenant_keys import SEALED, Place, TenantKeys

MAX_TENANTS = 2_000
RELOAD_INTERVAL_S = 5.0
"""A value that does not open makes us look for newer keys, at most once in this time: it may be a forgery."""


@dataclass(frozen=True)
class _Loaded:
    keys: TenantKeys
    loaded_at: float


class Vault:
    """The keys of all tenants. Thread-safe; nothing is loaded before something is sealed or opened."""

    def __init__(
        self,
        open_database: OpenDatabase,
        kek: Callable[[], Any],
        *,
        ttl_s: float = 600.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`kek` makes the key-encryption key, a Tink Aead."""
        self._open = open_database
        self._kek = kek
        self._monotonic = monotonic
        self._lock = Lock()
        self._known: TTLCache[str, _Loaded] = TTLCache(MAX_TENANTS, ttl=ttl_s, timer=monotonic)

    def of(self, tenant_id: str) -> TenantVault:
        """One tenant's part. Touches nothing yet."""
        return TenantVault(self, tenant_id)

    def keys(self, tenant_id: str) -> TenantKeys:
        """Raises `TenantBlocked` (no keyset, or destroyed for good), `TransientFailure` (Spanner or KMS)."""
        with self._lock:
            known = self._known.get(tenant_id)
        return known.keys if known else self._load(tenant_id)

    def newer_keys(self, tenant_id: str, than: TenantKeys) -> TenantKeys | None:
        """Keys of another process's rotation, if there are any: reads again, at most every `RELOAD_INTERVAL_S`."""
        with self._lock:
            known = self._known.get(tenant_id)
        if known and known.keys.version > than.version:
            return known.keys
        if known and self._monotonic() - known.loaded_at < RELOAD_INTERVAL_S:
            return None
        loaded = self._load(tenant_id)
        return loaded if loaded.version > than.version else None

    def ensure(self, tenant_id: str, *, actor: str) -> None:
        """Make the tenant's keysets if there are none. Raises `InvalidEvent` (no such tenant), `TransientFailure`."""
        try:
            self.keys(tenant_id)
        except TenantBlocked as blocked:
            if blocked.code != "keyset_missing":
                raise
            KeysetStore(self._open, self._kek).create(tenant_id, actor=actor)
            self.keys(tenant_id)

    def forget(self, tenant_id: str) -> None:
        """Drop what is cached, after this process changed the keyset."""
        with self._lock:
            self._known.pop(tenant_id, None)

    def _load(self, tenant_id: str) -> TenantKeys:
        types = {"tenant_id": param_types.STRING}
        statement = query("keys", "read_keysets")
        rows = read_rows(self._open, statement, {"tenant_id": tenant_id}, types, what="read keysets")
        wrapped = {purpose: text for purpose, text, _ in rows}
        if not set(PURPOSES) <= set(wrapped):
            raise TenantBlocked(
                "keyset_missing", f"tenant {tenant_id} has no keyset", fix="pipeline keys create --tenant TENANT"
            )
        if not all(wrapped.values()):
            raise TenantBlocked(
                "keyset_destroyed",
                f"the keyset of tenant {tenant_id} was destroyed with its data",
                fix="nothing: the tenant was offboarded; create a new tenant for the customer",
            )
        kek = self._kek()
        data, lookup = (
            primitive(unwrap(wrapped[purpose], kek, tenant_id=tenant_id, purpose=purpose), purpose)
            for purpose in PURPOSES
        )
        loaded = _Loaded(TenantKeys(data, lookup, version=max(version for _, _, version in rows)), self._monotonic())
        with self._lock:
            self._known[tenant_id] = loaded
        return loaded.keys


@dataclass(frozen=True)
class TenantVault:
    """Seals and opens the personal data of one tenant."""

    vault: Vault
    tenant_id: str

    def warm(self) -> None:
        """Load the keys now: a transaction's callback must not wait for Cloud KMS. Raises as `Vault.keys`."""
        self.vault.keys(self.tenant_id)

    def seal(self, call_id: str, field: str, text: str) -> str:
        """Raises as `Vault.keys`."""
        return self.vault.keys(self.tenant_id).seal(Place(self.tenant_id, call_id, field), text)

    def open(self, call_id: str, field: str, stored: str) -> str:
        """What `seal` was given; what was stored before there was encryption is returned as it is.

        Raises `PermanentFailure` for a value of another place or tenant, and as `Vault.keys`.
        """
        if not stored.startswith(SEALED):
            return stored
        place = Place(self.tenant_id, call_id, field)
        keys = self.vault.keys(self.tenant_id)
        try:
            return keys.open(place, stored)
        except PermanentFailure:
            newer = self.vault.newer_keys(self.tenant_id, keys)
            if newer is None:
                raise
            return newer.open(place, stored)

    def phone_hash(self, number: str) -> str | None:
        """What is stored beside a call to find it by its caller; None for a withheld number."""
        return self.vault.keys(self.tenant_id).phone_hash(number) if number else None

    def phone_hashes(self, number: str) -> list[str]:
        """What to look for."""
        return self.vault.keys(self.tenant_id).phone_hashes(number)
