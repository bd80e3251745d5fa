"""Which links may be followed to a recording, and which network addresses may be connected to.

A recording link comes from a webhook, so following it is a door into our network (server-side request forgery).
The door's rules: https only, hosts from a list, every redirect judged again, public addresses only.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

import httpx

from shared.errors import PermanentFailure

API_HOST = "api.callrail.com"
CALLRAIL_HOSTS = frozenset(
    {
        API_HOST,
        "app.callrail.com",
        "calltrk-production.s3.amazonaws.com",
        "calltrk-production.s3.us-east-1.amazonaws.com",
    }
)
"""Where CallRail keeps recordings (reference: callrail.md §5)."""

_HTTPS_PORTS = frozenset({None, 443})
_HOST_NAME = re.compile(r"^[a-z0-9.-]{1,253}$|^[0-9a-f:]{2,39}$")
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")


@dataclass(frozen=True)
class Hop:
    """One request on the way to the audio: the link as CallRail means it, and where it is really sent."""

    link: httpx.URL
    address: httpx.URL
    """The same as `link`, except locally, where the stand-in plays all of CallRail's hosts."""

    @property
    def is_callrail_api(self) -> bool:
        return self.link.host == API_HOST


@dataclass(frozen=True)
class LinkRules:
    """The rules for one tenant. `local_base_url` is the CallRail stand-in's http address, empty in production."""

    allowed_hosts: frozenset[str]
    local_base_url: str = ""

    def hop(self, link: str, *, base: httpx.URL | None = None) -> Hop:
        """Judge a link (relative ones against `base`). Raises `PermanentFailure`, which never shows the link."""
        url = _parsed(link, base)
        if self._is_local(url):
            return Hop(link=url, address=url)
        if url.scheme == "http" and url.port is None:
            url = url.copy_with(scheme="https")  # CallRail's own documentation shows http links
        if url.scheme != "https" or url.port not in _HTTPS_PORTS or url.userinfo:
            raise PermanentFailure("recording_link_forbidden", "only plain https links are followed")
        if url.host not in self.allowed_hosts:
            raise PermanentFailure(
                "recording_host_forbidden",
                f"the recording lies on {url.host}, which is not an allowed host",
                fix="if the host is the tenant's, add it to recordings.allowed_hosts",
            )
        return Hop(link=url, address=self._address_of(url))

    def _is_local(self, url: httpx.URL) -> bool:
        return bool(self.local_base_url) and _origin(url) == _origin(httpx.URL(self.local_base_url))

    def _address_of(self, url: httpx.URL) -> httpx.URL:
        if not self.local_base_url or url.host not in CALLRAIL_HOSTS:
            return url
        local = httpx.URL(self.local_base_url)
        return url.copy_with(scheme=local.scheme, host=local.host, port=local.port)


def is_public(address: str) -> bool:
    """Whether a resolved address lies in the public internet.

    Refuses private, loopback, link-local (the metadata server), shared, multicast and reserved ranges, and the IPv6
    forms that carry an IPv4 address inside (mapped, compatible, NAT64, Teredo; 6to4 unless what it carries is public).
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if not ip.is_global or ip.is_multicast or ip.is_reserved:
        return False
    if isinstance(ip, ipaddress.IPv4Address):
        return True
    carried = ip.sixtofour
    return ip in _GLOBAL_UNICAST and (carried is None or is_public(str(carried)))


def _parsed(link: str, base: httpx.URL | None) -> httpx.URL:
    unreadable = PermanentFailure("recording_link_unreadable", "the recording link is not a URL")
    try:
        url = base.join(link) if base is not None else httpx.URL(link)
    except (httpx.InvalidURL, ValueError, TypeError):
        raise unreadable from None  # the parser's message quotes the link
    # Hosts are named in errors, so what is no host name (a broken link has its key there) is not taken for one.
    if not _HOST_NAME.match(url.host):
        raise unreadable
    return url


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return (url.scheme, url.host, url.port)
