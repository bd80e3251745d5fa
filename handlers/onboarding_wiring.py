"""The part of `handlers/wiring.py` for customers who come and leave, used by the command line only."""

from __future__ import annotations

import secrets as randomness
import time
from functools import partial
from typing import TYPE_CHECKING

from handlers import wiring
from handlers.backfill_wiring import callrail_budgets
from shared.ports import Secrets
from shared.settings import Settings

if TYPE_CHECKING:
    from shared.gateways.callrail_account import CallRailAccount
    from shared.gateways.crm_registry import CrmRegistry
    from shared.onboarding_run import Parts
    from shared.tenant_export import TenantExport

_RECEIVER_TIMEOUT_S = 30.0


def onboarding_parts(settings: Settings, *, receiver_url: str) -> Parts:
    """Real parts; `receiver_url` is the receiver's base address as CallRail sees it."""
    from handlers.cli.onboarding_doorbell import ReceiverDoorbell
    from shared.gateways.http import json_client
    from shared.onboarding_run import Parts

    store = wiring.tenant_store(settings)
    client = json_client("")
    client.timeout = _RECEIVER_TIMEOUT_S
    doorbell = ReceiverDoorbell(
        receiver_url, client, wiring.calls(settings), store, wiring.now, new_id=partial(randomness.token_hex, 14)
    )
    return Parts(
        tenants=store,
        secrets=wiring.secrets(settings),
        accounts=partial(_accounts, settings),
        crms=partial(_crms, settings),
        doorbell=doorbell,
        new_token=partial(randomness.token_urlsafe, 24),
        sleep=time.sleep,
        monotonic=time.monotonic,
    )


def _accounts(settings: Settings, secrets: Secrets) -> CallRailAccount:
    from shared.gateways.callrail_account import CallRailAccount

    return CallRailAccount(secrets, callrail_budgets(), now=wiring.now, local_base_url=settings.stand_ins.callrail_url)


def _crms(settings: Settings, secrets: Secrets) -> CrmRegistry:
    from shared.gateways.crm_registry import CrmRegistry

    return CrmRegistry(
        secrets,
        clock=wiring.now,
        local_hubspot_url=settings.stand_ins.hubspot_url,
        local_salesforce_url=settings.stand_ins.salesforce_url,
    )


def tenant_export(settings: Settings) -> TenantExport:
    """Reads everything about a tenant, opened."""
    from shared.gateways.export_store import SpannerExport
    from shared.tenant_export import TenantExport

    store = SpannerExport(wiring.database(settings), wiring.vault(settings))
    return TenantExport(store, wiring.objects(settings), wiring.tenant_store(settings), wiring.now)
