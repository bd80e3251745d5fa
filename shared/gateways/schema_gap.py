"""Whether the database's schema is the one that this release was written for."""

from __future__ import annotations

from shared.gateways.database import OpenDatabase, translated
from shared.gateways.migration_files import load_migrations
from shared.gateways.migration_journal import Journal
from shared.story import SchemaGap


def schema_gap(open_database: OpenDatabase) -> SchemaGap:
    """Compare `sql/` with `schema_migrations` (two reads). An interrupted migration counts as missing.

    Raises `TransientFailure` when Spanner does not answer.
    """
    with translated("read the schema's version"):
        entries = Journal(open_database()).entries()
    files = {migration.version: migration.file_name for migration in load_migrations()}
    applied = {version for version, entry in entries.items() if entry.state == "applied"}
    return SchemaGap(
        missing=tuple(name for version, name in sorted(files.items()) if version not in applied),
        unknown=tuple(f"{entry.name}.sql" for version, entry in sorted(entries.items()) if version not in files),
    )
