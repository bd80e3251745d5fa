"""Each service's database role holds exactly what its SQL touches: too little stops calls, too much is no wall."""

from __future__ import annotations

import json
from functools import cache

import pytest

from shared.gateways.migration_files import load_migrations, load_rollback
from shared.gateways.queries import SQL_DIR, load_queries
from tests.architecture.grants import UnreadableGrant, as_grants, privileges
from tests.architecture.service_sql import STORES, recorded, stores_of_roles, touches_of
from tests.architecture.sql_columns import Reader, Touch, columns_of_tables
from tests.architecture.sql_tree import NotFiltered

SERVICES = tuple(json.loads((SQL_DIR.parent / "infra" / "pipeline.json").read_text(encoding="utf-8"))["services"])
TABLES = {
    "calls": frozenset({"tenant_id", "call_id", "secret", "score"}),
    "runs": frozenset({"tenant_id", "run_id", "state", "score"}),
}


@cache
def held() -> dict[str, frozenset[Touch]]:
    statements = [item.text for migration in load_migrations() for item in migration.statements]
    return privileges(statements, columns_of_tables())


@cache
def needed(role: str) -> frozenset[Touch]:
    return touches_of(role, Reader(columns_of_tables()))


# --- the product's own roles ------------------------------------------------------------------------


def test_every_service_has_one_role_and_opens_its_stores_in_it() -> None:
    assert set(held()) == set(SERVICES)
    assert set(stores_of_roles()) == set(SERVICES)


@pytest.mark.parametrize("role", SERVICES)
def test_a_service_holds_every_privilege_that_its_sql_needs(role: str) -> None:
    missing = needed(role) - held()[role]

    assert not missing, f"too little; a new migration has to say:\n{as_grants(role, missing)}"


@pytest.mark.parametrize("role", SERVICES)
def test_a_service_holds_no_privilege_that_its_sql_does_not_need(role: str) -> None:
    spare = held()[role] - needed(role)

    assert not spare, f"too much; a new migration has to revoke:\n{as_grants(role, spare)}"


def test_the_receiver_reads_two_tables_and_writes_none() -> None:
    assert {(touch.privilege, touch.table) for touch in held()["webhook"]} == {
        ("SELECT", "tenant_routes"),
        ("SELECT", "tenants"),
    }


def test_of_a_tenant_the_receiver_reads_two_columns() -> None:
    assert {touch.column for touch in held()["webhook"] if touch.table == "tenants"} == {"tenant_id", "intake"}


def test_only_the_first_two_stages_and_the_operator_learn_where_audio_lies() -> None:
    readers = {role for role, touches in held().items() if Touch("SELECT", "call_records", "recording") in touches}

    assert readers == {"download", "transcribe", "operator"}


def test_no_service_deletes_and_none_edits_the_audit_log_or_the_ledger() -> None:
    for role, touches in held().items():
        for privilege, table, _ in touches:
            assert privilege != "DELETE", role
            assert not (privilege == "UPDATE" and table in {"audit_log", "usage_ledger"}), role


def test_no_service_moves_a_row_to_another_tenant_by_dml() -> None:
    """`UPDATE … SET tenant_id` does not exist; mutations name the key, and Spanner changes no key."""
    statements = [spanner.statements for role in SERVICES for spanner in recorded(role)]

    assert not [sql for found in statements for sql, _ in found if "SET tenant_id" in sql]


def test_only_operators_write_the_request_of_a_rerun_and_read_circuits_without_changing_them() -> None:
    operator = {(touch.privilege, touch.table) for touch in held()["operator"]}

    assert ("SELECT", "vendor_circuits") in operator
    assert ("UPDATE", "vendor_circuits") not in operator


PEOPLE_ONLY = {
    "audit",  # the chaos run's audit of what is left
    "privacy",  # erasure and export
    "export",  # a tenant's own data, for a customer who leaves
    "retention",  # a changed setting, and the sweep
    "keys.replace_keyset",
    "keys.destroy_keysets",
    "tenants.show",
    "tenants.list_tenants",
    "tenants.route_owners",
    "tenants.routes_of",
    "tenants.integrations_of",
    "tenants.set_status",
    "tenants.forget_test",
    "calls.read_call",
    "calls.list_calls",
    "calls.call_story",
    "circuits.read_circuits",
    "backfill.finished_days",
    "backfill.clear_finished",
    "backfill.reports",
    "dead_letters.known_message",
}
"""Run by a person's own identity (`pipeline tenant`, `pipeline backfill`, tests), by no service."""


def test_every_statement_is_run_here_or_belongs_to_people() -> None:
    """A branch that these tests do not reach would hide what it needs."""
    ran = {sql for role in SERVICES for spanner in recorded(role) for sql, _ in spanner.statements}
    forgotten = {
        f"{path.stem}.{name}"
        for path in (SQL_DIR / "queries").glob("*.sql")
        for name, sql in load_queries(path.stem).items()
        if sql not in ran and path.stem not in PEOPLE_ONLY
    }

    assert forgotten == {name for name in PEOPLE_ONLY if "." in name}


def test_every_store_is_opened_by_some_service() -> None:
    assert {store for stores in stores_of_roles().values() for store in stores} == set(STORES)


def test_the_rollback_of_each_migration_restores_the_privileges_before_it() -> None:
    tables = columns_of_tables()
    before: list[str] = []
    for migration in load_migrations():
        texts = [item.text for item in migration.statements]
        back = [item.text for item in load_rollback(migration).statements]

        assert privileges([*before, *texts, *back], tables) == privileges(before, tables), migration.file_name

        before += texts


# --- the readers, attacked --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "touched"),
    [
        ("SELECT secret FROM calls WHERE tenant_id = @tenant_id", {("SELECT", "calls", "secret")}),
        ("SELECT c.secret FROM calls AS c", {("SELECT", "calls", "secret")}),
        ("SELECT 1 FROM runs AS r JOIN calls c ON c.secret = r.state", {("SELECT", "calls", "secret")}),
        ("SELECT (SELECT secret FROM calls) FROM runs", {("SELECT", "calls", "secret")}),
        ("SELECT state FROM runs UNION ALL SELECT secret FROM calls", {("SELECT", "calls", "secret")}),
        ("SELECT 1 FROM runs WHERE EXISTS (SELECT 1 FROM calls WHERE score = state)", {("SELECT", "runs", "state")}),
        ("UPDATE calls SET score = 1 WHERE TRUE", {("UPDATE", "calls", "score")}),
        ("UPDATE calls SET score = 1 WHERE secret = 'x'", {("SELECT", "calls", "secret")}),
        ("UPDATE calls SET score = LENGTH(secret) WHERE TRUE", {("SELECT", "calls", "secret")}),
        ("DELETE FROM calls WHERE secret = 'x'", {("DELETE", "calls", ""), ("SELECT", "calls", "secret")}),
        ("INSERT INTO runs (state) VALUES (@x)", {("INSERT", "runs", "state")}),
        ("INSERT INTO runs (state) SELECT secret FROM calls", {("SELECT", "calls", "secret")}),
        ("SELECT state FROM runs ORDER BY score", {("SELECT", "runs", "score")}),
    ],
)  # fmt: skip
def test_a_column_is_found_wherever_a_statement_hides_it(sql: str, touched: set[tuple[str, str, str]]) -> None:
    assert touched <= Reader(TABLES).touches(sql)


@pytest.mark.parametrize(
    "sql",
    ["SELECT x FROM elsewhere", "SELECT c.unknown FROM calls AS c", "UPDATE calls SET unknown = 1 WHERE TRUE",
     "DROP TABLE calls", "INSERT INTO calls (unknown) VALUES (1)"],
)  # fmt: skip
def test_a_statement_that_cannot_be_read_is_refused(sql: str) -> None:
    with pytest.raises(NotFiltered):
        Reader(TABLES).touches(sql)


def test_a_revoked_column_is_held_no_longer_and_a_whole_table_is_all_its_columns() -> None:
    listed = "GRANT SELECT (secret, score) ON TABLE calls TO ROLE a"
    revoked = "REVOKE SELECT (secret) ON TABLE calls FROM ROLE a"
    some = privileges(["CREATE ROLE a", listed, "GRANT INSERT ON TABLE calls TO ROLE a"], TABLES)
    less = privileges(["CREATE ROLE a", listed, revoked], TABLES)

    assert len(some["a"]) == 2 + len(TABLES["calls"])
    assert less["a"] == {Touch("SELECT", "calls", "score")}


@pytest.mark.parametrize(
    "statement",
    [
        "GRANT SELECT ON TABLE elsewhere TO ROLE a",
        "GRANT SELECT (unknown) ON TABLE calls TO ROLE a",
        "GRANT SELECT ON TABLE calls TO ROLE nobody",
        "GRANT ALL ON TABLE calls TO ROLE a",
        "GRANT DELETE (secret) ON TABLE calls TO ROLE a",
        "GRANT SELECT ON ALL TABLES TO ROLE a",
        "GRANT ROLE b TO ROLE a",
        "REVOKE SELECT ON TABLE calls FROM ROLE a",
        "REVOKE SELECT (secret) ON TABLE runs FROM ROLE a",
        "CREATE ROLE a",
        "DROP ROLE b",
    ],
)
def test_a_grant_that_spanner_would_refuse_or_that_says_too_much_is_refused(statement: str) -> None:
    with pytest.raises(UnreadableGrant):
        privileges(["CREATE ROLE a", statement], TABLES)
