"""Databases and migrations of a test's own, for the tests of the migration tool."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from google.cloud.spanner_v1.database import Database

from shared.gateways.migration_journal import Journal
from shared.gateways.migrations import ensure_emulator_database

ONE = "CREATE TABLE one (id INT64 NOT NULL) PRIMARY KEY (id);\n"
TWO = "CREATE TABLE two (id INT64 NOT NULL, size INT64) PRIMARY KEY (id);\nCREATE INDEX two_by_size ON two (size);\n"

_NUMBERS = itertools.count(1)


class Log:
    """What a run told its user."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, line: str) -> None:
        self.lines.append(line)

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def fresh_database_id(prefix: str) -> str:
    """An id that no other test of this session uses."""
    return f"{prefix}-{os.getpid()}-{next(_NUMBERS)}"


@contextmanager
def empty_database() -> Iterator[Database]:
    """A database without tables on the running emulator; it is dropped afterwards."""
    made = ensure_emulator_database("test-project", "test-instance", fresh_database_id("migrate"))
    try:
        yield made
    finally:
        made.drop()
        made._instance._client.close()


def write_two_migrations(directory: Path) -> Path:
    """001 with one table, 002 with a table and its index, and their rollbacks."""
    (directory / "rollback").mkdir()
    write_migration(directory, "001_one", ONE, "DROP TABLE one;")
    write_migration(directory, "002_two", TWO, "DROP INDEX two_by_size;\nDROP TABLE two;")
    return directory


def write_migration(directory: Path, name: str, text: str, rollback: str) -> None:
    (directory / f"{name}.sql").write_text(text)
    (directory / "rollback" / f"{name}.sql").write_text(rollback)


def names(database: Database) -> set[str]:
    """Tables and indexes that exist."""
    query = (
        "SELECT table_name FROM information_schema.tables WHERE table_schema = '' UNION ALL "
        "SELECT index_name FROM information_schema.indexes WHERE table_schema = '' AND index_type = 'INDEX'"
    )
    with database.snapshot() as snapshot:
        return {row[0] for row in snapshot.execute_sql(query)}


def journal(database: Database) -> dict[int, tuple[str, int]]:
    """State and statements done, by version."""
    return {version: (entry.state, entry.done) for version, entry in Journal(database).entries().items()}
