"""All SQL lies in `sql/queries/`, and every statement there stays inside one tenant or says aloud why it cannot."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.gateways.queries import SQL_DIR, load_queries
from tests.architecture.sql_tree import NotFiltered
from tests.architecture.tenant_filters import check_statement

ROOT = SQL_DIR.parent
CODE = ("handlers", "stages", "shared", "schemas", "infra")
MIGRATION_TOOL = {"shared/gateways/migration_journal.py"}
"""Its table, `schema_migrations`, belongs to the database and to no tenant."""

ACROSS_TENANTS = {
    "backfill.due_tenants",  # the scheduled reconciliation serves every customer
    "tenants.by_route",  # a webhook names a company or an address; the answer is the tenant
    "tenants.list_tenants",  # the operator's list of customers
    "sweep.sweep_tenants",  # the sweeper visits every tenant in turn
    "dead_letters.tenants_with_letters",  # operators look after all tenants' letters, then ask tenant by tenant
    "replays.find_job",  # an operator names a replay by its id
    "replays.recent_jobs",  # the operators' list of replays
    "replays.live_times",  # a replay must not slow down the calls of neighbours, who share its workers
    "tenants.route_owners",  # a company may belong to one tenant only
    "story.tenants_of",  # `pipeline why` may be given nothing but an id
}
_ACROSS = re.compile(r"^-- across tenants: \S.{9,}$", re.MULTILINE)


def statements() -> Iterator[tuple[str, str]]:
    for path in sorted((SQL_DIR / "queries").glob("*.sql")):
        for name, sql in load_queries(path.stem).items():
            yield f"{path.stem}.{name}", sql


def sources() -> Iterator[Path]:
    for folder in CODE:
        yield from sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize(("name", "sql"), [pytest.param(name, sql, id=name) for name, sql in statements()])
def test_a_statement_filters_on_its_tenant_or_is_a_known_exception(name: str, sql: str) -> None:
    if _ACROSS.search(sql):
        assert name in ACROSS_TENANTS, f"{name} reads across tenants; if it must, add it to ACROSS_TENANTS here"
        return
    try:
        check_statement(sql)
    except NotFiltered as refused:
        pytest.fail(f"{name}: {refused}")


def test_every_exception_exists_and_is_marked() -> None:
    marked = {name for name, sql in statements() if _ACROSS.search(sql)}

    assert marked == ACROSS_TENANTS


def test_no_exception_hides_a_statement_that_needs_none() -> None:
    for name, sql in statements():
        if name in ACROSS_TENANTS:
            with pytest.raises(NotFiltered):
                check_statement(sql)


# --- SQL outside sql/ -------------------------------------------------------------------------------

TABLES = sorted(
    set(re.findall(r"^CREATE TABLE (?:IF NOT EXISTS )?(\w+)", (SQL_DIR / "schema.sql").read_text(), re.MULTILINE))
)
_OUR_SQL = re.compile(
    rf"\b(?:FROM|JOIN|INTO|UPDATE|DELETE|INSERT)\s+`?(?:{'|'.join(TABLES)})\b"
    rf"|\b(?:select|insert|update|delete)\b[^'\"]*\b(?:from|into)\s+`?(?:{'|'.join(TABLES)})\b[^'\"]*\bwhere\b"
)
_EXECUTES = {"execute_sql", "execute_update", "execute_partitioned_dml", "partitioned_update", "batch_update"}


def sql_outside(source: str) -> list[str]:
    """What in a module is SQL of our tables, SQL text handed to the client, or a read of a whole table."""
    tree = ast.parse(source)
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    found = [
        f"line {node.lineno}: SQL text"
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in docstrings
        and _OUR_SQL.search(node.value)
    ]
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if called in _EXECUTES and any(_is_sql_text(argument) for argument in node.args[:1]):
            found.append(f"line {node.lineno}: SQL text given to {called}")
        if called == "KeySet" and any(keyword.arg == "all_" for keyword in node.keywords):
            found.append(f"line {node.lineno}: a read of all keys crosses tenants")
    return found


def _is_sql_text(node: ast.expr) -> bool:
    """A literal, a formatted or a concatenated string. A literal without FROM (`SELECT 1`) touches no table."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str) and " from " in f" {node.value.lower()} "
    return isinstance(node, ast.JoinedStr | ast.BinOp)


def test_no_module_holds_sql_of_its_own() -> None:
    found = {
        str(path.relative_to(ROOT)): lines
        for path in sources()
        if str(path.relative_to(ROOT)) not in MIGRATION_TOOL and (lines := sql_outside(path.read_text()))
    }

    assert found == {}


@pytest.mark.parametrize(
    "source",
    [
        'x = "SELECT call_id FROM call_records WHERE tenant_id = @tenant_id"',
        'x = f"SELECT {column} FROM tenants"',
        'x = ("UPDATE stage_runs " "SET state = @state")',
        'x = """\nselect a\nfrom tenants where x = 1"""',
        'snapshot.execute_sql("SELECT a FROM somewhere")',
        'snapshot.execute_sql(f"SELECT {a}")',
        'transaction.execute_update("DELETE " + table)',
        'database.execute_partitioned_dml(f"DELETE FROM {table} WHERE TRUE")',
        "snapshot.read(table, columns, KeySet(all_=True))",
    ],
)
def test_the_search_finds_sql_in_code(source: str) -> None:
    assert sql_outside(source)


@pytest.mark.parametrize(
    "source",
    [
        '"""Reads FROM tenants and says so in its docstring."""',
        'raise Error("the update of tenants failed")',
        'snapshot.execute_sql(query("tenants", "by_id"), params=params)',
        'snapshot.execute_sql("SELECT 1")',
        'soql = "SELECT Id FROM Lead WHERE Phone = :phone"',
        "snapshot.read(table, columns, KeySet(keys=[key]))",
    ],
)
def test_the_search_leaves_other_text_alone(source: str) -> None:
    assert sql_outside(source) == []


# --- the checker itself -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a FROM calls WHERE tenant_id = @tenant_id AND call_id = @call_id",
        "SELECT a FROM calls WHERE @tenant_id = tenant_id",
        "SELECT a FROM calls AS c WHERE (c.tenant_id = @tenant_id) AND (c.a = 1 OR c.b = 2) LIMIT @n",
        "SELECT a FROM calls@{FORCE_INDEX=x} c WHERE c.tenant_id = @tenant_id",
        "SELECT 1",
        "SELECT a FROM x JOIN y ON y.tenant_id = x.tenant_id AND y.id = x.id WHERE x.tenant_id = @tenant_id",
        "SELECT a FROM x JOIN y USING (tenant_id, id) WHERE x.tenant_id = @tenant_id",
        "SELECT a FROM x LEFT JOIN y ON y.tenant_id = @tenant_id AND y.id = x.id WHERE x.tenant_id = @tenant_id",
        "SELECT a FROM x, y WHERE x.tenant_id = @tenant_id AND y.tenant_id = x.tenant_id",
        "SELECT a, ARRAY(SELECT b FROM y WHERE y.tenant_id = x.tenant_id) FROM x WHERE x.tenant_id = @tenant_id",
        "SELECT a FROM x WHERE tenant_id = @tenant_id AND id IN (SELECT id FROM y WHERE y.tenant_id = @tenant_id)",
        "SELECT a FROM x WHERE tenant_id = @tenant_id AND id IN UNNEST(@ids)",
        "SELECT a FROM (SELECT a FROM x WHERE tenant_id = @tenant_id) AS s",
        "WITH s AS (SELECT a FROM x WHERE tenant_id = @tenant_id) SELECT a FROM s",
        "SELECT a FROM x WHERE tenant_id = @tenant_id UNION ALL SELECT a FROM y WHERE tenant_id = @tenant_id",
        "UPDATE x SET a = 1 WHERE tenant_id = @tenant_id AND b = 2",
        "UPDATE x SET a = 1 WHERE tenant_id = @tenant_id THEN RETURN a",
        "DELETE FROM x WHERE tenant_id = @tenant_id",
        "INSERT INTO x (tenant_id, a) VALUES (@tenant_id, @a)",
        "INSERT OR IGNORE INTO x (a, tenant_id) VALUES (@a, @tenant_id) THEN RETURN a",
        "INSERT INTO x (tenant_id, a) SELECT tenant_id, @a FROM tenants WHERE tenant_id = @tenant_id",
    ],
)
def test_a_statement_that_stays_inside_passes(sql: str) -> None:
    check_statement(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a FROM calls",
        "SELECT a FROM calls WHERE call_id = @call_id",
        "SELECT a FROM calls WHERE tenant_id = @tenant_id OR call_id = @call_id",
        "SELECT a FROM calls WHERE NOT tenant_id = @tenant_id",
        "SELECT a FROM calls WHERE NOT (tenant_id = @tenant_id)",
        "SELECT a FROM calls WHERE tenant_id != @tenant_id",
        "SELECT a FROM calls WHERE tenant_id = @other_tenant",
        "SELECT a FROM calls WHERE tenant_id = tenant_id",
        "SELECT a FROM calls WHERE tenant_id = 'acme'",
        "SELECT a FROM calls WHERE a = 'tenant_id = @tenant_id'",
        "SELECT a FROM calls -- WHERE tenant_id = @tenant_id",
        "SELECT a FROM calls WHERE (tenant_id = @tenant_id OR TRUE)",
        "SELECT a FROM calls WHERE tenant_id = @tenant_id = FALSE",
        "SELECT a FROM calls WHERE IF(tenant_id = @tenant_id, TRUE, TRUE)",
        "SELECT tenant_id = @tenant_id FROM calls",
        "SELECT a FROM calls ORDER BY tenant_id = @tenant_id",
        "SELECT a FROM x JOIN y ON y.id = x.id WHERE x.tenant_id = @tenant_id",
        "SELECT a FROM x JOIN y ON y.id = x.id WHERE tenant_id = @tenant_id",
        "SELECT a FROM x, y WHERE x.tenant_id = @tenant_id",
        "SELECT a FROM x JOIN y USING (id) WHERE x.tenant_id = @tenant_id",
        "SELECT a FROM x LEFT JOIN y ON x.tenant_id = @tenant_id AND y.tenant_id = @tenant_id",
        "SELECT a FROM x LEFT JOIN y ON y.tenant_id = x.tenant_id AND y.tenant_id = @tenant_id",
        "SELECT a FROM x RIGHT JOIN y ON y.tenant_id = x.tenant_id WHERE x.tenant_id = @tenant_id",
        "SELECT a FROM x CROSS JOIN y WHERE y.tenant_id = @tenant_id",
        "SELECT a, (SELECT MAX(b) FROM y WHERE y.id = x.id) FROM x WHERE x.tenant_id = @tenant_id",
        "SELECT a, ARRAY(SELECT b FROM y) FROM x WHERE x.tenant_id = @tenant_id",
        "SELECT a FROM x WHERE tenant_id = @tenant_id AND EXISTS (SELECT 1 FROM y WHERE y.id = x.id)",
        "SELECT a FROM (SELECT a, tenant_id FROM x) AS s WHERE s.tenant_id = @tenant_id",
        "WITH s AS (SELECT a FROM x) SELECT a FROM s",
        "SELECT a FROM x WHERE tenant_id = @tenant_id UNION ALL SELECT a FROM y",
        "SELECT a FROM x, UNNEST(@rows) AS r WHERE x.tenant_id = r.tenant_id",
        "UPDATE x SET a = 1 WHERE TRUE",
        "UPDATE x SET a = 1 WHERE a = 2 OR tenant_id = @tenant_id",
        "UPDATE x SET tenant_id = @other WHERE tenant_id = @tenant_id",
        "UPDATE x SET a = (SELECT b FROM y WHERE y.id = 1) WHERE tenant_id = @tenant_id",
        "DELETE FROM x WHERE TRUE",
        "INSERT INTO x (a) VALUES (@a)",
        "INSERT INTO x (tenant_id, a) VALUES (@other, @a)",
        "INSERT INTO x (tenant_id, a) VALUES (@tenant_id, @a), (@other, @a)",
        "INSERT INTO x (tenant_id, a) VALUES (@tenant_id, (SELECT b FROM y))",
        "INSERT INTO x (tenant_id, a) SELECT @other, a FROM y WHERE tenant_id = @tenant_id",
        "INSERT INTO x (tenant_id, a) SELECT tenant_id, a FROM y",
        "DROP TABLE x",
        "SELECT a FROM x WHERE tenant_id = @tenant_id; SELECT a FROM y",
        "",
    ],
)
def test_a_statement_that_could_reach_another_tenant_is_refused(sql: str) -> None:
    with pytest.raises(NotFiltered):
        check_statement(sql)
