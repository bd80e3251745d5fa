"""Times of rows in Spanner, one bounded statement a commit. Run by people in their own identity, by no service."""

from __future__ import annotations

from datetime import datetime

from google.cloud.spanner_v1 import param_types

from shared.gateways.database import OpenDatabase, transact, update_rows
from shared.gateways.queries import query
from shared.gateways.tenant_rows import audit

_TYPES = {"tenant_id": param_types.STRING, "row_limit": param_types.INT64}


class SpannerRetention:
    """Implements `shared.retention.RetentionStore`."""

    def __init__(self, open_database: OpenDatabase) -> None:
        self._open = open_database

    def restamp(self, tenant_id: str, table: str, *, days: int, limit: int) -> int:
        params = {"tenant_id": tenant_id, "days": days, "row_limit": limit}
        statement = (query("retention", f"restamp_{table}"), params, {**_TYPES, "days": param_types.INT64})
        return update_rows(self._open, [statement], what=f"restamp {table}", tag="restamp")[0]

    def remove_expired(self, tenant_id: str, table: str, *, now: datetime, limit: int) -> int:
        params = {"tenant_id": tenant_id, "now": now, "row_limit": limit}
        statement = (query("retention", f"remove_{table}"), params, {**_TYPES, "now": param_types.TIMESTAMP})
        return update_rows(self._open, [statement], what=f"remove {table}", tag="remove_expired")[0]

    def record(self, tenant_id: str, *, actor: str, action: str, detail: dict[str, str]) -> None:
        transact(
            self._open,
            lambda transaction: audit(transaction, tenant_id, actor=actor, action=action, detail=detail),
            what="write the audit log",
            tag="retention_audit",
        )
