"""A fresh, migrated database with two tenants, and plain looks into its tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pytest
from google.cloud import spanner
from google.cloud.spanner_v1 import COMMIT_TIMESTAMP, JsonObject
from google.cloud.spanner_v1.database import Database

from schemas.tenant import Tenant
from shared.gateways.keyset_store import KeysetStore
from shared.gateways.migration_files import load_migrations
from shared.gateways.sealed_events import event_field, open_event
from shared.gateways.vault import Vault
from tests.support.emulators import SpannerDatabaseFactory
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


@pytest.fixture
def pipeline_database(spanner_database: SpannerDatabaseFactory) -> Iterator[PipelineDatabase]:
    """Migrated, with `OUR_TENANT` and `OTHER_TENANT`."""
    fresh = spanner_database(pipeline_ddl())
    client = spanner.Client(project=fresh.project_id, disable_builtin_metrics=True)
    try:
        database = client.instance(fresh.instance_id).database(fresh.database_id)
        pipeline = PipelineDatabase(database)
        pipeline.add_tenant(OUR_TENANT)
        pipeline.add_tenant(OTHER_TENANT)
        yield pipeline
    finally:
        client.close()
