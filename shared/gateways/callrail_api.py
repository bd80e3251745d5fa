"""CallRail's API v3, as far as a backfill needs it: the calls of a company in a window (callrail.md §4.4, §4.5)."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx

from schemas.webhooks import Payload
from shared.backfill import ApiAccess
from shared.errors import Deferred, PermanentFailure, PipelineError, TenantBlocked, TransientFailure
from shared.gateways.callrail_budget import RequestBudgets
from shared.gateways.http import json_body, json_client, retry_after_s, send
from shared.gateways.recordings_links import API_HOST
from shared.gateways.retry import with_short_retries
from shared.ports import Clock, Secrets

VENDOR = "callrail"
PAGE_SIZE = 250
"""The most CallRail gives."""
THROTTLED_S = 300.0
"""429 comes without Retry-After, and the limit is by the hour: wait minutes, not seconds (callrail.md §4.5)."""
RETRY_BUDGET_S = 20.0

CALL_FIELDS = (
    *("company_id", "company_name", "person_id", "tracker_id", "call_type", "lead_status", "tags", "note", "value"),
    *("source", "source_name", "medium", "campaign", "keywords", "gclid", "landing_page_url", "referring_url"),
    *("utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content"),
    *("first_call", "prior_calls", "total_calls"),
)
"""Asked for beside CallRail's default fields. One name that CallRail does not know fails the whole request."""

_LIST_PATH = re.compile(r"^/v3/a/[^/]+/calls\.json$")
_DATE_FORM = "%Y-%m-%dT%H:%M:%S"
"""CallRail refused milliseconds and zone suffixes (observed, callrail.md §4.4)."""


class CallRailApi:
    """Implements `shared.backfill_run.CallLister`. Thread-safe; the API key goes to CallRail's API host only.

    | CallRail | ours | why |
    | --- | --- | --- |
    | no answer, 408, 500, 502, 503, 504 | TransientFailure, after short retries | maintenance, overload |
    | 429 | Deferred, and the account's budget is closed | the hour's limit of the whole account |
    | our own budget is used up | Deferred, unless the wait fits `patience_s` | stay below the limit |
    | 401 | TenantBlocked, after the secret was read again | the key was revoked or replaced |
    | 403 | TenantBlocked | the key's user may not see this company |
    | 404 | TenantBlocked | no such account for this key |
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

    def pages(
        self, access: ApiAccess, *, company_id: str, since: datetime, until: datetime
    ) -> Iterator[tuple[Payload, ...]]:
        """The calls that began from `since` to `until`, page by page; each page costs one request.

        Relative paging: `next_page` is followed as it came. Raises as the class says.
        """
        query = {
            "company_id": company_id,
            # Without dates, CallRail lists the last seven days only.
            "start_date": since.astimezone(UTC).strftime(_DATE_FORM),
            "end_date": until.astimezone(UTC).strftime(_DATE_FORM),
            "time_zone": "UTC",
            "fields": ",".join(CALL_FIELDS),
            "per_page": str(PAGE_SIZE),
            "relative_pagination": "true",
        }
        link: httpx.URL | None = _list_url(access).copy_merge_params(query)
        followed: set[httpx.URL] = set()
        while link is not None:
            if link in followed:
                raise _unreadable("its pages lead in a circle")
            followed.add(link)
            body = self._document(access, link)
            yield _calls_of(body)
            link = _next_link(body)

    def _document(self, access: ApiAccess, link: httpx.URL) -> Mapping[str, Any]:
        return with_short_retries(lambda: self._asked(access, link), budget_s=self._retry_budget_s, attempts=3)

    def _asked(self, access: ApiAccess, link: httpx.URL) -> Mapping[str, Any]:
        key = self._secrets.read(access.key_secret)
        response = self._sent(access, link, key)
        if response.status_code == 401:
            # A person may just have replaced it.
            fresh = self._secrets.reread(access.key_secret)
            response = response if fresh == key else self._sent(access, link, fresh)
        if response.status_code != 200:
            raise self._failure(access, response)
        body = json_body(response)
        if not isinstance(body, dict):
            raise _unreadable("it is not a JSON object")
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

    def _failure(self, access: ApiAccess, response: httpx.Response) -> PipelineError:
        """One row of the error table. The body has no published schema and is not looked at."""
        status = response.status_code
        what = f"asked CallRail for the list of calls, got status {status}"
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


def _list_url(access: ApiAccess) -> httpx.URL:
    return httpx.URL(f"https://{API_HOST}/v3/a/{quote(access.account_id, safe='')}/calls.json")


def _calls_of(body: Mapping[str, Any]) -> tuple[Payload, ...]:
    calls = body.get("calls")
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        raise _unreadable("it has no list of calls")
    return tuple(calls)


def _next_link(body: Mapping[str, Any]) -> httpx.URL | None:
    """The next page as CallRail gave it, or None at the end. The API key goes along, so the address is judged."""
    if body.get("has_next_page") is False:
        return None
    link = body.get("next_page")
    if body.get("has_next_page") is not True or not isinstance(link, str):
        raise _unreadable("it does not say where the next page is")
    try:
        url = httpx.URL(link)
    except httpx.InvalidURL:
        raise _unreadable("its next page is not a URL") from None
    if url.scheme == "http":
        url = url.copy_with(scheme="https")  # CallRail's own samples show http links
    address = (url.scheme, url.host, url.port, url.userinfo)
    if address != ("https", API_HOST, None, b"") or not _LIST_PATH.match(url.path):
        raise PermanentFailure("callrail_next_page_forbidden", "CallRail's next page lies outside its list of calls")
    return url


def _throttled(detail: str, now: datetime, wait_s: float) -> Deferred:
    until = now + timedelta(seconds=wait_s)
    return Deferred("callrail_budget", detail, until=until, fix=f"go on after {until:%H:%M} UTC")


def _unreadable(why: str) -> TransientFailure:
    return TransientFailure("callrail_unreadable", f"CallRail's list of calls could not be understood: {why}")
