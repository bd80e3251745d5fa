"""CallRail's API v3, as far as a backfill needs it: the calls of a company in a window (callrail.md §4.4, §4.5)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx

from schemas.webhooks import Payload
from shared.backfill import ApiAccess
from shared.errors import PermanentFailure, TransientFailure
from shared.gateways.callrail_http import CallRailHttp, unreadable
from shared.gateways.recordings_links import API_HOST

LIST = "the list of calls"
PAGE_SIZE = 250
"""The most CallRail gives."""

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


class CallRailApi(CallRailHttp):
    """Implements `shared.backfill_run.CallLister`. Errors are `CallRailHttp`'s."""

    def pages(
        self, access: ApiAccess, *, company_id: str, since: datetime, until: datetime
    ) -> Iterator[tuple[Payload, ...]]:
        """The calls that began from `since` to `until`, page by page; each page costs one request.

        Relative paging: `next_page` is followed as it came. Raises as `CallRailHttp` says.
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
            body = self.document(access, link, what=LIST)
            yield _calls_of(body)
            link = _next_link(body)


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


def _unreadable(why: str) -> TransientFailure:
    return unreadable(LIST, why)
