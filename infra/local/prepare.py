"""What a fresh local stack is given before its workers get their first message: tables and a demo tenant."""

from __future__ import annotations

from collections.abc import Mapping

import httpx

from infra.local.demo_tenant import DEMO_COMPANY_ID, DemoTenant, make_demo_tenant
from infra.local.environment import applied


def prepare(env: Mapping[str, str]) -> Mapping[str, str]:
    """Migrate the database and create the demo tenant; returns what people need to post a webhook themselves."""
    demo = make_demo_tenant()
    with applied(env):
        _fill(demo, env)
    return {
        "DEMO_TENANT_ID": demo.tenant.tenant_id,
        "DEMO_COMPANY_ID": DEMO_COMPANY_ID,
        "DEMO_WEBHOOK_SECRET": demo.webhook_secret,
        "DEMO_WEBHOOK_TOKEN": demo.tenant.config.webhook_token,
    }


def _fill(demo: DemoTenant, env: Mapping[str, str]) -> None:
    from handlers import wiring
    from shared.gateways.migrations import migrate
    from shared.settings import load_settings

    settings = load_settings()
    migrate(wiring.spanner_database(settings), emulator=True, report=lambda _line: None)
    wiring.tenant_store(settings).create(
        demo.tenant, new_secrets=demo.secret_values, secrets=wiring.secrets(settings), actor="local stack"
    )
    _prepare_callrail(demo, env)
    _prepare_crms(demo, env)


def _prepare_callrail(demo: DemoTenant, env: Mapping[str, str]) -> None:
    """CallRail's stand-in accepts the tenant's key, as CallRail does once the key is made on its screen."""
    key_name = demo.tenant.config.callrail_api_key_secret
    assert key_name is not None
    keys = [demo.secret_values[key_name]]
    httpx.put(f"{env['CALLRAIL_URL']}/_standin/api_keys", json=keys, trust_env=False).raise_for_status()


def _prepare_crms(demo: DemoTenant, env: Mapping[str, str]) -> None:
    """What onboarding does in a tenant's CRMs: custom properties in HubSpot (Salesforce's stand-in has its fields)."""
    from handlers import wiring
    from shared.gateways.crm_registry import CrmRegistry
    from shared.settings import load_settings

    registry = CrmRegistry(
        wiring.secrets(load_settings()),
        clock=wiring.now,
        local_hubspot_url=env["PIPELINE_LOCAL_HUBSPOT_URL"],
        local_salesforce_url=env["PIPELINE_LOCAL_SALESFORCE_URL"],
    )
    for provider in demo.tenant.config.crm_config.providers:
        registry.for_tenant(demo.tenant, provider).prepare()
