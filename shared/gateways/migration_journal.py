"""The table `schema_migrations`: which migration is applied, which one was interrupted, and how far it came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from google.cloud import spanner
from google.cloud.spanner_v1 import JsonObject
from google.cloud.spanner_v1.database import Database

from shared.gateways.migration_files import Migration, Statement
from shared.gateways.spanner_errors import read_retry

State = Literal["applying", "applied", "rolling_back"]

JOURNAL_DDL = """CREATE TABLE IF NOT EXISTS schema_migrations (
  version INT64 NOT NULL,
  name STRING(200) NOT NULL,
  checksum STRING(64) NOT NULL,
  state STRING(16) NOT NULL,
  statements_done INT64 NOT NULL,
  applied_at TIMESTAMP OPTIONS (allow_commit_timestamp = true),
  skipped JSON,
  CONSTRAINT schema_migrations_state CHECK (state IN ('applying', 'applied', 'rolling_back')),
) PRIMARY KEY (version)"""

_READ_TIMEOUT_S = 30.0
_TABLE = "schema_migrations"


@dataclass(frozen=True)
class Entry:
    """One row. `checksum` covers all statements of the file, or, after a refused statement, the `done` ones."""

    version: int
    name: str
    checksum: str
    state: State
    done: int


class Journal:
    """Reads and writes `schema_migrations`. Google's errors pass through: the caller knows what was tried."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def exists(self) -> bool:
        sql = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = '' AND table_name = @name"
        rows = self._read(sql, {"name": _TABLE}, {"name": spanner.param_types.STRING})
        return bool(rows[0][0])

    def entries(self) -> dict[int, Entry]:
        """By version; empty when the table is not there yet."""
        if not self.exists():
            return {}
        rows = self._read("SELECT version, name, checksum, state, statements_done FROM schema_migrations")
        return {row[0]: Entry(*row) for row in rows}

    def begin(self, migrations: Sequence[Migration]) -> None:
        """Record, in one commit, that work on these starts. `AlreadyExists` when somebody else just did."""
        with self._database.batch() as batch:
            batch.insert(
                _TABLE,
                ("version", "name", "checksum", "state", "statements_done"),
                [(item.version, item.name, item.checksum(), "applying", 0) for item in migrations],
            )

    def progress(self, migration: Migration, *, done: int, checksum: str) -> None:
        """How many statements are applied, and what vouches for them."""
        with self._database.batch() as batch:
            batch.update(_TABLE, ("version", "statements_done", "checksum"), [(migration.version, done, checksum)])

    def finish(self, migration: Migration, skipped: Sequence[Statement]) -> None:
        """The whole migration is applied, but for the `skipped` statements."""
        notes = [{"statement": item.number, "text": item.headline, "reason": "only: spanner"} for item in skipped]
        with self._database.batch() as batch:
            batch.update(
                _TABLE,
                ("version", "checksum", "state", "statements_done", "applied_at", "skipped"),
                [
                    (
                        migration.version,
                        migration.checksum(),
                        "applied",
                        len(migration.statements),
                        spanner.COMMIT_TIMESTAMP,
                        JsonObject(notes),
                    )
                ],
            )

    def begin_rollback(self, version: int) -> None:
        with self._database.batch() as batch:
            batch.update(_TABLE, ("version", "state"), [(version, "rolling_back")])

    def forget(self, version: int) -> None:
        with self._database.batch() as batch:
            batch.delete(_TABLE, spanner.KeySet(keys=[(version,)]))

    def _read(
        self, sql: str, params: dict[str, object] | None = None, types: dict[str, object] | None = None
    ) -> list[list[Any]]:
        with self._database.snapshot() as snapshot:
            return list(
                snapshot.execute_sql(
                    sql,
                    params=params,
                    param_types=types,
                    retry=read_retry(_READ_TIMEOUT_S),
                    timeout=_READ_TIMEOUT_S,
                )
            )
