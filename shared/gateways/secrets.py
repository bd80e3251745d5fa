"""Secrets from Secret Manager: cached for minutes, checked by checksum, values never shown.

During an outage of Secret Manager a value that was read before keeps serving for at most `MAX_STALE_S`: a signing key
or token that worked minutes ago almost always still works, and refusing every webhook would lose more than it guards.
A clear answer (gone, forbidden, disabled) ends the cached value at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any

import structlog
from cachetools import TTLCache

from shared.errors import ConfigurationError, TenantBlocked, TransientFailure
from shared.gateways.channels import google_client
from shared.gateways.retry import with_short_retries
from shared.gateways.secrets_errors import refusal_of

MAX_STALE_S = 3600.0
"""How old a value may get while Secret Manager cannot be asked."""
STALE_PAUSE_S = 10.0
"""While one caller asks for a fresh value, and after that failed, the old one serves this long without asking."""
REREAD_INTERVAL_S = 5.0
"""At most one reread of a name in this time: a wrong token on a busy tenant must not hammer Secret Manager."""
REFUSAL_TTL_S = 5.0
"""A refusal is remembered this long only, so that a mended secret works within seconds."""
MAX_ENTRIES = 4096
MAX_PAYLOAD_BYTES = 65_536
TIMEOUT_S = 3.0
BUDGET_S = 8.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class _Entry:
    value: str = field(repr=False)
    fetched_at: float
    ask_again_at: float


class SecretManagerSecrets:
    """`Secrets` of one project. Thread-safe; the client is imported and made at the first use."""

    def __init__(
        self,
        *,
        project: str,
        ttl_s: float = 300.0,
        local_address: str = "",
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`local_address` (host:port on loopback) asks the stand-in instead of Google."""
        self._project = project
        self._ttl_s = ttl_s
        self._local_address = local_address
        self._monotonic = monotonic
        self._lock = Lock()
        self._made: Any = None
        self._serves_s = max(ttl_s, MAX_STALE_S)
        self._known: TTLCache[str, _Entry] = TTLCache(MAX_ENTRIES, ttl=self._serves_s, timer=monotonic)
        self._refused: TTLCache[str, tuple[str, str, str]] = TTLCache(MAX_ENTRIES, ttl=REFUSAL_TTL_S, timer=monotonic)

    def __repr__(self) -> str:
        return f"SecretManagerSecrets(project={self._project!r}, cached={len(self._known)})"

    def read(self, name: str) -> str:
        """The latest version, from the cache while it is fresh, without line ends at its end.

        Raises `TenantBlocked` naming the secret (missing, forbidden, disabled, empty, not text) and
        `TransientFailure` when Secret Manager cannot be asked and no older value may serve.
        """
        entry = self._entry(name)
        if entry is None:
            return self._fetch(name, attempts=4)
        if not self._takes_refresh(name, entry):
            return entry.value
        try:
            return self._fetch(name, attempts=1)
        except TransientFailure as failure:
            _log.warning("secret_served_stale", secret_id=name, code=failure.code)
            return entry.value

    def reread(self, name: str) -> str:
        """Ask Secret Manager again after a vendor's 401, at most once per `REREAD_INTERVAL_S` and name.

        Never serves an old value for a failed question: raises `TransientFailure` then, and `TenantBlocked` as `read`.
        """
        entry = self._entry(name)
        if entry is not None and self._monotonic() - entry.fetched_at < REREAD_INTERVAL_S:
            return entry.value
        return self._fetch(name, attempts=4)

    def read_version(self, name: str, version: str) -> str:
        """One version, uncached, for an operator who copies it. Raises as `read`."""
        return with_short_retries(lambda: self._access(name, version), budget_s=BUDGET_S)

    def write(self, name: str, value: str) -> None:
        """Create the secret if needed and add a version. Raises `ConfigurationError` and `TransientFailure`."""
        data = value.encode()
        if not 0 < len(data) <= MAX_PAYLOAD_BYTES:
            raise ConfigurationError(
                "bad_secret_value", f"the value for {name} must have 1 to {MAX_PAYLOAD_BYTES} bytes"
            )
        try:
            self._create(name)
            self._add_version(name, data)
        except TenantBlocked as refusal:
            raise ConfigurationError(
                refusal.code, refusal.detail, fix="grant roles/secretmanager.admin to whoever runs this"
            ) from refusal
        with self._lock:
            self._known.pop(name, None)
            self._refused.pop(name, None)

    # --- cache ---

    def _entry(self, name: str) -> _Entry | None:
        """The cached value that may still serve. Raises a remembered refusal again."""
        with self._lock:
            refusal = self._refused.get(name)
            entry = self._known.get(name)
        if refusal is not None:
            code, detail, fix = refusal
            raise TenantBlocked(code, detail, fix=fix)
        if entry is None or self._monotonic() - entry.fetched_at >= self._serves_s:
            return None
        return entry

    def _takes_refresh(self, name: str, entry: _Entry) -> bool:
        """Whether this caller is the one to ask again; the others go on with the old value meanwhile."""
        now = self._monotonic()
        with self._lock:
            newest = self._known.get(name, entry)
            if now < newest.ask_again_at:
                return False
            self._known[name] = replace(newest, ask_again_at=now + STALE_PAUSE_S)
            return True

    # --- Secret Manager ---

    def _fetch(self, name: str, *, attempts: int) -> str:
        try:
            value = with_short_retries(lambda: self._access(name), budget_s=BUDGET_S, attempts=attempts)
        except TenantBlocked as refusal:
            with self._lock:
                self._known.pop(name, None)
                self._refused[name] = (refusal.code, refusal.detail, refusal.fix)
            raise
        now = self._monotonic()
        with self._lock:
            self._known[name] = _Entry(value, fetched_at=now, ask_again_at=now + self._ttl_s)
        return value

    def _access(self, name: str, version: str = "latest") -> str:
        import google_crc32c

        client = self._client()
        with refusal_of(name):
            response = client.access_secret_version(
                name=f"projects/{self._project}/secrets/{name}/versions/{version}", timeout=TIMEOUT_S, retry=None
            )
        payload = response.payload
        if google_crc32c.value(payload.data) != payload.data_crc32c:
            raise TransientFailure("secret_damaged", f"the value of secret {name} arrived damaged")
        return as_text(name, payload.data)

    def _create(self, name: str) -> None:
        from google.api_core.exceptions import AlreadyExists

        client = self._client()
        with refusal_of(name):
            try:
                client.create_secret(
                    parent=f"projects/{self._project}",
                    secret_id=name,
                    secret={"replication": {"automatic": {}}},
                    timeout=TIMEOUT_S,
                    retry=None,
                )
            except AlreadyExists:
                return

    def _add_version(self, name: str, data: bytes) -> None:
        import google_crc32c

        client = self._client()
        with refusal_of(name):
            client.add_secret_version(
                parent=f"projects/{self._project}/secrets/{name}",
                payload={"data": data, "data_crc32c": google_crc32c.value(data)},
                timeout=TIMEOUT_S,
                retry=None,
            )

    def _client(self) -> Any:
        with self._lock:
            if self._made is None:
                with refusal_of(""):
                    self._made = _make_client(self._local_address)
            return self._made


def as_text(name: str, data: bytes) -> str:
    """A payload as the value it means: files end with a newline that nobody means to be part of a token.

    Raises `TenantBlocked` (not text, empty) without a byte of the payload.
    """
    try:
        value = data.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        # `from None`: the cause would carry the bytes of the secret.
        raise TenantBlocked(
            "secret_unreadable", f"secret {name} is not UTF-8 text", fix="add a version that holds text"
        ) from None
    if not value:
        raise TenantBlocked("secret_empty", f"secret {name} is empty", fix="add a version that holds the value")
    return value


def _make_client(local_address: str) -> Any:
    from google.cloud.secretmanager_v1 import SecretManagerServiceClient
    from google.cloud.secretmanager_v1.services.secret_manager_service.transports.grpc import (
        SecretManagerServiceGrpcTransport,
    )

    return google_client(SecretManagerServiceClient, SecretManagerServiceGrpcTransport, local_address=local_address)
