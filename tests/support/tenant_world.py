"""A migrated database with its tenants' secrets, and a way to cut the connection to Spanner."""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from google.cloud import spanner
from google.cloud.spanner_v1.database import Database

from infra.local.standins.secret_manager import serve_secret_manager
from schemas.tenant import Tenant
from shared.gateways.keyset_store import KeysetStore
from shared.gateways.migrations import ensure_emulator_database, migrate
from shared.gateways.secrets import SecretManagerSecrets
from shared.gateways.tenant_store import TenantStore
from shared.gateways.tenants import SpannerTenantDirectory
from tests.support.keys import key_maker
from tests.support.tenants import OTHER_COMPANY, make_tenant

_NUMBERS = itertools.count(1)
TOKEN = "an-address-that-nobody-guesses"
BOTH_CRMS = {
    "hubspot": {"token_secret": "acme-hubspot"},
    "salesforce": {"credentials_secret": "acme-salesforce"},
}


@dataclass
class Time:
    """Seconds that pass when told to."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class World:
    """A migrated database, a secret store, and a way to cut the connection to Spanner."""

    database: Database
    secrets: SecretManagerSecrets
    time: Time = field(default_factory=Time)
    is_cut: bool = False

    def open(self) -> Database:
        return _unreachable() if self.is_cut else self.database

    @property
    def store(self) -> TenantStore:
        return TenantStore(self.open, KeysetStore(self.open, key_maker()))

    def create(self, tenant: Tenant, new_secrets: Mapping[str, str] | None = None) -> None:
        self.store.create(tenant, new_secrets=new_secrets or {}, secrets=self.secrets, actor="test")

    def update(self, tenant: Tenant, new_secrets: Mapping[str, str] | None = None) -> None:
        self.store.update(tenant, new_secrets=new_secrets or {}, secrets=self.secrets, actor="test")

    def directory(self, **changes: float) -> SpannerTenantDirectory:
        seconds: dict[str, Any] = {"ttl_s": 60, "negative_ttl_s": 10, "stale_for_s": 300, **changes}
        return SpannerTenantDirectory(self.open, timer=self.time, **seconds)

    def rows(self, sql: str) -> list[list[Any]]:
        with self.database.snapshot() as snapshot:
            return sorted(snapshot.execute_sql(sql))


def _unreachable() -> Database:
    """A database behind a port that nobody listens on."""
    with socket.socket() as free, pytest.MonkeyPatch.context() as patch:
        free.bind(("127.0.0.1", 0))
        patch.setenv("SPANNER_EMULATOR_HOST", f"127.0.0.1:{free.getsockname()[1]}")
        client = spanner.Client(project="test-project", disable_builtin_metrics=True)
    database: Database = client.instance("test-instance").database("unreachable")
    return database


@contextmanager
def migrated_database() -> Iterator[Database]:
    """On the running emulator; dropped afterwards."""
    made = ensure_emulator_database("test-project", "test-instance", f"tenants-{os.getpid()}-{next(_NUMBERS)}")
    try:
        migrate(made, emulator=True, report=lambda _: None)
        yield made
    finally:
        made.drop()


@contextmanager
def empty_world(database: Database) -> Iterator[World]:
    """A world without tenants; its rows are removed afterwards."""
    with serve_secret_manager() as standin:
        yield World(database, SecretManagerSecrets(project="test-project", local_address=standin.address))
    with database.batch() as batch:
        for table in ("audit_log", "crm_integrations", "tenant_keysets", "tenant_routes", "tenants"):
            batch.delete(table, spanner.KeySet(all_=True))


def acme(**config: Any) -> Tenant:
    return make_tenant("acme-plumbing", **config)


def other(**config: Any) -> Tenant:
    return make_tenant("other-dental", company_id=OTHER_COMPANY, **config)
