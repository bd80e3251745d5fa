"""Tenants for tests: two of them wherever something could leak from one to the other."""

from __future__ import annotations

from typing import Any

from schemas.tenant import Tenant, TenantConfig

COMPANY = "COM019a1111222273338444555566667777"
OTHER_COMPANY = "COM019a1111222273338444555566668888"
SIGNING_KEY = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"


def make_tenant(tenant_id: str = "acme-plumbing", *, company_id: str = COMPANY, **config: Any) -> Tenant:
    """An active tenant with one company, one signing key (secret `<tenant>-webhook-secret`) and no CRM."""
    return Tenant(
        tenant_id=tenant_id,
        name=f"Tenant {tenant_id}",
        status=config.pop("status", "active"),
        config=TenantConfig.model_validate(
            {
                "callrail_company_ids": [company_id],
                "webhook_secret_names": [f"{tenant_id}-webhook-secret"],
                **config,
            }
        ),
    )
