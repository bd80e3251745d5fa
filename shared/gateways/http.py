"""One HTTP client for the vendors' JSON interfaces: explicit time-outs, transport errors as ours."""

from __future__ import annotations

import email.utils
import ssl
from datetime import UTC, datetime
from functools import cache
from typing import Any

import httpx

from shared.errors import TransientFailure

TIMEOUT = httpx.Timeout(20.0, connect=5.0)
LONGEST_HINT_S = 86_400.0
"""A vendor that asks for more is asked again after a day: its own error table knows longer pauses by their codes."""
LIMITS = httpx.Limits(max_connections=20, max_keepalive_connections=10, keepalive_expiry=30)


@cache
def tls_context() -> ssl.SSLContext:
    """One for the process: reading the certificates takes 30 ms, and there is a client for each tenant's CRM."""
    return httpx.create_ssl_context(trust_env=False)


def json_client(base_url: str, *, headers: dict[str, str] | None = None) -> httpx.Client:
    """A keep-alive client for one vendor. It follows no redirects: no vendor of ours redirects API calls."""
    return httpx.Client(
        base_url=base_url,
        headers={"Accept": "application/json", "User-Agent": "call-ingestion-pipeline", **(headers or {})},
        timeout=TIMEOUT,
        limits=LIMITS,
        follow_redirects=False,
        trust_env=False,
        verify=tls_context(),
    )


def send(client: httpx.Client, method: str, url: str, *, vendor: str, **options: Any) -> httpx.Response:
    """Send once. Raises `TransientFailure` when no answer came; the status is the caller's to judge.

    The error text names the vendor and the method only: URLs can hold ids and phone numbers.
    """
    try:
        return client.request(method, url, **options)
    except httpx.TransportError as error:
        kind = "timeout" if isinstance(error, httpx.TimeoutException) else "unreachable"
        raise TransientFailure(f"{vendor}_{kind}", f"{vendor} gave no answer to a {method}") from error


def json_body(response: httpx.Response) -> Any:
    """The decoded body, or None when it cannot be read as JSON (an error page of a proxy, an empty 204)."""
    try:
        return response.json()
    except (ValueError, RecursionError):
        return None


def retry_after_s(response: httpx.Response, *, now: datetime | None = None) -> float | None:
    """The `Retry-After` header in seconds, at most a day, from either of its two forms; None when unreadable."""
    value = response.headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value), LONGEST_HINT_S)
    try:
        when = email.utils.parsedate_to_datetime(value)
        # "-0000" says that the zone is not known, and is read without one.
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        wait_s = (when - (now or datetime.now(UTC))).total_seconds()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return min(max(0.0, wait_s), LONGEST_HINT_S)
