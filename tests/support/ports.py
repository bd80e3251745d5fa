"""Small, honest implementations of ports for tests that are about something else."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import BinaryIO

from schemas.tenant import Tenant
from shared.errors import NotReady, PermanentFailure, TenantBlocked, TransientFailure
from shared.ports import StoredObject

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Message:
    """A published message."""

    topic: str
    data: bytes
    attributes: Mapping[str, str]


@dataclass
class MemoryPublisher:
    """Keeps what it was given; `failing` makes the next publishes fail."""

    messages: list[Message] = field(default_factory=list)
    failing: int = 0

    def publish(self, topic: str, data: bytes, attributes: Mapping[str, str]) -> str:
        if self.failing > 0:
            self.failing -= 1
            raise TransientFailure("publish_failed", "told to fail")
        self.messages.append(Message(topic, data, dict(attributes)))
        return str(len(self.messages))

    def topics(self) -> list[str]:
        return [message.topic for message in self.messages]


@dataclass(frozen=True)
class MemoryTenants:
    """A directory of a few tenants."""

    tenants: tuple[Tenant, ...]

    def by_id(self, tenant_id: str) -> Tenant | None:
        return next((tenant for tenant in self.tenants if tenant.tenant_id == tenant_id), None)

    def by_company(self, company_id: str) -> Tenant | None:
        return next((tenant for tenant in self.tenants if company_id in tenant.config.callrail_company_ids), None)

    def by_webhook_token(self, token: str) -> Tenant | None:
        return next((tenant for tenant in self.tenants if token and tenant.config.webhook_token == token), None)


@dataclass
class MemorySecrets:
    """Secrets in a dictionary."""

    values: dict[str, str]

    def read(self, name: str) -> str:
        if name not in self.values:
            raise TenantBlocked("secret_missing", f"secret {name} does not exist")
        return self.values[name]

    def reread(self, name: str) -> str:
        return self.read(name)

    def write(self, name: str, value: str) -> None:
        self.values[name] = value


@dataclass
class HandClock:
    """Time that moves when told to."""

    moment: datetime = NOON

    def __call__(self) -> datetime:
        return self.moment

    def advance(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


@dataclass
class MemoryObjects:
    """A bucket in a dictionary; `failing` makes it unreachable for the next calls."""

    bucket: str = "test-bucket"
    held: dict[str, bytes] = field(default_factory=dict)
    failing: int = 0

    def create(
        self, name: str, chunks: Iterator[bytes], *, content_type: str, custom_time: datetime | None = None
    ) -> StoredObject | None:
        del content_type, custom_time
        self._fail_if_told()
        if name in self.held:
            return None
        self.held[name] = b"".join(chunks)
        return StoredObject(name, len(self.held[name]), generation=1)

    def open(self, name: str) -> BinaryIO:
        return io.BytesIO(self.read(name, max_bytes=1 << 30))

    def read(self, name: str, *, max_bytes: int) -> bytes:
        self._fail_if_told()
        if name not in self.held:
            raise NotReady("object_missing", name)
        if len(self.held[name]) > max_bytes:
            raise PermanentFailure("object_too_large", name)
        return self.held[name]

    def delete(self, name: str) -> None:
        self._fail_if_told()
        self.held.pop(name, None)

    def list_names(self, prefix: str) -> list[str]:
        self._fail_if_told()
        return sorted(name for name in self.held if name.startswith(prefix))

    def uri(self, name: str) -> str:
        return f"gs://{self.bucket}/{name}"

    def _fail_if_told(self) -> None:
        if self.failing > 0:
            self.failing -= 1
            raise TransientFailure("storage_unavailable", "told to fail")
