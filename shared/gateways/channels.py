"""gRPC clients of Google's APIs: how they connect, and the plain-text channels to stand-ins on this machine."""

from __future__ import annotations

from functools import partial
from typing import Any

import grpc

from shared.errors import ConfigurationError

RECONNECT_WITHIN_MS = 2_000
"""gRPC itself waits longer after each connection that was refused, up to two minutes: a neighbour that has long been
back would still look unreachable. An attempt to connect every two seconds costs neither side anything."""
_OPTIONS = (("grpc.max_reconnect_backoff_ms", RECONNECT_WITHIN_MS),)


def google_client(client: Any, transport: Any, *, local_address: str, api_endpoint: str = "") -> Any:
    """`client` (a GAPIC client's class) over `transport` (its gRPC transport's class).

    With `local_address` it is a stand-in's, see `loopback_channel`; otherwise Google's, at `api_endpoint` or where the
    library knows it to be. Raises `google.auth.exceptions.GoogleAuthError` without credentials.
    """
    if local_address:
        return client(transport=transport(channel=loopback_channel(local_address)))

    def connect(host: str, *, options: Any = (), **arguments: Any) -> grpc.Channel:
        channel: grpc.Channel = transport.create_channel(host, options=[*options, *_OPTIONS], **arguments)
        return channel

    return client(
        transport=partial(transport, channel=connect),
        client_options={"api_endpoint": api_endpoint} if api_endpoint else None,
    )


def loopback_channel(address: str) -> grpc.Channel:
    """An insecure channel to `host:port`. Raises `ConfigurationError` for anything but this machine."""
    host, _, port = address.rpartition(":")
    if host not in {"127.0.0.1", "localhost"} or not port.isdigit():
        raise ConfigurationError("bad_local_endpoint", f"{address!r} is not host:port on loopback")
    return grpc.insecure_channel(address, options=_OPTIONS)
