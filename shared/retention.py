"""How long a tenant's calls are kept: what a change of the setting does to what is stored already, and a sweep.

New rows and objects carry their time from the start (`sql/010_retention.sql`, `infra/retention.json`); Spanner and
Cloud Storage remove what is past it, usually within three days and within one. What is here does the same for existing
rows and objects, a bounded piece at a time. A piece only takes what is not right yet, so that stopping and starting
again loses nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from schemas.tenant import Tenant
from shared.ports import Clock

ROWS_A_PIECE = 500
"""Rows in one commit: far below Spanner's 80,000 mutations, and short enough not to hold up workers."""
LIFE_CYCLE_GRACE = timedelta(days=1)
"""`days_since_custom_time` of infra/retention.json: Terraform drops a zero from rules, so customTime is a day early."""


def custom_time(stored_at: datetime, *, audio_days: int) -> datetime:
    """The customTime with which the bucket's rule deletes an object `audio_days` after it was stored."""
    return stored_at + timedelta(days=audio_days) - LIFE_CYCLE_GRACE


@dataclass(frozen=True)
class KeptObject:
    """A recording and when the bucket's rule may delete it; `custom_time` is None for objects from before retention."""

    name: str
    generation: int
    stored_at: datetime
    custom_time: datetime | None


class KeptObjects(Protocol):
    """The audio bucket, seen by whoever removes what is old."""

    def kept(self, prefix: str) -> Iterator[KeptObject]:
        """Every object under `prefix`, by name."""
        ...

    def set_custom_time(self, kept: KeptObject, moment: datetime) -> None:
        """Give the object this customTime, earlier or later than it had; one that has changed since is left alone."""
        ...

    def delete(self, name: str) -> None: ...


class RetentionStore(Protocol):
    """Rows with a time; every method takes the tenant first, is one commit, and says how many rows it changed."""

    def restamp(self, tenant_id: str, table: str, *, days: int, limit: int) -> int: ...

    def remove_expired(self, tenant_id: str, table: str, *, now: datetime, limit: int) -> int: ...

    def record(self, tenant_id: str, *, actor: str, action: str, detail: dict[str, str]) -> None: ...


TABLES = ("call_records", "processing_requests", "dead_letters")
"""Those with a time of their own; what is interleaved in them goes with its parent."""


@dataclass(frozen=True)
class RetentionDesk:
    """Applies tenants' settings."""

    store: RetentionStore
    objects: KeptObjects
    now: Clock

    def restamp(self, tenant: Tenant, *, actor: str) -> dict[str, int]:
        """Bring every row and recording to the tenant's present setting; what was changed, by kind.

        A dead letter's time is only ever shortened: it is kept for 400 days at most.
        """
        privacy = tenant.config.privacy
        changed = {table: self._all(tenant.tenant_id, table, days=privacy.retention_days) for table in TABLES}
        changed["recordings"] = sum(
            self._restamp_object(kept, audio_days=privacy.audio_days)
            for kept in self.objects.kept(f"recordings/{tenant.tenant_id}/")
        )
        return self._recorded(tenant.tenant_id, changed, actor=actor, action="privacy.retention")

    def sweep(self, tenant: Tenant, *, actor: str) -> dict[str, int]:
        """Remove what is past its time, as Spanner's policies and the bucket's rule do by themselves on Google."""
        now = self.now()
        removed = dict.fromkeys(TABLES, 0)
        for table in TABLES:
            while count := self.store.remove_expired(tenant.tenant_id, table, now=now, limit=ROWS_A_PIECE):
                removed[table] += count
        removed["recordings"] = 0
        for kept in self.objects.kept(f"recordings/{tenant.tenant_id}/"):
            if kept.custom_time is not None and kept.custom_time + LIFE_CYCLE_GRACE <= now:
                self.objects.delete(kept.name)
                removed["recordings"] += 1
        return self._recorded(tenant.tenant_id, removed, actor=actor, action="privacy.sweep")

    def _all(self, tenant_id: str, table: str, *, days: int) -> int:
        total = 0
        while count := self.store.restamp(tenant_id, table, days=days, limit=ROWS_A_PIECE):
            total += count
        return total

    def _restamp_object(self, kept: KeptObject, *, audio_days: int) -> int:
        wanted = custom_time(kept.stored_at, audio_days=audio_days)
        if kept.custom_time is not None and abs(kept.custom_time - wanted) < timedelta(hours=1):
            return 0
        self.objects.set_custom_time(kept, wanted)
        return 1

    def _recorded(self, tenant_id: str, counts: dict[str, int], *, actor: str, action: str) -> dict[str, int]:
        if any(counts.values()):
            detail = {name: str(count) for name, count in counts.items()}
            self.store.record(tenant_id, actor=actor, action=action, detail=detail)
        return counts
