"""Migrations on the real Spanner emulator: applied in order, skipped, refused when edited, undone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from google.cloud.spanner_v1.database import Database
from typer.testing import CliRunner

from handlers.cli.migrate import migrate as migrate_command
from shared.errors import ConfigurationError
from shared.gateways.migration_files import load_migrations
from shared.gateways.migrations import ensure_emulator_database, migrate, roll_back
from shared.gateways.queries import SQL_DIR
from shared.gateways.schema_sum import schema_sum
from shared.gateways.spanner_admin import apply_ddl
from tests.support.migrating import ONE, Log, empty_database, fresh_database_id, journal, names, write_two_migrations
from tests.support.migrating import write_migration as write

pytestmark = pytest.mark.emulators


@pytest.fixture
def database(spanner_emulator: str) -> Iterator[Database]:
    """An empty database of the test's own."""
    assert spanner_emulator
    with empty_database() as made:
        yield made


@pytest.fixture
def sql(tmp_path: Path) -> Path:
    """A directory with migrations 001 (a table) and 002 (a table and its index)."""
    return write_two_migrations(tmp_path)


def ddl_of(database: Database) -> list[str]:
    database.reload()
    return sorted(database.ddl_statements)


# --- the product's own migrations -------------------------------------------------------------------


def test_all_migrations_apply_and_the_roles_are_reported_as_skipped(database: Database) -> None:
    log = Log()

    report = migrate(database, emulator=True, report=log)

    last = load_migrations()[-1]
    assert report.version == last.version
    assert {"tenants", "call_records", "stage_runs", "dead_letters", "tenant_routes_by_value"} <= names(database)
    marked = [
        (item.file_name, statement)
        for item in load_migrations()
        for statement in item.statements
        if statement.spanner_only
    ]
    assert list(report.skipped) == marked
    assert "002_tenant_isolation.sql: SKIPPED" in log.text
    assert "7 CREATE ROLE" in log.text
    with database.snapshot() as snapshot:
        rows = list(
            snapshot.execute_sql("SELECT skipped, applied_at, checksum FROM schema_migrations WHERE version = 2")
        )
    assert len(rows[0][0]) == sum(name.startswith("002_") for name, _ in marked)
    assert rows[0][1] is not None
    assert len(rows[0][2]) == 64


def test_applying_schema_sql_gives_the_same_database(database: Database, spanner_emulator: str) -> None:
    assert spanner_emulator
    migrate(database, emulator=True, report=Log())
    other = ensure_emulator_database("test-project", "test-instance", fresh_database_id("schema"))
    try:
        apply_schema_file(other)
        assert ddl_of(other) == ddl_of(database)
    finally:
        other.drop()


def apply_schema_file(database: Database) -> None:
    """As `gcloud spanner databases create --ddl-file=sql/schema.sql` does, but for what the emulator refuses."""
    from shared.gateways.migration_files import split_statements

    text = (SQL_DIR / "schema.sql").read_text()
    statements = [item.text for item in split_statements(text, "schema.sql") if not item.spanner_only]
    apply_ddl(database, statements, on_progress=lambda _: None)


def test_a_database_made_from_schema_sql_is_recorded_without_a_change(database: Database) -> None:
    apply_schema_file(database)
    before = ddl_of(database)
    log = Log()

    migrate(database, emulator=True, report=log)

    assert ddl_of(database) == before
    assert {state for state, _ in journal(database).values()} == {"applied"}
    assert "made from schema.sql" in log.text
    assert "nothing to do" in second_run(database)


def second_run(database: Database) -> str:
    log = Log()
    report = migrate(database, emulator=True, report=log)
    assert report.changed == ()
    return log.text


def test_rolling_everything_back_leaves_no_table_of_ours(database: Database) -> None:
    migrate(database, emulator=True, report=Log())

    report = roll_back(database, target=0, emulator=True, report=Log())

    assert report.changed == tuple(item.file_name for item in reversed(load_migrations()))
    assert names(database) == {"schema_migrations"}
    assert migrate(database, emulator=True, report=Log()).version == load_migrations()[-1].version


def test_a_schema_file_that_lags_behind_is_noticed(sql: Path) -> None:
    before = schema_sum(sql)
    write(sql, "003_three", "ALTER TABLE one ADD COLUMN note STRING(10);", "ALTER TABLE one DROP COLUMN note;")

    assert schema_sum(sql) != before
    assert schema_sum(sql).endswith("ALTER TABLE one ADD COLUMN note STRING(10);\n")


# --- order, targets, edits --------------------------------------------------------------------------


def test_a_second_run_changes_nothing(database: Database, sql: Path) -> None:
    migrate(database, emulator=True, report=Log(), directory=sql)
    log = Log()

    report = migrate(database, emulator=True, report=log, directory=sql)

    assert report.changed == ()
    assert log.lines == ["nothing to do: the schema is at version 002"]


def test_a_target_stops_early_and_a_later_run_goes_on(database: Database, sql: Path) -> None:
    assert migrate(database, target=1, emulator=True, report=Log(), directory=sql).version == 1
    assert names(database) == {"schema_migrations", "one"}

    assert migrate(database, emulator=True, report=Log(), directory=sql).changed == ("002_two.sql",)
    assert names(database) == {"schema_migrations", "one", "two", "two_by_size"}


def test_a_target_below_the_schema_asks_for_a_rollback(database: Database, sql: Path) -> None:
    migrate(database, emulator=True, report=Log(), directory=sql)

    with pytest.raises(ConfigurationError, match=r"--rollback --to 1"):
        migrate(database, target=1, emulator=True, report=Log(), directory=sql)


def test_an_unknown_target_is_refused(database: Database, sql: Path) -> None:
    with pytest.raises(ConfigurationError, match="no migration 009"):
        migrate(database, target=9, emulator=True, report=Log(), directory=sql)
    assert names(database) == set()


def test_rollback_without_a_target_undoes_the_newest_only(database: Database, sql: Path) -> None:
    migrate(database, emulator=True, report=Log(), directory=sql)

    assert roll_back(database, emulator=True, report=Log(), directory=sql).changed == ("002_two.sql",)

    assert names(database) == {"schema_migrations", "one"}
    assert journal(database) == {1: ("applied", 1)}


def test_an_edited_migration_is_refused_by_name_before_anything_is_applied(database: Database, sql: Path) -> None:
    migrate(database, target=1, emulator=True, report=Log(), directory=sql)
    write(sql, "001_one", ONE.replace("one (id", "one (extra INT64, id"), "DROP TABLE one;")

    with pytest.raises(ConfigurationError, match=r"001_one\.sql was edited after it had been applied"):
        migrate(database, emulator=True, report=Log(), directory=sql)

    assert names(database) == {"schema_migrations", "one"}


def test_a_mended_comment_is_no_edit(database: Database, sql: Path) -> None:
    migrate(database, emulator=True, report=Log(), directory=sql)
    write(sql, "001_one", f"-- What this is for.\n{ONE}", "DROP TABLE one;")

    assert migrate(database, emulator=True, report=Log(), directory=sql).changed == ()


def test_a_migration_with_a_number_below_the_schema_is_refused(database: Database, sql: Path) -> None:
    (sql / "001_one.sql").rename(sql / "003_one.sql")
    (sql / "002_two.sql").rename(sql / "004_two.sql")
    migrate(database, emulator=True, report=Log(), directory=sql)
    write(sql, "002_late", "CREATE TABLE late (id INT64) PRIMARY KEY (id);", "DROP TABLE late;")

    with pytest.raises(ConfigurationError, match=r"002_late\.sql is not applied, but 004 already is"):
        migrate(database, emulator=True, report=Log(), directory=sql)


def test_code_older_than_the_schema_touches_nothing(database: Database, sql: Path) -> None:
    migrate(database, emulator=True, report=Log(), directory=sql)
    (sql / "002_two.sql").unlink()

    for run in (migrate, roll_back):
        with pytest.raises(ConfigurationError, match=r"002_two\.sql is recorded in this database"):
            run(database, emulator=True, report=Log(), directory=sql)
    assert "two" in names(database)


# --- the command ------------------------------------------------------------------------------------


@pytest.fixture
def command(spanner_emulator: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Runs `pipeline migrate` against a database that does not exist yet; returns what it printed."""
    assert spanner_emulator
    monkeypatch.setenv("PIPELINE_ENVIRONMENT", "local")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "test-project")
    monkeypatch.setenv("PIPELINE_SPANNER_INSTANCE", "test-instance")
    monkeypatch.setenv("PIPELINE_SPANNER_DATABASE", fresh_database_id("command"))

    def run(*arguments: str) -> str:
        import typer

        alone = typer.Typer(pretty_exceptions_enable=False)
        alone.command()(migrate_command)
        result = CliRunner().invoke(alone, list(arguments), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    return run


def test_the_command_applies_shows_its_progress_and_undoes(command: Callable[..., str]) -> None:
    newest = load_migrations()[-1]
    at_newest = f"the schema is at version {newest.version:03d}"
    first = command()
    assert "(emulator)" in first
    assert "001_initial_schema.sql: applied 10 statements" in first
    assert "SKIPPED" in first
    assert at_newest in first
    assert f"nothing to apply: {at_newest}" in command("--dry-run")

    assert f"would undo {newest.file_name}" in command("--rollback", "--dry-run")
    assert f"{newest.file_name}: rolled back" in command("--rollback")
    assert f"would apply {newest.file_name} ({len(newest.statements)} statements" in command("--dry-run")
    assert "the schema is at version 001" in command("--rollback", "--to", "1")
    assert at_newest in command()
