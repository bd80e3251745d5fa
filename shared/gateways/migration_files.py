"""Reads the numbered migrations in `sql/` into statements: `NNN_name.sql`, undone by `rollback/NNN_name.sql`.

A comment line `-- only: spanner` marks the statement after it as one that the emulator does not know;
`-- only: spanner (whole file)` marks every statement of its file.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from shared.errors import ConfigurationError
from shared.gateways.queries import SQL_DIR

SCHEMA_FILE = "schema.sql"
_FILE_NAME = re.compile(r"^(?P<version>\d{3})_[a-z0-9_]+\.sql$")
_DDL_VERBS = frozenset({"CREATE", "ALTER", "DROP", "GRANT", "REVOKE", "RENAME", "ANALYZE"})
_MARKER = re.compile(r"^(?:--|\#)\s*only\s*:\s*(?P<where>.*?)\s*$", re.IGNORECASE)
_HEADLINE_LENGTH = 90

# GoogleSQL's lexical structure, as far as a `;` can hide in it. `open` is a quote or comment that never closes.
_TOKEN = re.compile(
    r'''
      (?P<comment> --[^\n]* | \#[^\n]* | /\*.*?\*/ )
    | (?P<quoted>  """(?:\\.|[^\\])*?""" | \'\'\'(?:\\.|[^\\])*?\'\'\'
                 | (?!""")"(?:\\.|[^"\\\n])*" | (?!\'\'\')'(?:\\.|[^'\\\n])*' | `(?:\\.|[^`\\\n])*` )
    | (?P<end>     ; )
    | (?P<open>    /\* | ["'`] )
    | (?P<text>    [^;"'`/\-\#]+ | . )
    ''',
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True)
class Statement:
    """One DDL statement. `text` is what Spanner is sent, `source` what the file says, comments included."""

    number: int
    line: int
    text: str
    source: str
    spanner_only: bool

    @property
    def headline(self) -> str:
        """The first line, short enough for a terminal."""
        first = self.text.splitlines()[0].rstrip(" (")
        return first if len(first) <= _HEADLINE_LENGTH else first[: _HEADLINE_LENGTH - 1] + "…"


@dataclass(frozen=True)
class Migration:
    """A numbered file. `name` is the file's name without `.sql`."""

    version: int
    name: str
    statements: tuple[Statement, ...]

    @property
    def file_name(self) -> str:
        return f"{self.name}.sql"

    def checksum(self, count: int | None = None) -> str:
        """SHA-256 of the first `count` statements (all by default). Comments do not count: they may be mended."""
        parts = [f"{statement.spanner_only}\x1e{statement.text}" for statement in self.statements[:count]]
        return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()


def load_migrations(directory: Path = SQL_DIR) -> tuple[Migration, ...]:
    """Every migration, in order. Raises `ConfigurationError` for a stray name, a number used twice, unreadable SQL."""
    migrations: dict[int, Migration] = {}
    for path in sorted(directory.glob("*.sql")):
        if path.name == SCHEMA_FILE:
            continue
        match = _FILE_NAME.match(path.name)
        if match is None:
            raise ConfigurationError(
                "bad_migration_name",
                f"{path.name} is not named like a migration",
                fix="call it NNN_what_it_does.sql: three digits, then lower-case letters, digits and underscores",
            )
        version = int(match["version"])
        if version in migrations:
            raise ConfigurationError(
                "migration_number_taken",
                f"{path.name} and {migrations[version].file_name} have the same number",
                fix="give the newer one the next free number",
            )
        migrations[version] = _read(path, version)
    return tuple(migrations[version] for version in sorted(migrations))


def load_rollback(migration: Migration, directory: Path = SQL_DIR) -> Migration:
    """The statements that undo a migration. Raises `ConfigurationError` when it has none."""
    path = directory / "rollback" / migration.file_name
    if not path.is_file():
        raise ConfigurationError(
            "no_rollback",
            f"{migration.file_name} cannot be rolled back: sql/rollback/{migration.file_name} does not exist",
            fix="write the statements that undo it",
        )
    return _read(path, migration.version)


def _read(path: Path, version: int) -> Migration:
    statements = tuple(split_statements(path.read_text(encoding="utf-8"), path.name))
    if not statements:
        raise ConfigurationError("empty_migration", f"{path.name} holds no statement", fix="remove the file")
    return Migration(version, path.stem, statements)


@dataclass
class _Draft:
    """The statement being read."""

    text: list[str] = field(default_factory=list)
    source: list[str] = field(default_factory=list)
    spanner_only: bool = False
    line: int = 0

    @property
    def has_text(self) -> bool:
        return self.line > 0

    def finish(self, number: int) -> Statement:
        lines = (line.rstrip() for line in "".join(self.text).splitlines())
        return Statement(
            number=number,
            line=self.line,
            text="\n".join(line for line in lines if line),
            source="".join(self.source).strip(),
            spanner_only=self.spanner_only,
        )


def split_statements(sql: str, file_name: str) -> Iterator[Statement]:
    """Cut a file at its semicolons, minding strings, quoted names and comments.

    Raises `ConfigurationError` (file and line) for a quote or comment that never closes, an unknown or misplaced
    `-- only:` marker, and anything but DDL.
    """
    whole_file = any(
        token.lastgroup == "comment" and _only(token.group(), file_name, line) == "file" for token, line in _tokens(sql)
    )
    number, draft = 0, _Draft(spanner_only=whole_file)
    for token, line in _tokens(sql):
        text = token.group()
        if token.lastgroup == "open":
            raise _bad(file_name, line, f"the {text} opened here is never closed")
        if token.lastgroup == "end":
            if not draft.has_text:
                raise _bad(file_name, line, "a semicolon without a statement")
            number += 1
            yield _checked(draft.finish(number), file_name)
            draft = _Draft(spanner_only=whole_file)
        elif token.lastgroup == "comment":
            _take_comment(draft, text, file_name, line)
        else:
            draft.text.append(text)
            draft.source.append(text)
            if not draft.has_text and text.strip():
                draft.line = line + _leading_newlines(text)
    if draft.has_text:
        yield _checked(draft.finish(number + 1), file_name)
    elif draft.spanner_only and not whole_file:
        raise _bad(file_name, sql.count("\n") + 1, "a marker '-- only: spanner' with no statement after it")


def _tokens(sql: str) -> Iterator[tuple[re.Match[str], int]]:
    line = 1
    for token in _TOKEN.finditer(sql):
        yield token, line
        line += token.group().count("\n")


def _leading_newlines(text: str) -> int:
    return text[: len(text) - len(text.lstrip())].count("\n")


def _take_comment(draft: _Draft, comment: str, file_name: str, line: int) -> None:
    only = _only(comment, file_name, line)
    if only and draft.has_text:
        raise _bad(file_name, line, "the marker stands inside a statement; put it on the line before")
    if only:
        draft.spanner_only = True
    else:
        draft.source.append(comment)


def _only(comment: str, file_name: str, line: int) -> str:
    """What a marker applies to: "statement", "file", or nothing when the comment is no marker."""
    match = _MARKER.match(comment)
    if match is None:
        return ""
    where = {"spanner": "statement", "spanner (whole file)": "file"}.get(match["where"].lower())
    if where is None:
        raise _bad(
            file_name, line, f"unknown marker {comment!r}; use '-- only: spanner' or '-- only: spanner (whole file)'"
        )
    return where


def _checked(statement: Statement, file_name: str) -> Statement:
    verb = statement.text.split(None, 1)[0].upper()
    if verb not in _DDL_VERBS:
        raise _bad(
            file_name,
            statement.line,
            f"{verb} is not DDL; a migration changes the schema only, data is moved by the application's code",
        )
    return statement


def _bad(file_name: str, line: int, what: str) -> ConfigurationError:
    return ConfigurationError("bad_migration", f"{file_name}, line {line}: {what}", fix="correct the file")
