"""Migrations on the real Spanner emulator: applied, skipped, refused, interrupted, resumed, undone."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from google.cloud.spanner_v1.database import Database
from typer.testing import CliRunner

from handlers.cli.migrate import migrate as migrate_command
from shared.errors import ConfigurationError, TransientFailure
from shared.gateways.migration_files import load_migrations
from shared.gateways.migration_journal import Journal
from shared.gateways.migrations import ensure_emulator_database, migrate, plan, roll_back
from shared.gateways.queries import SQL_DIR
from shared.gateways.schema_sum import schema_sum
from shared.gateways.spanner_admin import apply_ddl

pytestmark = pytest.mark.emulators

_NUMBERS = itertools.count(1)

ONE = "CREATE TABLE one (id INT64 NOT NULL) PRIMARY KEY (id);\n"
TWO = "CREATE TABLE two (id INT64 NOT NULL, size INT64) PRIMARY KEY (id);\nCREATE INDEX two_by_size ON two (size);\n"


class Log:
    """What a run told its user."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, line: str) -> None:
        self.lines.append(line)

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


@pytest.fixture
def database(spanner_emulator: str) -> Iterator[Database]:
    """An empty database of the test's own."""
    assert spanner_emulator
    made = ensure_emulator_database("test-project", "test-instance", f"migrate-{os.getpid()}-{next(_NUMBERS)}")
    yield made
    made.drop()
    made._instance._client.close()


@pytest.fixture
def sql(tmp_path: Path) -> Path:
    """A directory of migrations of the test's own: 001 with one table, 002 with a table and its index."""
    (tmp_path / "rollback").mkdir()
    write(tmp_path, "001_one", ONE, "DROP TABLE one;")
    write(tmp_path, "002_two", TWO, "DROP INDEX two_by_size;\nDROP TABLE two;")
    return tmp_path


def write(directory: Path, name: str, text: str, rollback: str) -> None:
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
    return {version: (entry.state, entry.done) for version, entry in Journal(database).entries().items()}


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
    assert len(rows[0][0]) == len(marked)
    assert rows[0][1] is not None
    assert len(rows[0][2]) == 64


def test_applying_schema_sql_gives_the_same_database(database: Database, spanner_emulator: str) -> None:
    assert spanner_emulator
    migrate(database, emulator=True, report=Log())
    other = ensure_emulator_database("test-project", "test-instance", f"schema-{os.getpid()}-{next(_NUMBERS)}")
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


# --- failures and interruptions ---------------------------------------------------------------------


def test_a_refused_statement_is_named_and_what_came_before_stays(database: Database, sql: Path) -> None:
    write(sql, "003_bad", "CREATE TABLE three (id INT64) PRIMARY KEY (id);\nDROP TABLE nowhere;", "DROP TABLE three;")

    with pytest.raises(ConfigurationError, match=r"003_bad\.sql, statement \d \(line \d, .*\).*not found: nowhere"):
        migrate(database, emulator=True, report=Log(), directory=sql)

    assert journal(database)[2] == ("applied", 2)
    assert journal(database)[3][0] == "applying"


def test_a_failure_of_the_data_keeps_the_statements_before_it_and_the_corrected_file_goes_on(
    database: Database, sql: Path
) -> None:
    """The statement breaks on rows that are there; the ones before it are applied for good."""
    migrate(database, emulator=True, report=Log(), directory=sql)
    with database.batch() as batch:
        batch.insert("two", ("id", "size"), [(1, 5), (2, 5)])
    text = "CREATE TABLE three (id INT64) PRIMARY KEY (id);\nCREATE UNIQUE INDEX sizes ON two (size);\n"
    write(sql, "003_sizes", text, "DROP INDEX sizes;\nDROP TABLE three;")
    with pytest.raises(ConfigurationError, match=r"003_sizes\.sql, statement 2 \(line 2.*uniqueness violation"):
        migrate(database, emulator=True, report=Log(), directory=sql)
    assert journal(database)[3] == ("applying", 1)

    write(sql, "003_sizes", text.replace("UNIQUE ", ""), "DROP INDEX sizes;\nDROP TABLE three;")
    migrate(database, emulator=True, report=Log(), directory=sql)

    assert {"three", "sizes"} <= names(database)
    assert journal(database)[3] == ("applied", 2)


def test_editing_what_was_applied_of_a_failed_migration_is_refused(database: Database, sql: Path) -> None:
    migrate(database, emulator=True, report=Log(), directory=sql)
    with database.batch() as batch:
        batch.insert("two", ("id", "size"), [(1, 5), (2, 5)])
    text = "CREATE TABLE three (id INT64) PRIMARY KEY (id);\nCREATE UNIQUE INDEX sizes ON two (size);\n"
    write(sql, "003_sizes", text, "DROP INDEX sizes;\nDROP TABLE three;")
    with pytest.raises(ConfigurationError):
        migrate(database, emulator=True, report=Log(), directory=sql)

    write(sql, "003_sizes", text.replace("three (id", "three (more INT64, id"), "DROP INDEX sizes;\nDROP TABLE three;")
    with pytest.raises(ConfigurationError, match=r"003_sizes\.sql was edited after part of it had been applied"):
        migrate(database, emulator=True, report=Log(), directory=sql)

    roll_back(database, target=2, emulator=True, report=Log(), directory=sql)
    assert "three" not in names(database)
    assert 3 not in journal(database)


@pytest.mark.parametrize("applied", [0, 1, 2])
def test_a_run_that_died_after_any_statement_is_continued(database: Database, sql: Path, applied: int) -> None:
    """The tool was killed: Spanner applied some statements, the journal knows of none."""
    migrate(database, target=1, emulator=True, report=Log(), directory=sql)
    second = load_migrations(sql)[1]
    Journal(database).begin([second])
    for statement in second.statements[:applied]:
        apply_ddl(database, [statement.text], on_progress=lambda _: None)
    log = Log()

    report = migrate(database, emulator=True, report=log, directory=sql)

    assert report.version == 2
    assert {"two", "two_by_size"} <= names(database)
    assert journal(database)[2] == ("applied", 2)
    assert log.text.count("is there:") == applied


def test_a_run_that_was_interrupted_by_its_user_is_continued(database: Database, sql: Path) -> None:
    class Impatient(Log):
        def __call__(self, line: str) -> None:
            super().__call__(line)
            if line.startswith("001_one.sql: applied"):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        migrate(database, emulator=True, report=Impatient(), directory=sql)
    assert journal(database) == {1: ("applied", 1)}

    assert migrate(database, emulator=True, report=Log(), directory=sql).changed == ("002_two.sql",)


def test_a_table_that_was_there_before_a_fresh_migration_is_an_error(database: Database, sql: Path) -> None:
    """Only an interrupted migration may meet its own work; anybody else's table must not be taken for it."""
    migrate(database, target=1, emulator=True, report=Log(), directory=sql)
    apply_ddl(database, ["CREATE TABLE two (other STRING(9)) PRIMARY KEY (other)"], on_progress=lambda _: None)

    with pytest.raises(ConfigurationError, match=r"002_two\.sql, statement 1.*Duplicate name"):
        migrate(database, emulator=True, report=Log(), directory=sql)


def test_a_half_done_rollback_is_finished_and_blocks_going_forward(database: Database, sql: Path) -> None:
    migrate(database, emulator=True, report=Log(), directory=sql)
    Journal(database).begin_rollback(2)
    apply_ddl(database, ["DROP INDEX two_by_size"], on_progress=lambda _: None)
    with pytest.raises(ConfigurationError, match=r"002_two\.sql is half rolled back"):
        migrate(database, emulator=True, report=Log(), directory=sql)

    roll_back(database, target=1, emulator=True, report=Log(), directory=sql)

    assert names(database) == {"schema_migrations", "one"}
    assert migrate(database, emulator=True, report=Log(), directory=sql).version == 2


def test_two_runs_at_once_do_not_both_begin(database: Database, sql: Path) -> None:
    migrate(database, target=1, emulator=True, report=Log(), directory=sql)

    class Rival(Log):
        """The other run begins between this run's plan and its first statement."""

        def __call__(self, line: str) -> None:
            super().__call__(line)
            if line.startswith("002_two.sql: applied"):
                Journal(database).begin([load_migrations(sql)[2]])

    write(sql, "003_three", "CREATE TABLE three (id INT64) PRIMARY KEY (id);", "DROP TABLE three;")
    with pytest.raises(ConfigurationError, match=r"another run has just begun 003_three\.sql"):
        migrate(database, emulator=True, report=Rival(), directory=sql)


def test_a_statement_that_the_emulator_does_not_know_says_how_to_mark_it(database: Database, sql: Path) -> None:
    write(sql, "003_role", "CREATE ROLE reader;", "DROP ROLE reader;")

    with pytest.raises(ConfigurationError) as caught:
        migrate(database, emulator=True, report=Log(), directory=sql)

    assert "the emulator does not know this statement" in caught.value.detail
    assert "-- only: spanner" in caught.value.fix


def test_on_real_spanner_marked_statements_are_sent(database: Database, sql: Path) -> None:
    """Told that this is real Spanner, the tool sends the role, and the emulator answers for Spanner that it cannot."""
    write(sql, "003_role", "-- only: spanner\nCREATE ROLE reader;", "-- only: spanner\nDROP ROLE reader;")

    with pytest.raises(TransientFailure, match=r"003_role\.sql, statement 1.*CREATE ROLE reader"):
        migrate(database, emulator=False, report=Log(), directory=sql)


def test_a_missing_database_is_named_with_what_to_check(database: Database) -> None:
    gone = database._instance.database("never-made")

    with pytest.raises(ConfigurationError) as caught:
        plan(gone)

    assert "Database not found" in caught.value.detail
    assert "PIPELINE_SPANNER_DATABASE" in caught.value.fix


def test_skipping_is_refused_on_a_database_of_google(monkeypatch: pytest.MonkeyPatch) -> None:
    from google.cloud import spanner
    from google.oauth2.credentials import Credentials

    monkeypatch.delenv("SPANNER_EMULATOR_HOST", raising=False)
    client = spanner.Client(project="test-project", credentials=Credentials("made-up"), disable_builtin_metrics=True)

    with pytest.raises(ConfigurationError, match="is on Google"):
        migrate(client.instance("some-instance").database("some-database"), emulator=True, report=Log())


def test_the_emulator_database_is_never_made_on_google(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPANNER_EMULATOR_HOST", raising=False)

    with pytest.raises(ConfigurationError, match="SPANNER_EMULATOR_HOST is not set"):
        ensure_emulator_database("test-project", "test-instance", "test-database")


# --- the command ------------------------------------------------------------------------------------


@pytest.fixture
def command(spanner_emulator: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Runs `pipeline migrate` against a database that does not exist yet; returns what it printed."""
    assert spanner_emulator
    monkeypatch.setenv("PIPELINE_ENVIRONMENT", "local")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "test-project")
    monkeypatch.setenv("PIPELINE_SPANNER_INSTANCE", "test-instance")
    monkeypatch.setenv("PIPELINE_SPANNER_DATABASE", f"command-{os.getpid()}-{next(_NUMBERS)}")

    def run(*arguments: str) -> str:
        import typer

        alone = typer.Typer(pretty_exceptions_enable=False)
        alone.command()(migrate_command)
        result = CliRunner().invoke(alone, list(arguments), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    return run


def test_the_command_applies_shows_its_progress_and_undoes(command: Callable[..., str]) -> None:
    first = command()
    assert "(emulator)" in first
    assert "001_initial_schema.sql: applied 10 statements" in first
    assert "SKIPPED" in first
    assert "the schema is at version 003" in first

    assert "would undo 003_indexes.sql" in command("--rollback", "--dry-run")
    assert "003_indexes.sql: rolled back" in command("--rollback")
    assert "would apply 003_indexes.sql (8 statements)" in command("--dry-run")
    assert "the schema is at version 001" in command("--rollback", "--to", "1")
    assert "the schema is at version 003" in command()
