"""The statement splitter, the marker lines, and what the product's own migrations must keep to."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import ConfigurationError
from shared.gateways.migration_files import (
    Migration,
    Statement,
    load_migrations,
    load_rollback,
    split_statements,
)
from shared.gateways.queries import SQL_DIR


def split(sql: str) -> list[Statement]:
    return list(split_statements(sql, "001_test.sql"))


def texts(sql: str) -> list[str]:
    return [statement.text for statement in split(sql)]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("CREATE TABLE a;\nDROP TABLE b;\n", ["CREATE TABLE a", "DROP TABLE b"]),
        ("CREATE TABLE a", ["CREATE TABLE a"]),
        ("CREATE a DEFAULT ('x;y');DROP b", ["CREATE a DEFAULT ('x;y')", "DROP b"]),
        ("CREATE a DEFAULT ('it\\'s;');DROP b;", ["CREATE a DEFAULT ('it\\'s;')", "DROP b"]),
        ('CREATE a DEFAULT ("--;");', ['CREATE a DEFAULT ("--;")']),
        ('CREATE a DEFAULT ("""a "quoted"; b""");', ['CREATE a DEFAULT ("""a "quoted"; b""")']),
        ("CREATE a DEFAULT ('''a 'quoted';\nb''');", ["CREATE a DEFAULT ('''a 'quoted';\nb''')"]),
        ('CREATE a DEFAULT ("");DROP b;', ['CREATE a DEFAULT ("")', "DROP b"]),
        ("CREATE TABLE `odd;name`;", ["CREATE TABLE `odd;name`"]),
        ("-- one; two\nCREATE TABLE a; -- tail; text\n", ["CREATE TABLE a"]),
        ("/* a; 'b */ CREATE TABLE a;", ["CREATE TABLE a"]),
        ("# shell; comment\nCREATE TABLE a;", ["CREATE TABLE a"]),
        ("CREATE TABLE a ( -- why\n  -- a line\n  x INT64\n);", ["CREATE TABLE a (\n  x INT64\n)"]),
        ("CREATE a CHECK (x - 1 > 4 / 2);", ["CREATE a CHECK (x - 1 > 4 / 2)"]),
    ],
)
def test_a_file_is_cut_at_its_semicolons_only(sql: str, expected: list[str]) -> None:
    assert [" ".join(text.split(" ")).strip() for text in texts(sql)] == expected


@given(st.lists(st.text(alphabet=";'\"`-/#\\ a\n"), min_size=1, max_size=4))
def test_whatever_stands_in_a_string_never_cuts_a_statement(values: list[str]) -> None:
    statements = [f"ALTER TABLE a SET DEFAULT ({_quoted(value)})" for value in values]

    assert len(split(";\n".join(statements) + ";")) == len(values)


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"'{escaped}'"


def test_numbers_and_lines_point_into_the_file() -> None:
    first, second = split("-- head\nCREATE TABLE a;\n\n-- next\nCREATE TABLE\n  b;\n")

    assert (first.number, first.line, second.number, second.line) == (1, 2, 2, 5)
    assert second.headline == "CREATE TABLE"
    assert second.source == "-- next\nCREATE TABLE\n  b"


def test_a_marker_applies_to_the_next_statement_only() -> None:
    marked = [item.spanner_only for item in split("CREATE a;\n-- only: spanner\n-- why\nCREATE b;\nCREATE c;")]

    assert marked == [False, True, False]


def test_a_marker_can_hold_for_the_whole_file() -> None:
    assert all(item.spanner_only for item in split("-- only: spanner (whole file)\nCREATE a;\nCREATE b;"))


@pytest.mark.parametrize(
    ("sql", "complaint"),
    [
        ("-- only: spaner\nCREATE a;", "line 1: unknown marker"),
        ("CREATE a (\n-- only: spanner\n);", "line 2: the marker stands inside a statement"),
        ("CREATE a;\n-- only: spanner\n", "with no statement after it"),
        ("CREATE a DEFAULT ('x);", "line 1: the ' opened here is never closed"),
        ("CREATE a;\n/* never ends", "line 2: the /\\* opened here is never closed"),
        ('CREATE a DEFAULT ("""x");', "is never closed"),
        ("CREATE a;;", "a semicolon without a statement"),
        ("CREATE a;\nUPDATE a SET b = 1 WHERE TRUE;", "line 2: UPDATE is not DDL"),
    ],
)
def test_a_careless_file_is_refused_with_its_line(sql: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        split(sql)


def test_the_checksum_covers_statements_and_markers_but_not_comments() -> None:
    def checksum(sql: str, count: int | None = None) -> str:
        return Migration(1, "001_test", tuple(split(sql))).checksum(count)

    plain = checksum("CREATE a;\nCREATE b;")
    assert checksum("-- why\nCREATE a;\nCREATE b; -- tail") == plain
    assert checksum("CREATE a;\nCREATE c;") != plain
    assert checksum("-- only: spanner\nCREATE a;\nCREATE b;") != plain
    assert checksum("CREATE a;\nCREATE c;", 1) == checksum("CREATE a;\nCREATE b;", 1)


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (["1_short.sql"], "1_short.sql is not named like a migration"),
        (["001_one.sql", "001_other.sql"], "have the same number"),
        (["001_Upper.sql"], "is not named like a migration"),
    ],
)
def test_stray_files_are_refused(tmp_path: Path, names: list[str], complaint: str) -> None:
    for name in names:
        (tmp_path / name).write_text("CREATE TABLE a (x INT64) PRIMARY KEY (x);")

    with pytest.raises(ConfigurationError, match=complaint):
        load_migrations(tmp_path)


def test_a_migration_without_statements_or_rollback_is_refused(tmp_path: Path) -> None:
    (tmp_path / "001_empty.sql").write_text("-- nothing\n")
    with pytest.raises(ConfigurationError, match="holds no statement"):
        load_migrations(tmp_path)

    with pytest.raises(ConfigurationError, match=r"sql/rollback/001_empty\.sql does not exist"):
        load_rollback(Migration(1, "001_empty", ()), tmp_path)


# --- the product's own files ------------------------------------------------------------------------

GRANT = re.compile(
    r"^(GRANT|REVOKE)\s+(?P<what>.+?)\s+ON TABLE\s+(?P<tables>.+?)\s+(?:TO|FROM) ROLE\s+(?P<roles>.+)$", re.DOTALL
)
PRIVILEGE = re.compile(r"(SELECT|INSERT|UPDATE|DELETE)\s*(?:\(([^)]*)\))?")


def columns_by_table() -> dict[str, set[str]]:
    """From the migrations' CREATE TABLE statements."""
    found: dict[str, set[str]] = {}
    for migration in load_migrations():
        for statement in migration.statements:
            if match := re.match(r"CREATE TABLE (\w+) \(\n(.*)\n\) PRIMARY KEY", statement.text, re.DOTALL):
                lines = [line.split() for line in match[2].splitlines()]
                found[match[1]] = {line[0] for line in lines if line[0].islower()}
    return found


def isolation() -> Migration:
    return next(item for item in load_migrations() if item.name == "002_tenant_isolation")


def parts(migration: Migration, verb: str) -> list[tuple[str, str, str, frozenset[str]]]:
    """Every (privilege, table, role, columns) that the file grants or revokes."""
    found = []
    for statement in migration.statements:
        if not statement.text.startswith(verb):
            continue
        match = GRANT.match(statement.text)
        assert match, statement.text
        for privilege, columns in PRIVILEGE.findall(match["what"]):
            chosen = frozenset(columns.replace(",", " ").split())
            found += [
                (privilege, table, role, chosen)
                for table in match["tables"].replace(",", " ").split()
                for role in match["roles"].replace(",", " ").split()
            ]
    return found


def test_every_migration_has_its_rollback_and_the_numbers_have_no_gap() -> None:
    migrations = load_migrations()

    assert [item.version for item in migrations] == list(range(1, len(migrations) + 1))
    for migration in migrations:
        assert load_rollback(migration).statements
    assert {path.name for path in (SQL_DIR / "rollback").glob("*.sql")} == {item.file_name for item in migrations}


def test_each_table_starts_with_the_tenant_and_lies_inside_tenants() -> None:
    for statement in load_migrations()[0].statements:
        assert re.search(r"PRIMARY KEY \(tenant_id\b", statement.text), statement.headline
        if statement.headline != "CREATE TABLE tenants":
            assert "INTERLEAVE IN PARENT" in statement.text, statement.headline


def test_there_is_one_role_for_each_service() -> None:
    services = json.loads((SQL_DIR.parent / "infra" / "pipeline.json").read_text())["services"]
    roles = [item.text.split()[2] for item in isolation().statements if item.text.startswith("CREATE ROLE")]

    assert sorted(roles) == sorted(services)
    assert {role for _, _, role, _ in parts(isolation(), "GRANT")} == set(services)


def test_grants_name_tables_and_columns_that_exist() -> None:
    known = columns_by_table()
    assert len(known) >= 11
    for privilege, table, _, columns in parts(isolation(), "GRANT"):
        assert table in known, table
        assert columns <= known[table], (privilege, table, columns - known[table])


def test_the_rollback_revokes_every_grant_before_it_drops_the_roles() -> None:
    rollback = load_rollback(isolation())
    verbs = [item.text.split()[0] for item in rollback.statements]

    assert sorted(parts(rollback, "REVOKE"), key=str) == sorted(parts(isolation(), "GRANT"), key=str)
    assert verbs == sorted(verbs, reverse=True)  # REVOKE … then DROP …
    dropped = {item.text.split()[2] for item in rollback.statements if item.text.startswith("DROP ROLE")}
    assert dropped == {item.text.split()[2] for item in isolation().statements if item.text.startswith("CREATE ROLE")}


def test_every_statement_about_roles_is_marked_for_real_spanner_only() -> None:
    for migration in load_migrations():
        for item in (*migration.statements, *load_rollback(migration).statements):
            about_roles = re.match(r"(CREATE|DROP) ROLE|GRANT|REVOKE", item.text) is not None
            assert item.spanner_only == about_roles, (migration.file_name, item.headline)


def test_the_receiver_reads_tenants_and_nothing_else() -> None:
    granted = [(privilege, table) for privilege, table, role, _ in parts(isolation(), "GRANT") if role == "webhook"]

    assert sorted(granted) == [("SELECT", "tenant_routes"), ("SELECT", "tenants")]


def test_the_crm_stage_cannot_learn_where_audio_is() -> None:
    for privilege, table, role, columns in parts(isolation(), "GRANT"):
        if role == "crm_sync" and table == "call_records":
            assert privilege == "SELECT"
            assert columns
            assert "recording" not in columns


def test_nobody_deletes_and_nobody_edits_the_audit_log_or_the_ledger() -> None:
    for privilege, table, role, _ in parts(isolation(), "GRANT"):
        assert privilege != "DELETE", (table, role)
        assert not (privilege == "UPDATE" and table in {"audit_log", "usage_ledger"}), (table, role)
