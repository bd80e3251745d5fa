"""What the sweeper reads and marks in Spanner."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import structlog
from google.cloud.spanner_v1 import COMMIT_TIMESTAMP, param_types

from shared.errors import PermanentFailure
from shared.gateways.database import OpenDatabase, read_rows
from shared.gateways.dead_letter_closing import close_arrived
from shared.gateways.keyed_rows import ConditionalUpdate, update_if
from shared.gateways.queries import query
from shared.gateways.sealed_events import event_field, open_event
from shared.gateways.vault import TenantVault, Vault
from shared.sweeper import OverdueRun, StuckRequest

log = structlog.get_logger()

_DOES_NOT_OPEN = "does not open"
"""In the place of an event: no JSON, so the sweeper leaves it alone."""
_TENANT = {"tenant_id": param_types.STRING, "row_limit": param_types.INT64}


class SpannerSweepStore:
    """Implements `shared.sweeper.SweepStore`."""

    def __init__(self, open_database: OpenDatabase, vault: Vault) -> None:
        self._open = open_database
        self._vault = vault

    def tenants(self) -> list[tuple[str, bool]]:
        rows = read_rows(self._open, query("sweep", "sweep_tenants"), {}, {}, what="list tenants")
        return [(tenant_id, status == "active") for tenant_id, status in rows]

    def overdue(self, tenant_id: str, *, now: datetime, stale_before: datetime, limit: int) -> list[OverdueRun]:
        params = {"tenant_id": tenant_id, "now": now, "stale_before": stale_before, "row_limit": limit}
        types = {**_TENANT, "now": param_types.TIMESTAMP, "stale_before": param_types.TIMESTAMP}
        rows = read_rows(self._open, query("sweep", "overdue_runs"), params, types, what="find overdue runs")
        return [_overdue(row, self._vault.of(tenant_id)) for row in rows]

    def blocked_by_suspension(self, tenant_id: str, *, limit: int) -> list[OverdueRun]:
        params = {"tenant_id": tenant_id, "row_limit": limit}
        statement = query("sweep", "blocked_by_suspension")
        rows = read_rows(self._open, statement, params, _TENANT, what="find runs of a suspension")
        return [_overdue(row, self._vault.of(tenant_id)) for row in rows]

    def failed_without_letter(
        self, tenant_id: str, *, now: datetime, stale_before: datetime, failed_after: datetime, limit: int
    ) -> list[OverdueRun]:
        moments = {"now": now, "stale_before": stale_before, "failed_after": failed_after}
        params = {"tenant_id": tenant_id, "row_limit": limit, **moments}
        types = {**_TENANT, **dict.fromkeys(moments, param_types.TIMESTAMP)}
        statement = query("sweep", "failed_without_letter")
        rows = read_rows(self._open, statement, params, types, what="find failures without a dead letter")
        return [_overdue(row, self._vault.of(tenant_id)) for row in rows]

    def close_arrived(self, tenant_id: str, *, limit: int) -> int:
        return close_arrived(self._open, tenant_id, limit=limit)

    def postpone(self, tenant_id: str, run: OverdueRun, *, next_due: datetime) -> bool:
        change = ConditionalUpdate(
            "stage_runs",
            {"tenant_id": tenant_id, "request_id": run.request_id, "stage": run.stage},
            {"due_at": next_due},
            expected={"state": run.state, "updated_at": run.updated_at, "due_at": run.due_at},
        )
        return update_if(self._open, change, what="postpone run", tag="sweep")

    def stuck(self, tenant_id: str, *, stale_before: datetime, limit: int) -> list[StuckRequest]:
        params = {"tenant_id": tenant_id, "stale_before": stale_before, "row_limit": limit}
        types = {**_TENANT, "stale_before": param_types.TIMESTAMP}
        rows = read_rows(self._open, query("sweep", "stuck_requests"), params, types, what="find stuck requests")
        return [_stuck(row, self._vault.of(tenant_id)) for row in rows]

    def touch(self, tenant_id: str, request: StuckRequest) -> bool:
        change = ConditionalUpdate(
            "processing_requests",
            {"tenant_id": tenant_id, "request_id": request.request_id},
            {"updated_at": COMMIT_TIMESTAMP},
            expected={"state": "active", "updated_at": request.updated_at},
        )
        return update_if(self._open, change, what="touch request", tag="sweep")


def _overdue(row: list[Any], vault: TenantVault) -> OverdueRun:
    request_id, stage, state, event, due_at, updated_at, call_id = row
    event = _opened(vault, call_id, event_field(request_id, stage), event)
    return OverdueRun(request_id, stage, state, event, due_at, updated_at)


def _stuck(row: list[Any], vault: TenantVault) -> StuckRequest:
    request_id, stage, event, updated_at, call_id = row
    event = _opened(vault, call_id, event_field(request_id, stage), event)
    return StuckRequest(request_id, stage, event, updated_at)


def _opened(vault: TenantVault, call_id: str, field: str, stored: str) -> str:
    """An event that does not open becomes one that cannot be read: the tenant's others must be swept all the same."""
    try:
        return open_event(vault, call_id, field, stored)
    except PermanentFailure as error:
        log.error("swept_event_unreadable", code=error.code, detail=error.detail, tenant_id=vault.tenant_id)
        return _DOES_NOT_OPEN
    except ValueError:  # cut off: the sweeper says so
        return _DOES_NOT_OPEN
