"""The migration tool when something goes wrong, on the real Spanner emulator: refused, killed, raced, half undone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from google.cloud.spanner_v1.database import Database

from shared.errors import ConfigurationError, TransientFailure
from shared.gateways.migration_files import load_migrations
from shared.gateways.migration_journal import Journal
from shared.gateways.migrations import ensure_emulator_database, migrate, plan, roll_back
from shared.gateways.spanner_admin import apply_ddl
from tests.support.migrating import Log, empty_database, journal, names, write_two_migrations
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


def test_after_a_refused_statement_nobody_elses_work_is_taken_for_its_own(database: Database, sql: Path) -> None:
    """A refusal leaves no doubt about what was applied, so a name that is taken now was taken by somebody else."""
    migrate(database, emulator=True, report=Log(), directory=sql)
    with database.batch() as batch:
        batch.insert("two", ("id", "size"), [(1, 5), (2, 5)])
    text = "CREATE TABLE three (id INT64) PRIMARY KEY (id);\nCREATE UNIQUE INDEX sizes ON two (size);\n"
    write(sql, "003_sizes", text, "DROP INDEX sizes;\nDROP TABLE three;")
    with pytest.raises(ConfigurationError):
        migrate(database, emulator=True, report=Log(), directory=sql)
    apply_ddl(database, ["CREATE INDEX sizes ON two (id)"], on_progress=lambda _: None)

    with pytest.raises(ConfigurationError, match=r"003_sizes\.sql, statement 2.*Duplicate name"):
        migrate(database, emulator=True, report=Log(), directory=sql)


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
