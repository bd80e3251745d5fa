"""One run over the migrations: sends the statements, keeps the journal, survives being interrupted.

How an interruption is survived. Spanner has no transactional DDL: each statement is atomic, a batch of them is
not. So the journal (`schema_migrations`) gets a row in state `applying` *before* the first statement and is told
the progress as Spanner reports it. When the tool dies, Spanner goes on with the batch by itself; the next run
finds the row, sends the statements that were in doubt one by one, and takes Spanner's "Duplicate name" as proof
that this one had been applied. The first statement that is *not* a duplicate ends the doubt, because Spanner
works in order; the rest follow as one batch. In a migration that starts fresh, a duplicate is an error.

A statement that Spanner refuses leaves no doubt: the statements before it are counted and vouched for by their
checksum, so the rest of the file may be corrected and the command repeated.

The guide creates the database from `sql/schema.sql` directly. Then `schema_migrations` exists without a row, and
every migration is treated as one in doubt: what is there is recorded, what is missing is applied.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from google.api_core import exceptions
from google.cloud.spanner_v1.database import Database

from shared.errors import ConfigurationError, PipelineError
from shared.gateways.migration_files import Migration, Statement, load_migrations, load_rollback
from shared.gateways.migration_journal import JOURNAL_DDL, Entry, Journal
from shared.gateways.migration_plan import Plan, plan_migration, plan_rollback
from shared.gateways.spanner_admin import DdlFailed, apply_ddl, is_emulator
from shared.gateways.spanner_errors import explain, explained, is_transient

Report = Callable[[str], None]

# Spanner's words for "this statement was applied before", forwards and backwards.
_REPEATABLE = re.compile(r"^ALTER TABLE\s+\S+\s+REPLACE ROW DELETION POLICY", re.IGNORECASE)
"""Succeeds however often it is sent, and so says nothing of whether it was applied before."""
_THERE_BEFORE = re.compile(r"Duplicate (?:name|column)|Role\b.*already exists", re.IGNORECASE)
_GONE_BEFORE = re.compile(
    r"\b(?:Table|Index|Column|Constraint|View|Role)\b.*(?:not found|does not exist)", re.IGNORECASE
)


@dataclass(frozen=True)
class MigrationReport:
    """What a run did. `skipped` holds the statements that the emulator does not know, by file name."""

    version: int
    changed: tuple[str, ...] = ()
    skipped: tuple[tuple[str, Statement], ...] = ()


class MigrationRun:
    """One invocation: the database, the files and where to report."""

    def __init__(self, database: Database, *, emulator: bool, report: Report, directory: Path) -> None:
        if emulator and not is_emulator(database):
            raise ConfigurationError(
                "not_an_emulator",
                "asked to skip what the emulator does not know, but this database is on Google",
                fix="set SPANNER_EMULATOR_HOST, or migrate it as a real database",
            )
        self._database = database
        self._emulator = emulator
        self._report = report
        self._directory = directory
        self._journal = Journal(database)
        self._skipped: list[tuple[str, Statement]] = []

    def migrate(self, target: int | None) -> MigrationReport:
        with explained("reading schema_migrations"):
            existed = self._journal.exists()
            entries = self._journal.entries()
        todo = plan_migration(load_migrations(self._directory), entries, target)
        if not todo.steps:
            self._report(f"nothing to do: the schema is at version {todo.reached:03d}")
            return MigrationReport(todo.reached)
        self._create_journal()
        if existed and not entries:
            self._report("the tables were made from schema.sql: recording what is there, applying what is missing")
            self._begin(todo.steps)
            entries = self._journal.entries()
        for migration in todo.steps:
            self._apply(migration, entries.get(migration.version))
        return self._result(todo)

    def roll_back(self, target: int | None) -> MigrationReport:
        with explained("reading schema_migrations"):
            entries = self._journal.entries()
        todo = plan_rollback(load_migrations(self._directory), entries, target)
        if not todo.steps:
            self._report(f"nothing to roll back: the schema is at version {todo.reached:03d}")
        for migration in todo.steps:
            self._undo(migration, entries[migration.version])
        return self._result(todo)

    def _result(self, todo: Plan) -> MigrationReport:
        changed = tuple(migration.file_name for migration in todo.steps)
        return MigrationReport(todo.reached, changed, tuple(self._skipped))

    def _create_journal(self) -> None:
        try:
            apply_ddl(self._database, [JOURNAL_DDL], on_progress=lambda _: None)
        except DdlFailed as failure:
            raise explain(failure.error, doing="creating schema_migrations") from failure.error

    def _begin(self, migrations: Sequence[Migration]) -> None:
        with explained(f"recording {migrations[0].file_name}"):
            try:
                self._journal.begin(migrations)
            except exceptions.AlreadyExists as error:
                raise ConfigurationError(
                    "migration_running",
                    f"another run has just begun {migrations[0].file_name}",
                    fix="wait until it is over, then run again",
                ) from error

    def _apply(self, migration: Migration, entry: Entry | None) -> None:
        started = time.monotonic()
        done, in_doubt = 0, False
        if entry is not None:
            done, in_doubt = entry.done, entry.checksum == migration.checksum()
            self._report(f"{migration.file_name}: continuing after statement {done} of {len(migration.statements)}")
            self._record(migration, done=done)
        else:
            self._begin([migration])
        skipped = self._skip(migration)
        if in_doubt:
            done = self._settle(migration, done)
        self._send(migration, done)
        with explained(f"recording {migration.file_name}"):
            self._journal.finish(migration, skipped)
        self._report(
            f"{migration.file_name}: applied {len(migration.statements) - len(skipped)} statements "
            f"in {time.monotonic() - started:.1f} s"
        )

    def _skip(self, migration: Migration) -> list[Statement]:
        skipped = [] if not self._emulator else [item for item in migration.statements if item.spanner_only]
        if skipped:
            self._skipped += [(migration.file_name, item) for item in skipped]
            self._report(
                f"{migration.file_name}: SKIPPED {len(skipped)} of {len(migration.statements)} statements, "
                f"which only real Spanner knows ({_verbs(skipped)})"
            )
        return skipped

    def _settle(self, migration: Migration, done: int) -> int:
        """Send statements one by one while Spanner says that they were applied; return how many are done now."""
        for statement in migration.statements[done:]:
            there = True
            if not self._is_skipped(statement):
                try:
                    there = self._was_done(statement, _THERE_BEFORE)
                except DdlFailed as failure:
                    raise self._stopped(migration, statement, failure) from failure.error
                self._record(migration, done=statement.number)
                if there:
                    self._report(f"{migration.file_name}: statement {statement.number} is there: {statement.headline}")
            done = statement.number
            if not there and not _REPEATABLE.search(statement.text):
                break
        return done

    def _was_done(self, statement: Statement, known: re.Pattern[str]) -> bool:
        """Send one statement; True when Spanner says that it had been applied before."""
        try:
            self._send_ddl([statement])
        except DdlFailed as failure:
            if known.search(str(failure.error)):
                return True
            raise
        return False

    def _send(self, migration: Migration, done: int) -> None:
        """The statements after `done`, as one batch."""
        batch = [item for item in migration.statements[done:] if not self._is_skipped(item)]

        def on_progress(applied: int) -> None:
            last = batch[applied - 1].number
            self._report(f"{migration.file_name}: {last} of {len(migration.statements)} statements")
            self._record(migration, done=last)

        try:
            self._send_ddl(batch, on_progress=on_progress)
        except DdlFailed as failure:
            raise self._stopped(migration, batch[failure.applied], failure) from failure.error

    def _stopped(self, migration: Migration, statement: Statement, failure: DdlFailed) -> PipelineError:
        """Spanner refused a statement: record what is done for certain. A lost answer leaves the doubt."""
        if not self._leaves_doubt(failure.error):
            done = statement.number - 1
            with explained(f"recording {migration.file_name}"):
                self._journal.progress(migration, done=done, checksum=migration.checksum(done))
        return self._refused(migration, statement, failure.error)

    def _record(self, migration: Migration, *, done: int) -> None:
        with explained(f"recording {migration.file_name}"):
            self._journal.progress(migration, done=done, checksum=migration.checksum())

    def _undo(self, migration: Migration, entry: Entry) -> None:
        rollback = load_rollback(migration, self._directory)
        with explained(f"recording the rollback of {migration.file_name}"):
            self._journal.begin_rollback(migration.version)
        skipped = self._skip(rollback)
        statements = [item for item in rollback.statements if not self._is_skipped(item)]
        if entry.state == "applied":
            self._undo_at_once(rollback, statements)
        else:
            self._undo_one_by_one(rollback, statements)
        with explained(f"recording the rollback of {migration.file_name}"):
            self._journal.forget(migration.version)
        self._report(f"{migration.file_name}: rolled back ({len(rollback.statements) - len(skipped)} statements)")

    def _undo_at_once(self, rollback: Migration, statements: Sequence[Statement]) -> None:
        try:
            self._send_ddl(statements)
        except DdlFailed as failure:
            raise self._refused(rollback, statements[failure.applied], failure.error) from failure.error

    def _undo_one_by_one(self, rollback: Migration, statements: Sequence[Statement]) -> None:
        """After an interruption, what the statement removes may be gone already, or never have been there."""
        for statement in statements:
            try:
                self._was_done(statement, _GONE_BEFORE)
            except DdlFailed as failure:
                raise self._refused(rollback, statement, failure.error) from failure.error

    def _leaves_doubt(self, error: Exception) -> bool:
        """Whether Spanner may still be applying the batch whose answer was lost."""
        return is_transient(error) and not self._is_unknown_to_emulator(error)

    def _is_unknown_to_emulator(self, error: Exception) -> bool:
        """The emulator answers 500 to statements it does not implement (CREATE ROLE, GRANT)."""
        return self._emulator and isinstance(error, exceptions.InternalServerError)

    def _is_skipped(self, statement: Statement) -> bool:
        return self._emulator and statement.spanner_only

    def _send_ddl(
        self, statements: Sequence[Statement], *, on_progress: Callable[[int], None] = lambda _: None
    ) -> None:
        if statements:
            apply_ddl(self._database, [item.text for item in statements], on_progress=on_progress)

    def _refused(self, migration: Migration, statement: Statement, error: Exception) -> PipelineError:
        where = f"{migration.file_name}, statement {statement.number} (line {statement.line}, {statement.headline})"
        if self._is_unknown_to_emulator(error):
            return ConfigurationError(
                "emulator_knows_not",
                f"{where}: the emulator does not know this statement",
                fix="if real Spanner does, put a line '-- only: spanner' before it",
            )
        return explain(error, doing=where)


def _verbs(statements: Sequence[Statement]) -> str:
    """Such as `7 CREATE ROLE, 12 GRANT`."""
    counts: dict[str, int] = {}
    for statement in statements:
        words = statement.text.split()
        verb = words[0] if words[0] in {"GRANT", "REVOKE"} else " ".join(words[:2])
        counts[verb] = counts.get(verb, 0) + 1
    return ", ".join(f"{count} {verb}" for verb, count in counts.items())
