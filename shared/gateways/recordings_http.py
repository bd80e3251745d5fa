"""GET for links we did not choose: guarded addresses, redirects by hand, one time limit over everything.

Built on httpcore, because httpx follows no address rules, decompresses on its own and logs whole URLs, and a
recording's URL is the permission to listen.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import httpcore
import httpx

from shared.errors import PermanentFailure, TransientFailure
from shared.gateways.recordings_links import Hop, LinkRules, is_public

MAX_REDIRECTS = 5
CONNECT_TIMEOUT_S = 5.0
_REDIRECTS = frozenset({301, 302, 303, 307, 308})

Resolver = Callable[[str], list[str]]


def resolve(host: str) -> list[str]:
    """All addresses of a host, in the system's order of preference. Raises `OSError`."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@dataclass(frozen=True)
class Deadline:
    """The moment at which everything stops, however busy the other side keeps us."""

    ends_at: float
    clock: Callable[[], float] = time.monotonic

    def bound(self, timeout_s: float | None) -> float:
        """The time-out cut to what is left. Raises `httpcore.ReadTimeout` when nothing is."""
        left = self.ends_at - self.clock()
        if left <= 0:
            raise httpcore.ReadTimeout("the time for the whole download is over")
        return left if timeout_s is None else min(timeout_s, left)


class BoundedStream(httpcore.NetworkStream):
    """A connection whose every read and write ends at the deadline: dripping single bytes does not help."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, timeout=self._deadline.bound(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, timeout=self._deadline.bound(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        secure = self._stream.start_tls(ssl_context, server_hostname, self._deadline.bound(timeout))
        return BoundedStream(secure, self._deadline)

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)


class GuardedNetwork(httpcore.NetworkBackend):
    """Resolves a host once, refuses it when any address is not public, and connects to exactly what it checked.

    The name is not resolved a second time, so an answer that changes in between gains nothing; TLS still verifies
    the certificate against the name. `local_origin` is the one host and port exempt from the check.
    """

    def __init__(
        self,
        deadline: Deadline,
        *,
        resolver: Resolver = resolve,
        is_permitted: Callable[[str], bool] = is_public,
        local_origin: tuple[str, int] | None = None,
    ) -> None:
        self._deadline = deadline
        self._resolver = resolver
        self._is_permitted = is_permitted
        self._local_origin = local_origin
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in self._checked_addresses(host, port):
            try:
                stream = self._sockets.connect_tcp(
                    address, port, self._deadline.bound(timeout), local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
                continue
            return BoundedStream(stream, self._deadline)
        raise failure

    def _checked_addresses(self, host: str, port: int) -> list[str]:
        try:
            addresses = self._resolver(host)
        except OSError as error:
            raise httpcore.ConnectError(f"{host} does not resolve") from error
        if (host, port) != self._local_origin and not all(self._is_permitted(address) for address in addresses):
            raise PermanentFailure("recording_address_forbidden", f"{host[:100]} resolves to a non-public address")
        return addresses


@dataclass(frozen=True)
class Answer:
    """The last answer of a chain of redirects; `chunks` yields the body as it arrives, undecoded."""

    status: int
    headers: httpx.Headers
    chunks: Iterator[bytes]

    @property
    def content_type(self) -> str:
        return str(self.headers.get("Content-Type", "")).partition(";")[0].strip().lower()


class GuardedHttp:
    """Opens GET requests under one tenant's rules and one deadline."""

    def __init__(
        self,
        rules: LinkRules,
        deadline: Deadline,
        *,
        ssl_context: ssl.SSLContext,
        read_timeout_s: float,
        resolver: Resolver = resolve,
    ) -> None:
        self._rules = rules
        self._deadline = deadline
        self._ssl_context = ssl_context
        self._read_timeout_s = read_timeout_s
        self._resolver = resolver

    @contextmanager
    def get(self, link: str, *, api_headers: Mapping[str, str] | None = None) -> Iterator[Answer]:
        """Follow redirects, each judged like the first link; `api_headers` go to CallRail's API host only.

        Raises `PermanentFailure` (forbidden link, too many redirects) and `TransientFailure`, also while the body
        is read.
        """
        with _translated(), self._pool() as pool:
            hop = self._rules.hop(link)
            for _ in range(MAX_REDIRECTS + 1):
                with pool.stream(
                    "GET",
                    _wire_url(hop.address),
                    headers=_headers(hop, api_headers or {}),
                    extensions={"timeout": self._timeouts()},
                ) as response:
                    headers = httpx.Headers(response.headers)
                    if response.status not in _REDIRECTS or "Location" not in headers:
                        yield Answer(response.status, headers, _body(response))
                        return
                hop = self._rules.hop(headers["Location"], base=hop.link)
        raise PermanentFailure("recording_too_many_redirects", f"more than {MAX_REDIRECTS} redirects")

    def _pool(self) -> httpcore.ConnectionPool:
        local = httpx.URL(self._rules.local_base_url) if self._rules.local_base_url else None
        network = GuardedNetwork(
            self._deadline,
            resolver=self._resolver,
            local_origin=(local.host, local.port or 80) if local else None,
        )
        return httpcore.ConnectionPool(ssl_context=self._ssl_context, network_backend=network)

    def _timeouts(self) -> dict[str, float]:
        read = self._read_timeout_s
        return {"connect": CONNECT_TIMEOUT_S, "read": read, "write": read, "pool": read}


def _headers(hop: Hop, api_headers: Mapping[str, str]) -> list[tuple[str, str]]:
    # Compression would let a small body grow past every limit, and audio does not shrink.
    plain = {"User-Agent": "call-ingestion-pipeline", "Accept": "*/*", "Accept-Encoding": "identity"}
    return list({**plain, **(api_headers if hop.is_callrail_api else {})}.items())


def _wire_url(url: httpx.URL) -> httpcore.URL:
    return httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)


def _body(response: httpcore.Response) -> Iterator[bytes]:
    # A generator of its own, so that errors are translated where the body is read: in the consumer's frame.
    with _translated():
        yield from response.iter_stream()


@contextmanager
def _translated() -> Iterator[None]:
    """Transport errors as ours. Protocol errors are not chained: their text quotes header lines, links included."""
    try:
        yield
    except httpcore.TimeoutException as error:
        raise TransientFailure("recording_timeout", f"the recording's host was too slow: {error}") from error
    except httpcore.NetworkError as error:
        raise TransientFailure("recording_unreachable", f"lost the recording's host: {error}") from error
    except (httpcore.ProtocolError, httpcore.UnsupportedProtocol) as error:
        raise TransientFailure("recording_interrupted", type(error).__name__) from None
