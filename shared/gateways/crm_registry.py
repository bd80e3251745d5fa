"""The CRMs we know, by name. A new one is one entry here, one adapter, one harness for the contract suite."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from cachetools import TTLCache

from schemas.calls import Provider
from schemas.tenant import Tenant
from shared.crm_erasure import CrmEraser
from shared.errors import TenantBlocked
from shared.ports import Clock, CrmGateway, Secrets

_MAX_GATEWAYS = 1000
_GATEWAY_TTL_S = 3600


class CrmConnection(CrmGateway, CrmEraser, Protocol):
    """What every vendor's gateway can do."""


class CrmRegistry:
    """Implements `shared.ports.CrmGateways` and `shared.crm_erasure.CrmErasers`.

    Gateways are kept: they hold sessions and connections.
    """

    def __init__(
        self, secrets: Secrets, *, clock: Clock, local_hubspot_url: str = "", local_salesforce_url: str = ""
    ) -> None:
        self._secrets = secrets
        self._clock = clock
        self._local_hubspot_url = local_hubspot_url
        self._local_salesforce_url = local_salesforce_url
        self._builders: dict[Provider, Callable[[Tenant], CrmConnection]] = {
            "hubspot": self._hubspot,
            "salesforce": self._salesforce,
        }
        self._lock = threading.Lock()
        # Keyed by the configuration too: a tenant's new secret name or person type makes a new gateway.
        self._kept: TTLCache[tuple[str, Provider, str], CrmConnection] = TTLCache(_MAX_GATEWAYS, _GATEWAY_TTL_S)

    def for_tenant(self, tenant: Tenant, provider: Provider) -> CrmConnection:
        """The tenant's gateway. Raises `TenantBlocked` when this CRM is not configured."""
        key = (tenant.tenant_id, provider, tenant.config.crm_config.model_dump_json())
        with self._lock:
            gateway = self._kept.get(key)
            if gateway is None:
                gateway = self._kept[key] = self._builders[provider](tenant)
            return gateway

    def _hubspot(self, tenant: Tenant) -> CrmConnection:
        from shared.gateways.http import json_client
        from shared.gateways.hubspot import HubSpotGateway
        from shared.gateways.hubspot_api import BASE_URL

        config = tenant.config.crm_config.hubspot
        if config is None:
            raise _not_configured("hubspot")
        return HubSpotGateway(
            json_client(self._local_hubspot_url or BASE_URL),
            secrets=self._secrets,
            token_secret=config.token_secret,
            clock=self._clock,
        )

    def _salesforce(self, tenant: Tenant) -> CrmConnection:
        from shared.gateways.salesforce import SalesforceGateway

        config = tenant.config.crm_config.salesforce
        if config is None:
            raise _not_configured("salesforce")
        return SalesforceGateway(
            config, self._secrets, clock=self._clock, login_url_override=self._local_salesforce_url
        )


def _not_configured(provider: Provider) -> TenantBlocked:
    return TenantBlocked(
        "crm_not_configured",
        f"the tenant has no {provider} integration",
        fix=f"add crm_config.{provider} to the tenant's configuration",
    )
