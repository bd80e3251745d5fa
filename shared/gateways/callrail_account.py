"""What CallRail's API says of a tenant's companies and their webhooks: asked while a customer comes in (§4.1, §4.7).

Only reads. One *Webhooks* integration exists per company and everybody who wants webhooks shares it, so a person enters
our addresses beside the others'; nothing here could drop somebody else's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx

from shared.backfill import ApiAccess
from shared.gateways.callrail_http import CallRailHttp, unreadable
from shared.gateways.recordings_links import API_HOST
from shared.onboarding import Company, WebhooksIntegration

_TYPE = "Webhooks"


class CallRailAccount(CallRailHttp):
    """Implements `shared.onboarding.CallRailAccounts`. Errors are `CallRailHttp`'s."""

    def company(self, access: ApiAccess, company_id: str) -> Company:
        """One company. Raises `TenantBlocked` when the key does not see it."""
        what = f"company {company_id}"
        body = self.document(access, _url(access, f"companies/{quote(company_id, safe='')}.json"), what=what)
        if not isinstance(body.get("id"), str):
            raise unreadable(what, "it has no id")
        return Company(body["id"], name=str(body.get("name") or ""), is_active=body.get("status") == "active")

    def webhooks(self, access: ApiAccess, company_id: str) -> WebhooksIntegration | None:
        """The company's integration of type *Webhooks* with its signing key; None while nobody has made it.

        Raises `TenantBlocked` (403) when the key's user is no administrator.
        """
        what = f"the integrations of company {company_id}"
        query = {"company_id": company_id, "per_page": "250"}
        body = self.document(access, _url(access, "integrations.json").copy_merge_params(query), what=what)
        listed = body.get("integrations")
        if not isinstance(listed, list):
            raise unreadable(what, "it has no list of integrations")
        found = [item for item in listed if isinstance(item, dict) and item.get("type") == _TYPE]
        return self._integration(access, found[0], what) if found else None

    def _integration(self, access: ApiAccess, item: Mapping[str, Any], what: str) -> WebhooksIntegration:
        """The list does not carry the signing key; it is given only when it is asked for by name."""
        path = f"integrations/{quote(str(item.get('id')), safe='')}.json"
        body = self.document(access, _url(access, path).copy_merge_params({"fields": "signing_key"}), what=what)
        config = item.get("config")
        urls = {name: _texts(value) for name, value in config.items()} if isinstance(config, dict) else {}
        key = body.get("signing_key")
        return WebhooksIntegration(
            state=str(item.get("state") or ""), urls=urls, signing_key=key if isinstance(key, str) else ""
        )


def _url(access: ApiAccess, path: str) -> httpx.URL:
    return httpx.URL(f"https://{API_HOST}/v3/a/{quote(access.account_id, safe='')}/{path}")


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(text for text in value if isinstance(text, str)) if isinstance(value, list) else ()
