"""Rings at the receiver as CallRail would, with a webhook that no CRM ever hears of (decision 0015).

The body names a test and nobody's call, at the address for "any other trigger": the receiver checks address, tenant and
signature and publishes it as always, the first worker records it as not processed, and there its way ends.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from handlers.signature import callrail_signature, forwarder_signature
from schemas.tenant import Tenant
from shared.gateways.calls import SpannerCalls
from shared.gateways.http import json_body, send
from shared.gateways.tenant_store import TenantStore
from shared.onboarding import Rung
from shared.ports import Clock

PATH = "/v1/callrail/webhook"
EVENT = "other"
_FINAL = frozenset({"done", "failed", "blocked", "not_processed"})


@dataclass(frozen=True)
class ReceiverDoorbell:
    """Implements `shared.onboarding.Doorbell`. `base_url` is the receiver's address as CallRail will see it."""

    base_url: str
    client: httpx.Client
    calls: SpannerCalls
    store: TenantStore
    now: Clock
    new_id: Callable[[], str]

    def address(self, tenant: Tenant, event: str) -> str:
        """A tenant without a token has the shared address only, which tells the event from the body."""
        shared = f"{self.base_url.rstrip('/')}{PATH}"
        return f"{shared}/{tenant.config.webhook_token}/{event}" if tenant.config.webhook_token else shared

    def ring(self, tenant: Tenant, key: str) -> Rung:
        subject = f"TEST{self.new_id()}"
        company = tenant.config.callrail_company_ids[0]
        body = json.dumps({"id": subject, "company_resource_id": company, "onboarding_test": True}).encode()
        headers = {"Content-Type": "application/json", **self._signature(tenant, key, body)}
        url = self.address(tenant, EVENT)
        answer = send(self.client, "POST", url, vendor="webhook", content=body, headers=headers)
        document = json_body(answer)
        said = document if isinstance(document, dict) else {}
        return Rung(
            answer.status_code, subject, request_id=str(said.get("request_id", "")), error=str(said.get("error", ""))
        )

    def _signature(self, tenant: Tenant, key: str, body: bytes) -> dict[str, str]:
        if tenant.config.signature_scheme == "callrail":
            return {"Signature": callrail_signature(key, body)}
        timestamp = str(int(self.now().timestamp()))
        return {"x-timestamp": timestamp, "x-callrail-signature": forwarder_signature(key, timestamp, body)}

    def ended(self, tenant_id: str, rung: Rung) -> bool:
        lines = self.calls.story(tenant_id, rung.subject)
        return any(line.request_id == rung.request_id and line.request_state in _FINAL for line in lines)

    def forget(self, tenant_id: str, rung: Rung, *, actor: str) -> None:
        self.store.forget_test(tenant_id, rung.request_id, actor=actor)
