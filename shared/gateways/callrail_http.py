"""One question to CallRail's API v3: key, budget, short retries, errors as ours (callrail.md §4.1, §4.5).

The lists of calls (callrail_api.py) and the checks of an account (callrail_account.py) ask through it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import httpx

from shared.backfill import ApiAccess
from shared.errors import Deferred, PermanentFailure, PipelineError, TenantBlocked, TransientFailure
from shared.gateways.callrail_budget import RequestBudgets
from shared.gateways.http import json_body, json_client, retry_after_s, send
from shared.gateways.retry import with_short_retries
from shared.ports import Clock, Secrets

VENDOR = "callrail"
THROTTLED_S = 300.0
"""429 comes without Retry-After, and the limit is by the hour: wait minutes, not seconds (callrail.md §4.5)."""
RETRY_BUDGET_S = 20.0


class CallRailHttp:
    """Thread-safe; the API key goes to CallRail's API host only.

    | CallRail | ours | why |
    | --- | --- | --- |
    | no answer, 408, 500, 502, 503, 504 | TransientFailure, after short retries | maintenance, overload |
    | 429 | Deferred, and the account's budget is closed | the hour's limit of the whole account |
    | our own budget is used up | Deferred, unless the wait fits `patience_s` | stay below the limit |
    | 401 | TenantBlocked, after the secret was read again | the key was revoked or replaced |
    | 403 | TenantBlocked | the key's user may not see this |
    | 404 | TenantBlocked | no such account or company for this key |
    | 400, 405, 406, 422 and others | PermanentFailure | our request is wrong |
    | 200 without the documented shape | TransientFailure | a proxy's page; ending the list there would lose calls |
    """

    def __init__(
        self,
        secrets: Secrets,
        budgets: RequestBudgets,
        *,
        now: Clock,
        patience_s: float = 0.0,
        local_base_url: str = "",
        retry_budget_s: float = RETRY_BUDGET_S,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`local_base_url` asks the stand-in instead of CallRail."""
        self._secrets = secrets
        self._budgets = budgets
        self._now = now
        self._patience_s = patience_s
        self._local = httpx.URL(local_base_url) if local_base_url else None
        self._retry_budget_s = retry_budget_s
        self._sleep = sleep
        self._client = json_client("", headers={"Request-From": "call-ingestion-pipeline"})

    def close(self) -> None:
        self._client.close()

    def document(self, access: ApiAccess, link: httpx.URL, *, what: str) -> Mapping[str, Any]:
        """The JSON object at `link`, which must be CallRail's own. `what` names it in errors. Raises as above."""
        return with_short_retries(lambda: self._asked(access, link, what), budget_s=self._retry_budget_s, attempts=3)

    def _asked(self, access: ApiAccess, link: httpx.URL, what: str) -> Mapping[str, Any]:
        key = self._secrets.read(access.key_secret)
        response = self._sent(access, link, key)
        if response.status_code == 401:
            # A person may just have replaced it.
            fresh = self._secrets.reread(access.key_secret)
            response = response if fresh == key else self._sent(access, link, fresh)
        if response.status_code != 200:
            raise self._failure(access, response, what)
        body = json_body(response)
        if not isinstance(body, dict):
            raise unreadable(what, "it is not a JSON object")
        return body

    def _sent(self, access: ApiAccess, link: httpx.URL, key: str) -> httpx.Response:
        self._spend(access.account_id)
        headers = {"Authorization": f'Token token="{key}"'}
        return send(self._client, "GET", str(self._address(link)), vendor=VENDOR, headers=headers)

    def _spend(self, account_id: str) -> None:
        while (wait_s := self._budgets.take(account_id)) > 0:
            if wait_s > self._patience_s:
                raise _throttled("our own hourly budget for this CallRail account is used up", self._now(), wait_s)
            self._sleep(wait_s)

    def _address(self, link: httpx.URL) -> httpx.URL:
        if self._local is None:
            return link
        return link.copy_with(scheme=self._local.scheme, host=self._local.host, port=self._local.port)

    def _failure(self, access: ApiAccess, response: httpx.Response, asked_for: str) -> PipelineError:
        """One row of the error table. The body has no published schema and is not looked at."""
        status = response.status_code
        what = f"asked CallRail for {asked_for}, got status {status}"
        hint = retry_after_s(response, now=self._now())
        if status == 429:
            wait_s = max(hint or 0.0, THROTTLED_S)
            self._budgets.close(access.account_id, for_s=wait_s)
            return _throttled("CallRail's hourly limit for this account is reached", self._now(), wait_s)
        if status == 408 or status >= 500:
            return TransientFailure("callrail_unavailable", what, retry_after_s=hint)
        secret = access.key_secret
        if status == 401:
            return TenantBlocked("callrail_key_refused", what, fix=f"put a valid API key into secret {secret}")
        if status == 403:
            fix = f"give the user of the API key in secret {secret} access to the tenant's companies"
            return TenantBlocked("callrail_forbidden", what, fix=fix)
        if status == 404:
            fix = f"check callrail_account_id and callrail_company_ids: the key in secret {secret} does not know them"
            return TenantBlocked("callrail_not_found", what, fix=fix)
        return PermanentFailure("callrail_refused", what)


def _throttled(detail: str, now: datetime, wait_s: float) -> Deferred:
    until = now + timedelta(seconds=wait_s)
    return Deferred("callrail_budget", detail, until=until, fix=f"go on after {until:%H:%M} UTC")


def unreadable(what: str, why: str) -> TransientFailure:
    """A success without the documented shape: a proxy's page, a half answer. Asking again is safe."""
    return TransientFailure("callrail_unreadable", f"CallRail's answer on {what} could not be understood: {why}")
