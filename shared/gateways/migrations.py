"""Brings a Spanner database to the schema of `sql/`, forwards and backwards: the entry points.

The files are read by `migration_files`, what is to be done is decided by `migration_plan`, `migration_run` does it
and says how it survives an interruption.
"""

from __future__ import annotations

from pathlib import Path

from google.cloud.spanner_v1.database import Database

from shared.gateways.migration_files import load_migrations
from shared.gateways.migration_journal import Journal
from shared.gateways.migration_plan import Plan, plan_migration, plan_rollback
from shared.gateways.migration_run import MigrationReport, MigrationRun, Report
from shared.gateways.queries import SQL_DIR
from shared.gateways.spanner_admin import ensure_emulator_database, is_emulator
from shared.gateways.spanner_errors import explained

__all__ = ["MigrationReport", "ensure_emulator_database", "is_emulator", "migrate", "plan", "roll_back"]


def plan(database: Database, *, target: int | None = None, rollback: bool = False, directory: Path = SQL_DIR) -> Plan:
    """What `migrate` or `roll_back` would do, without doing it. Raises as they do."""
    with explained("reading schema_migrations"):
        entries = Journal(database).entries()
    planner = plan_rollback if rollback else plan_migration
    return planner(load_migrations(directory), entries, target)


def migrate(
    database: Database,
    *,
    target: int | None = None,
    emulator: bool,
    report: Report,
    directory: Path = SQL_DIR,
) -> MigrationReport:
    """Apply the pending migrations up to `target` (all by default), in order. Safe to repeat.

    With `emulator`, statements marked `-- only: spanner` are skipped, reported and recorded as skipped.
    Raises `ConfigurationError` (an edited or missing file, a refused statement, permissions) or `TransientFailure`;
    what was applied until then stays recorded.
    """
    return MigrationRun(database, emulator=emulator, report=report, directory=directory).migrate(target)


def roll_back(
    database: Database,
    *,
    target: int | None = None,
    emulator: bool,
    report: Report,
    directory: Path = SQL_DIR,
) -> MigrationReport:
    """Undo every migration above `target` (by default the newest one only), newest first. Raises as `migrate` does."""
    return MigrationRun(database, emulator=emulator, report=report, directory=directory).roll_back(target)
