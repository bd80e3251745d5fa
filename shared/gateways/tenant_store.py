"""Creates, shows and changes tenants, for the command line. Google's client is imported on first use only.

Errors are for a person at a terminal: `ConfigurationError` says what to change, `TransientFailure` to try again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from schemas.tenant import Tenant, TenantStatus
from shared.errors import ConfigurationError
from shared.gateways.database import OpenDatabase, run_transaction
from shared.gateways.queries import query
from shared.gateways.tenant_rows import (
    audit,
    commit_timestamp,
    config_of,
    insert_integrations,
    insert_routes,
    replace_integrations,
    replace_routes,
    routes_of,
    tenant_of,
)
from shared.ports import Secrets

if TYPE_CHECKING:
    from shared.gateways.keyset_store import KeysetStore

_READ_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Integration:
    """One CRM connection as it stands; `reason` says why it is not active."""

    provider: str
    status: str
    reason: str


@dataclass(frozen=True)
class StoredTenant:
    """A tenant with what the database adds."""

    tenant: Tenant
    integrations: tuple[Integration, ...]
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class TenantLine:
    """One line of the list of tenants."""

    tenant_id: str
    name: str
    status: str
    created_at: datetime
    updated_at: datetime


class TenantStore:
    """Every change is one commit: tenant, routes, integrations and the audit entry of `actor` together."""

    def __init__(self, open_database: OpenDatabase, keysets: KeysetStore) -> None:
        self._open = open_database
        self._keysets = keysets

    def check_new(self, tenant: Tenant) -> None:
        """Raises `ConfigurationError` when the id, a company or an address is taken."""
        if self._rows("by_id", tenant_id=tenant.tenant_id):
            raise ConfigurationError(
                "tenant_exists",
                f"tenant {tenant.tenant_id} exists already",
                fix="choose another --tenant-id, or change it with `pipeline tenant update`",
            )
        self.check_routes(tenant)

    def check_routes(self, tenant: Tenant) -> None:
        """Raises `ConfigurationError` when a company or an address belongs to another tenant."""
        routes = routes_of(tenant)
        owners = self._rows(
            "route_owners",
            companies=[value for kind, value in routes if kind == "company"],
            tokens=[value for kind, value in routes if kind == "token"],
        )
        taken = [
            f"company {value} belongs to tenant {owner}"
            if kind == "company"
            else f"the webhook token belongs to tenant {owner}"
            for owner, kind, value in owners
            if owner != tenant.tenant_id
        ]
        if taken:
            raise _route_taken("; ".join(taken))

    def create(self, tenant: Tenant, *, new_secrets: Mapping[str, str], secrets: Secrets, actor: str) -> None:
        """Check, write `new_secrets` (name → value), then the tenant: it never appears without its keys.

        Checks come first, so that a tenant that exists keeps its secrets. Repeating after a failure is harmless.
        """
        self.check_new(tenant)
        _write_all(secrets, new_secrets)
        keysets = self._keysets.new_rows(tenant.tenant_id)

        def work(transaction: Any) -> None:
            now = commit_timestamp()
            transaction.insert(
                "tenants",
                ("tenant_id", "name", "status", "config", "created_at", "updated_at"),
                [(tenant.tenant_id, tenant.name, tenant.status, config_of(tenant), now, now)],
            )
            self._keysets.insert(transaction, keysets)
            insert_routes(transaction, tenant.tenant_id, routes_of(tenant))
            insert_integrations(transaction, tenant.tenant_id, tenant.config.crm_config.providers)
            audit(transaction, tenant.tenant_id, actor=actor, action="tenant.create", detail={})

        self._change(work, doing=f"creating tenant {tenant.tenant_id}", tag="tenant_create")

    def update(self, tenant: Tenant, *, new_secrets: Mapping[str, str], secrets: Secrets, actor: str) -> None:
        """Replace name and configuration; the status and the state of integrations that stay are kept.

        Services see it when their cached copy expires (`PIPELINE_TENANT_CACHE_TTL_S`).
        """
        self.name_of(tenant.tenant_id)
        self.check_routes(tenant)
        _write_all(secrets, new_secrets)

        def work(transaction: Any) -> None:
            old = self._in_transaction(transaction, "routes_of", tenant.tenant_id)
            had = {row[0] for row in self._in_transaction(transaction, "integrations_of", tenant.tenant_id)}
            transaction.update(
                "tenants",
                ("tenant_id", "name", "config", "updated_at"),
                [(tenant.tenant_id, tenant.name, config_of(tenant), commit_timestamp())],
            )
            replace_routes(transaction, tenant, {(kind, value) for kind, value in old})
            replace_integrations(transaction, tenant, had)
            audit(transaction, tenant.tenant_id, actor=actor, action="tenant.update", detail={})

        self._change(work, doing=f"updating tenant {tenant.tenant_id}", tag="tenant_update")

    def set_status(self, tenant_id: str, status: TenantStatus, *, actor: str) -> None:
        """Suspend, resume or offboard. Raises `ConfigurationError` for an unknown or an offboarded tenant."""
        from google.cloud.spanner_v1 import param_types

        params = {"tenant_id": tenant_id, "status": status}
        types = dict.fromkeys(params, param_types.STRING)

        def work(transaction: Any) -> int:
            changed = int(transaction.execute_update(query("tenants", "set_status"), params=params, param_types=types))
            if changed:
                audit(transaction, tenant_id, actor=actor, action="tenant.set_status", detail={"status": status})
            return changed

        if not self._change(work, doing=f"setting tenant {tenant_id} to {status}", tag="tenant_status"):
            self.show(tenant_id)
            raise ConfigurationError(
                "tenant_offboarded", f"tenant {tenant_id} is offboarded", fix="create a new tenant for the customer"
            )

    def show(self, tenant_id: str) -> StoredTenant:
        """Raises `ConfigurationError` for an unknown tenant, `TenantBlocked` when the stored row is unreadable."""
        rows = self._rows("show", tenant_id=tenant_id)
        if not rows:
            raise _unknown_tenant(tenant_id)
        *fields, created_at, updated_at, integrations = rows[0]
        found = tuple(Integration(provider, status, reason or "") for provider, status, reason in integrations or ())
        return StoredTenant(tenant_of(fields), found, created_at, updated_at)

    def find(self, tenant_id: str) -> Tenant | None:
        """The tenant, or None. Raises `TenantBlocked` when the stored row is unreadable."""
        rows = self._rows("by_id", tenant_id=tenant_id)
        return tenant_of(rows[0]) if rows else None

    def record(self, tenant_id: str, *, actor: str, action: str, detail: Mapping[str, str]) -> None:
        """A line of the audit log for something that was done with a tenant and changed no row of it."""

        def work(transaction: Any) -> None:
            audit(transaction, tenant_id, actor=actor, action=action, detail=detail)

        self._change(work, doing=f"recording {action} of tenant {tenant_id}", tag="tenant_record")

    def forget_test(self, tenant_id: str, request_id: str, *, actor: str) -> None:
        """Remove the rows of an onboarding's test webhook, and say so in the audit log; once more is no error."""
        from google.cloud.spanner_v1 import param_types

        params = {"tenant_id": tenant_id, "request_id": request_id}
        types = dict.fromkeys(params, param_types.STRING)

        def work(transaction: Any) -> None:
            transaction.execute_update(query("tenants", "forget_test"), params=params, param_types=types)
            detail = {"request_id": request_id}
            audit(transaction, tenant_id, actor=actor, action="tenant.test_webhook", detail=detail)

        self._change(work, doing=f"removing the test webhook of tenant {tenant_id}", tag="tenant_forget_test")

    def name_of(self, tenant_id: str) -> str:
        """The customer's name, also where the configuration is unreadable. Raises `ConfigurationError` if unknown."""
        rows = self._rows("by_id", tenant_id=tenant_id)
        if not rows:
            raise _unknown_tenant(tenant_id)
        return str(rows[0][1])

    def list_tenants(self) -> list[TenantLine]:
        """All tenants by id, the internal owner of stray dead letters left out."""
        return [TenantLine(*row) for row in self._rows("list_tenants")]

    def _rows(self, name: str, **params: Any) -> list[list[Any]]:
        from google.cloud.spanner_v1 import param_types

        from shared.gateways.spanner_errors import explained, read_retry

        strings = param_types.Array(param_types.STRING)
        types = {key: strings if isinstance(value, list) else param_types.STRING for key, value in params.items()}
        with explained("reading tenants"), self._open().snapshot() as snapshot:
            return list(
                snapshot.execute_sql(
                    query("tenants", name),
                    params=params,
                    param_types=types,
                    retry=read_retry(_READ_TIMEOUT_S),
                    timeout=_READ_TIMEOUT_S,
                )
            )

    def _in_transaction(self, transaction: Any, name: str, tenant_id: str) -> list[list[Any]]:
        from google.cloud.spanner_v1 import param_types

        from shared.gateways.spanner_errors import read_retry

        return list(
            transaction.execute_sql(
                query("tenants", name),
                params={"tenant_id": tenant_id},
                param_types={"tenant_id": param_types.STRING},
                retry=read_retry(_READ_TIMEOUT_S),
                timeout=_READ_TIMEOUT_S,
            )
        )

    def _change(self, work: Any, *, doing: str, tag: str) -> Any:
        """Run `work` in one read-write transaction; it may run several times."""
        from google.api_core.exceptions import AlreadyExists

        from shared.gateways.spanner_errors import explained

        with explained(doing):
            try:
                return run_transaction(self._open(), work, tag=tag)
            except AlreadyExists as error:
                raise _route_taken(
                    f"{doing}: somebody took the id, a company or the webhook token meanwhile"
                ) from error


def _unknown_tenant(tenant_id: str) -> ConfigurationError:
    return ConfigurationError("unknown_tenant", f"there is no tenant {tenant_id}", fix="see `pipeline tenant list`")


def _route_taken(detail: str) -> ConfigurationError:
    return ConfigurationError(
        "route_taken",
        detail,
        fix="a company and a webhook token belong to one tenant only: correct the file, or remove it from the other",
    )


def _write_all(secrets: Secrets, new_secrets: Mapping[str, str]) -> None:
    for name, value in new_secrets.items():
        secrets.write(name, value)
