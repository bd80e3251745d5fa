"""The demo tenant of a local stack: its configuration, and secrets made fresh for each stack."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from schemas.tenant import Tenant, TenantConfig

DEMO_TENANT_ID = "demo-tenant-001"
DEMO_COMPANY_ID = "COM019a0000000070008000000000000001"
GUIDE_COMPANY_ID = "12345"
"""The company of the production guide's test payload, so that it can be sent as it stands."""
DEMO_ACCOUNT_ID = "ACC019a0000000070008000000000000001"


@dataclass(frozen=True)
class DemoTenant:
    """A tenant and the secrets its configuration names."""

    tenant: Tenant
    secret_values: Mapping[str, str]

    @property
    def webhook_secret(self) -> str:
        return self.secret_values[self.tenant.config.webhook_secret_names[0]]


def make_demo_tenant(tenant_id: str = DEMO_TENANT_ID) -> DemoTenant:
    """HubSpot and Salesforce, CallRail's shared address and an address of its own."""
    config = TenantConfig.model_validate(
        {
            "callrail_company_ids": [DEMO_COMPANY_ID, GUIDE_COMPANY_ID],
            "webhook_secret_name": f"{tenant_id}-webhook-secret",
            "webhook_token": secrets.token_urlsafe(24),
            "callrail_account_id": DEMO_ACCOUNT_ID,
            "callrail_api_key_secret": f"{tenant_id}-callrail-api-key",
            "crm_config": {
                "hubspot": {"token_secret": f"{tenant_id}-hubspot-token", "portal_id": "12345678"},
                "salesforce": {"credentials_secret": f"{tenant_id}-salesforce-credentials"},
            },
            "ai_config": {
                "lead_scoring_threshold": 70,
                "instructions": "We repair plumbing and heating and clean homes. An emergency today is the best lead.",
            },
        }
    )
    salesforce = {
        "flow": "client_credentials",
        "domain": "demo.my",
        "consumer_key": f"demo-consumer-{secrets.token_hex(8)}",
        "consumer_secret": secrets.token_hex(16),
    }
    values = {
        f"{tenant_id}-webhook-secret": secrets.token_hex(16),
        f"{tenant_id}-callrail-api-key": secrets.token_hex(16),
        f"{tenant_id}-hubspot-token": f"pat-na1-{secrets.token_hex(16)}",
        f"{tenant_id}-salesforce-credentials": json.dumps(salesforce),
    }
    return DemoTenant(Tenant(tenant_id=tenant_id, name="Demo Company", config=config), values)
