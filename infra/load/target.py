"""Whom a load test may hit: this machine, or a host that its owner has named twice."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from shared.errors import ConfigurationError

MOST_PER_S = 1_000
"""One sending process is no honest source above this; Cloud Armor would stop it before."""
MOST_REQUESTS = 100_000


def check_target(url: str, *, owned_host: str) -> None:
    """Raises `ConfigurationError` for an address that nobody said is theirs, and for what is no address."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme not in {"http", "https"} or not host:
        raise ConfigurationError("bad_target", f"{url!r} is no http address", fix="--url http://127.0.0.1:PORT")
    if _is_loopback(host):
        return
    if owned_host != host:
        raise ConfigurationError(
            "target_not_owned",
            f"{host} is not this machine: a load test there costs its owner money and fills a CRM",
            fix=f"--i-own-this {host}",
        )
    if parts.scheme != "https":
        raise ConfigurationError("target_not_encrypted", "a signed webhook travels by https only", fix="use https://")


def check_size(*, rate: float, duration_s: float) -> int:
    """How many requests that makes. Raises `ConfigurationError` beyond the bounds."""
    count = round(rate * duration_s)
    if rate > MOST_PER_S or not 1 <= count <= MOST_REQUESTS:
        raise ConfigurationError(
            "load_out_of_bounds",
            f"{rate:g} requests a second for {duration_s:g} s are {count} requests",
            fix=f"at most {MOST_PER_S} a second and {MOST_REQUESTS:,} in all",
        )
    return count


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
