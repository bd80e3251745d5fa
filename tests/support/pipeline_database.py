"""A fresh, migrated database with two tenants, and plain looks into its tables."""

from __future__ import annotations

import json
import re
import sys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pytest
from google.cloud import spanner
from google.cloud.spanner_v1 import COMMIT_TIMESTAMP, JsonObject, KeySet
from google.cloud.spanner_v1.database import Database

from schemas.tenant import Tenant
from shared.gateways.keyset_store import KeysetStore
from shared.gateways.migration_files import load_migrations
from shared.gateways.sealed_events import event_field, open_event
from shared.gateways.vault import Vault
from tests.support.emulators import FreshDatabase, SpannerDatabases
from tests.support.keys import key_maker
from tests.support.tenants import OTHER_COMPANY, make_tenant

OUR_TENANT = make_tenant("acme-plumbing")
OTHER_TENANT = make_tenant("other-dental", company_id=OTHER_COMPANY)


@dataclass(frozen=True)
class PipelineDatabase:
    """The database and short ways to look into it."""

    database: Database

    @property
    def open(self) -> Callable[[], Database]:
        return lambda: self.database

    @cached_property
    def vault(self) -> Vault:
        return Vault(self.open, key_maker())

    @property
    def keysets(self) -> KeysetStore:
        return KeysetStore(self.open, key_maker())

    def opened_event(self, stage: str) -> dict[str, Any]:
        """What the only run of a stage holds as its event, opened."""
        sql = f"SELECT tenant_id, request_id, call_id, event FROM stage_runs WHERE stage = '{stage}'"
        ((tenant_id, request_id, call_id, event),) = self.rows(sql)
        stored = open_event(self.vault.of(tenant_id), call_id, event_field(request_id, stage), event)
        document: dict[str, Any] = json.loads(stored)
        return document

    def rows(self, sql: str) -> list[list[Any]]:
        with self.database.snapshot() as snapshot:
            return list(snapshot.execute_sql(sql))

    def value(self, sql: str) -> Any:
        return self.rows(sql)[0][0]

    def add_tenant(self, tenant: Tenant) -> None:
        self.add_tenant_without_keyset(tenant)
        rows = self.keysets.new_rows(tenant.tenant_id)
        with self.database.batch() as batch:
            self.keysets.insert(batch, rows)

    def add_tenant_without_keyset(self, tenant: Tenant) -> None:
        """As tenants were made before personal data was sealed."""
        with self.database.batch() as batch:
            batch.insert(
                table="tenants",
                columns=("tenant_id", "name", "status", "config", "created_at", "updated_at"),
                values=[
                    (
                        tenant.tenant_id,
                        tenant.name,
                        tenant.status,
                        JsonObject(json.loads(tenant.config.model_dump_json())),
                        COMMIT_TIMESTAMP,
                        COMMIT_TIMESTAMP,
                    )
                ],
            )


def pipeline_ddl() -> list[str]:
    """Every DDL statement of the migrations that the emulator understands."""
    return [
        statement.text
        for migration in load_migrations()
        for statement in migration.statements
        if not statement.spanner_only
    ]


@dataclass(frozen=True)
class Shelf:
    """Migrated databases that tests gave back, for the next: to make one costs the emulator 120 ms, to empty one 1 ms.

    The one that has lain longest is handed out next, and it is emptied then, not when it came back: what a test left
    behind and wrote late is gone too.
    """

    databases: SpannerDatabases
    free: deque[FreshDatabase] = field(default_factory=deque)
    as_made: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The schema of each database when it was new."""

    def take(self) -> FreshDatabase:
        if len(self.free) >= _AT_REST:
            return self.free.popleft()
        fresh = self.databases.create(pipeline_ddl())
        self.as_made[fresh.database_id] = self.databases.schema(fresh)
        return fresh

    def give_back(self, used: FreshDatabase) -> None:
        """What a test altered the schema of is of no use to another."""
        if self.databases.schema(used) == self.as_made[used.database_id]:
            self.free.append(used)
        else:
            self.databases.drop(used)

    def delete_all_rows(self, fresh: FreshDatabase, database: Database) -> None:
        """Children before their parents: the schema names parents first."""
        tables = [found[1] for statement in self.as_made[fresh.database_id] if (found := _TABLE.match(statement))]
        assert tables, "a schema without tables"
        with database.batch() as batch:
            for table in reversed(tables):
                batch.delete(table, KeySet(all_=True))


_AT_REST = 3
"""So many databases at least lie on the shelf, so that none goes from one test to the very next."""
_TABLE = re.compile(r"CREATE TABLE (\w+)")


def _forget_keys() -> None:
    """A process keeps tenants' keys by the database's name (`handlers.wiring.vault`); its tenants are others now."""
    for module, name in (("handlers.wiring", "vault"), ("handlers.backfill_wiring", "reconciliation")):
        if module in sys.modules:
            getattr(sys.modules[module], name).cache_clear()


@pytest.fixture(scope="session")
def _shelf(spanner_databases: SpannerDatabases) -> Shelf:
    return Shelf(spanner_databases)


@pytest.fixture
def pipeline_database(_shelf: Shelf) -> Iterator[PipelineDatabase]:
    """Migrated, with `OUR_TENANT` and `OTHER_TENANT` and no other row; of this test alone while it runs."""
    fresh = _shelf.take()
    client = spanner.Client(project=fresh.project_id, disable_builtin_metrics=True)
    try:
        database = client.instance(fresh.instance_id).database(fresh.database_id)
        _shelf.delete_all_rows(fresh, database)
        _forget_keys()
        pipeline = PipelineDatabase(database)
        pipeline.add_tenant(OUR_TENANT)
        pipeline.add_tenant(OTHER_TENANT)
        yield pipeline
    finally:
        client.close()
        _shelf.give_back(fresh)
