"""Every table that holds a caller's data is emptied by Spanner itself: by its own policy, or with its parent."""

from __future__ import annotations

import re

import pytest

from shared.gateways.queries import SQL_DIR
from shared.retention import TABLES
from tests.architecture.sql_columns import columns_of_tables

KEPT = {
    "tenants": "the customer's own name and settings; removed when it leaves",
    "tenant_routes": "ids of companies and addresses",
    "tenant_keysets": "wrapped keys; their removal is what makes the rest unreadable",
    "crm_integrations": "states of connections",
    "vendor_circuits": "states of connections; details are masked",
    "audit_log": "who did what; names calls and letters, never callers",
    "schema_migrations": "files",
}
"""Tables that name no caller, and why they stay."""
_POLICY = re.compile(
    r"(?:CREATE TABLE|ALTER TABLE) (?P<table>\w+)[^;]*?ROW DELETION POLICY \(OLDER_THAN\((?P<column>\w+), ", re.DOTALL
)
_PARENT = re.compile(
    r"CREATE TABLE (?:IF NOT EXISTS )?(?P<table>\w+)[^;]*?INTERLEAVE IN PARENT (?P<parent>\w+) ON DELETE CASCADE",
    re.DOTALL,
)


def schema() -> str:
    return (SQL_DIR / "schema.sql").read_text(encoding="utf-8")


def unprotected(sql: str, tables: set[str]) -> set[str]:
    """Tables that neither have a policy nor go with a parent that has one."""
    policies = {match["table"] for match in _POLICY.finditer(sql)}
    parents = {match["table"]: match["parent"] for match in _PARENT.finditer(sql)}

    def is_emptied(table: str) -> bool:
        return table in policies or (table in parents and is_emptied(parents[table]))

    return {table for table in tables if not is_emptied(table)}


def test_every_table_with_a_callers_data_is_emptied_by_spanner() -> None:
    assert unprotected(schema(), set(columns_of_tables())) == set(KEPT) & set(columns_of_tables())


@pytest.mark.parametrize("table", TABLES)
def test_a_tables_last_policy_goes_by_the_time_in_each_row(table: str) -> None:
    last = [match["column"] for match in _POLICY.finditer(schema()) if match["table"] == table][-1]

    assert last == {"dead_letters": "kept_until"}.get(table, "expires_at")
    assert re.search(rf"{table} REPLACE ROW DELETION POLICY \(OLDER_THAN\({last}, INTERVAL 0 DAY\)\)", schema())


def test_a_new_table_without_a_policy_is_found() -> None:
    """The reader above, attacked: no policy, a policy of a neighbour, a parent that stays."""
    sql = """
    CREATE TABLE a (x INT64) PRIMARY KEY (x);
    CREATE TABLE b (x INT64) PRIMARY KEY (x), ROW DELETION POLICY (OLDER_THAN(x, INTERVAL 1 DAY));
    CREATE TABLE c (x INT64) PRIMARY KEY (x), INTERLEAVE IN PARENT b ON DELETE CASCADE;
    CREATE TABLE d (x INT64) PRIMARY KEY (x), INTERLEAVE IN PARENT b ON DELETE NO ACTION;
    CREATE TABLE e (x INT64) PRIMARY KEY (x), INTERLEAVE IN PARENT a ON DELETE CASCADE;
    """

    assert unprotected(sql, {"a", "b", "c", "d", "e"}) == {"a", "d", "e"}
