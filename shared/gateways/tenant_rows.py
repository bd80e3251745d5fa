"""A tenant as rows: `tenants`, `tenant_routes`, `crm_integrations`, and the audit entry of a change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import uuid4

from pydantic import ValidationError

from schemas.tenant import Tenant
from shared.errors import TenantBlocked

Route = tuple[str, str]
"""Kind (`company`, `token`) and value."""


def tenant_of(row: list[Any]) -> Tenant:
    """A row (tenant_id, name, status, config). Raises `TenantBlocked` naming the fields that are wrong."""
    tenant_id, name, status, config = row
    try:
        return Tenant.model_validate(
            {"tenant_id": tenant_id, "name": name, "status": status, "config": dict(config)},
        )
    except ValidationError as error:
        fields = ", ".join(sorted({".".join(map(str, item["loc"])) for item in error.errors()}))
        raise TenantBlocked(
            "tenant_config_unreadable",
            f"the stored configuration of tenant {tenant_id} is not valid: {fields}",
            fix="pipeline tenant update TENANT --config FILE; its calls then go on by themselves",
        ) from None


def intake_of(row: list[Any]) -> Tenant | None:
    """A row (tenant_id, intake): the tenant as the receiver may know it, every other setting at its default.

    None for what is no customer. Raises `TenantBlocked` as `tenant_of` does.
    """
    tenant_id, intake = row
    known = {name: value for name, value in dict(intake).items() if value is not None}
    status = known.pop("status", "system")
    return None if status == "system" else tenant_of([tenant_id, tenant_id, status, known])


def routes_of(tenant: Tenant) -> list[Route]:
    """How webhooks find this tenant."""
    config = tenant.config
    tokens = [config.webhook_token] if config.webhook_token else []
    # A company listed twice is one route.
    return [
        *(("company", value) for value in dict.fromkeys(config.callrail_company_ids)),
        *(("token", t) for t in tokens),
    ]


def config_of(tenant: Tenant) -> Any:
    """What `tenants.config` holds: only what was given, so that defaults can still change for everybody."""
    from google.cloud.spanner_v1 import JsonObject

    return JsonObject(tenant.config.model_dump(mode="json", exclude_unset=True))


def commit_timestamp() -> Any:
    from google.cloud.spanner_v1 import COMMIT_TIMESTAMP

    return COMMIT_TIMESTAMP


def insert_routes(transaction: Any, tenant_id: str, routes: Iterable[Route]) -> None:
    rows = [(tenant_id, kind, value) for kind, value in routes]
    if rows:
        transaction.insert("tenant_routes", ("tenant_id", "route_kind", "route_value"), rows)


def insert_integrations(transaction: Any, tenant_id: str, providers: Iterable[str]) -> None:
    now = commit_timestamp()
    rows = [(tenant_id, provider, "active", now, now) for provider in providers]
    if rows:
        columns = ("tenant_id", "provider", "status", "created_at", "updated_at")
        transaction.insert("crm_integrations", columns, rows)


def replace_routes(transaction: Any, tenant: Tenant, old: set[Route]) -> None:
    new = routes_of(tenant)
    _delete(transaction, "tenant_routes", [(tenant.tenant_id, *route) for route in sorted(old - set(new))])
    insert_routes(transaction, tenant.tenant_id, [route for route in new if route not in old])


def replace_integrations(transaction: Any, tenant: Tenant, had: set[str]) -> None:
    wanted = tenant.config.crm_config.providers
    gone = sorted(had - set(wanted))
    _delete(transaction, "crm_integrations", [(tenant.tenant_id, provider) for provider in gone])
    insert_integrations(transaction, tenant.tenant_id, [provider for provider in wanted if provider not in had])


def _delete(transaction: Any, table: str, keys: list[tuple[str, ...]]) -> None:
    from google.cloud.spanner_v1 import KeySet

    if keys:
        transaction.delete(table, KeySet(keys=keys))


def audit(transaction: Any, tenant_id: str, *, actor: str, action: str, detail: Mapping[str, str]) -> None:
    from google.cloud.spanner_v1 import JsonObject

    transaction.insert(
        "audit_log",
        ("tenant_id", "audit_id", "actor", "action", "target", "detail", "outcome", "occurred_at"),
        [(tenant_id, str(uuid4()), actor, action, tenant_id, JsonObject(dict(detail)), "done", commit_timestamp())],
    )
