"""The tenants of a chaos run, with accounts and secrets of their own in every stand-in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

import httpx

from infra.local.chaos.calls import COMPANIES, TENANTS
from infra.local.demo_tenant import DemoTenant, make_demo_tenant
from infra.local.environment import applied
from infra.local.standins.hubspot_hub import portal_name
from schemas.calls import Provider

_PROVIDERS: Mapping[str, tuple[Provider, ...]] = {
    "chaos-both": ("hubspot", "salesforce"),
    "chaos-hubspot": ("hubspot",),
    "chaos-salesforce": ("salesforce",),
}


@dataclass(frozen=True)
class ChaosTenant:
    """Whom the run posts for, and where the tenant's records must end: HubSpot's portal, Salesforce's org."""

    tenant_id: str
    providers: tuple[Provider, ...]
    webhook_secret: str
    portal: str
    consumer_key: str


def prepare_tenants(env: Mapping[str, str]) -> list[ChaosTenant]:
    """Migrate the empty database of a stack and create everybody."""
    from handlers import wiring
    from shared.gateways.migrations import migrate
    from shared.settings import load_settings

    with applied(env):
        migrate(wiring.spanner_database(load_settings()), emulator=True, report=lambda _line: None)
        made = [_make(tenant_id) for tenant_id in TENANTS]
        for tenant in made:
            _create(tenant, env)
        _accept_callrail_keys(made, env)
    return [_as_chaos_tenant(tenant) for tenant in made]


def _make(tenant_id: str) -> DemoTenant:
    demo = make_demo_tenant(tenant_id)
    crm = demo.tenant.config.crm_config
    wanted = _PROVIDERS[tenant_id]
    chosen = crm.model_copy(update={name: None for name in ("hubspot", "salesforce") if name not in wanted})
    config = demo.tenant.config.model_copy(
        update={"callrail_company_ids": (COMPANIES[tenant_id],), "crm_config": chosen}
    )
    return replace(demo, tenant=demo.tenant.model_copy(update={"config": config}))


def _create(demo: DemoTenant, env: Mapping[str, str]) -> None:
    from handlers import wiring
    from shared.gateways.crm_registry import CrmRegistry
    from shared.settings import load_settings

    settings = load_settings()
    secrets = wiring.secrets(settings)
    wiring.tenant_store(settings).create(demo.tenant, new_secrets=demo.secret_values, secrets=secrets, actor="chaos")
    registry = CrmRegistry(
        secrets,
        clock=wiring.now,
        local_hubspot_url=env["PIPELINE_LOCAL_HUBSPOT_URL"],
        local_salesforce_url=env["PIPELINE_LOCAL_SALESFORCE_URL"],
    )
    for provider in demo.tenant.config.crm_config.providers:
        registry.for_tenant(demo.tenant, provider).prepare()


def _accept_callrail_keys(made: list[DemoTenant], env: Mapping[str, str]) -> None:
    keys = [demo.secret_values[f"{demo.tenant.tenant_id}-callrail-api-key"] for demo in made]
    httpx.put(f"{env['CALLRAIL_URL']}/_standin/api_keys", json=keys, trust_env=False).raise_for_status()


def _as_chaos_tenant(demo: DemoTenant) -> ChaosTenant:
    tenant_id = demo.tenant.tenant_id
    salesforce = json.loads(demo.secret_values[f"{tenant_id}-salesforce-credentials"])
    return ChaosTenant(
        tenant_id=tenant_id,
        providers=demo.tenant.config.crm_config.providers,
        webhook_secret=demo.webhook_secret,
        portal=portal_name(demo.secret_values[f"{tenant_id}-hubspot-token"]),
        consumer_key=salesforce["consumer_key"],
    )
