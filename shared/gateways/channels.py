"""gRPC channels to stand-ins: plain text, loopback only, used solely when the environment is `local`."""

from __future__ import annotations

import grpc

from shared.errors import ConfigurationError


def loopback_channel(address: str) -> grpc.Channel:
    """An insecure channel to `host:port`. Raises `ConfigurationError` for anything but this machine."""
    host, _, port = address.rpartition(":")
    if host not in {"127.0.0.1", "localhost"} or not port.isdigit():
        raise ConfigurationError("bad_local_endpoint", f"{address!r} is not host:port on loopback")
    return grpc.insecure_channel(address)
