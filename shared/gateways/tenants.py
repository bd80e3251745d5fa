"""Finds tenants in Spanner by id, by CallRail company and by the token of their own webhook address; cached.

Nothing here imports Google's client until the first look-up: the webhook service starts without it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from schemas.tenant import TENANT_ID_PATTERN, Tenant
from shared.gateways.database import OpenDatabase, read_rows
from shared.gateways.queries import query
from shared.gateways.tenant_cache import TenantCache
from shared.gateways.tenant_rows import intake_of, tenant_of

Parse = Callable[[list[Any]], Tenant | None]

_MAX_ROUTE_LENGTH = 64  # column tenant_routes.route_value


class SpannerTenantDirectory:
    """Implements `shared.ports.TenantDirectory`; suspended and offboarded tenants are found too.

    A change becomes visible after `ttl_s` at the latest, a new tenant after `negative_ttl_s`. While Spanner does not
    answer, an answer serves for up to `stale_for_s` longer: a suspension may take that long to arrive in an outage,
    and no call is lost meanwhile. Unknown keys never get that extension.
    """

    def __init__(
        self,
        open_database: OpenDatabase,
        *,
        ttl_s: float,
        negative_ttl_s: float,
        stale_for_s: float = 3600.0,
        load_timeout_s: float = 5.0,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open = open_database
        self._cache = TenantCache(
            ttl_s=ttl_s,
            negative_ttl_s=negative_ttl_s,
            stale_for_s=stale_for_s,
            load_timeout_s=load_timeout_s,
            timer=timer,
        )

    def by_id(self, tenant_id: str) -> Tenant | None:
        """Raises `TransientFailure` when Spanner gives no answer, `TenantBlocked` when the stored row is unreadable."""
        if not TENANT_ID_PATTERN.fullmatch(tenant_id):
            return None
        return self._cache.get(("id", tenant_id), lambda: self._load(tenant_of, "by_id", {"tenant_id": tenant_id}))

    def by_company(self, company_id: str) -> Tenant | None:
        """What the receiver may know (`intake_of`), and nothing else. Raises as `by_id` does."""
        return self._by_route("company", company_id)

    def by_webhook_token(self, token: str) -> Tenant | None:
        """As `by_company`."""
        return self._by_route("token", token)

    def _by_route(self, kind: str, value: str) -> Tenant | None:
        if not value or len(value) > _MAX_ROUTE_LENGTH:
            return None
        params = {"route_kind": kind, "route_value": value}
        return self._cache.get((kind, value), lambda: self._load(intake_of, "by_route", params))

    def _load(self, parse: Parse, name: str, params: Mapping[str, str]) -> Tenant | None:
        from google.cloud.spanner_v1 import param_types

        types = dict.fromkeys(params, param_types.STRING)
        rows = read_rows(self._open, query("tenants", name), dict(params), types, what="find tenant")
        return parse(rows[0]) if rows else None
