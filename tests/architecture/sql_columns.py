"""Which columns a statement reads and writes, as Spanner's fine-grained access control counts them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from shared.gateways.migration_files import load_migrations
from tests.architecture.sql_tree import Node, NotFiltered, is_query, split, tree, upper

_SET_OPERATORS = ("UNION", "INTERSECT", "EXCEPT")
_FROM_WORDS = ("FROM", "JOIN")
_AFTER_FROM = ("WHERE", "GROUP", "HAVING", "ORDER", "LIMIT", "SELECT")
_NO_ALIAS = ("ON", "USING", "JOIN", "LEFT", "INNER", "CROSS", "WHERE", "GROUP", "HAVING", "ORDER", "LIMIT", ",", ")")

Scope = Mapping[str, str]
"""Alias → table, of one query block."""


class Touch(NamedTuple):
    """One privilege that a statement needs. `column` is empty for DELETE, which is granted on whole tables."""

    privilege: str
    table: str
    column: str


def columns_of_tables() -> dict[str, frozenset[str]]:
    """Every table's columns after all migrations."""
    found: dict[str, set[str]] = {}
    for statement in (item.text for migration in load_migrations() for item in migration.statements):
        if match := re.match(r"CREATE TABLE (\w+) \(\n(.*)\n\) PRIMARY KEY", statement, re.DOTALL):
            lines = (line.split() for line in match[2].splitlines())
            found[match[1]] = {line[0] for line in lines if line and re.fullmatch(r"[a-z_]+", line[0])}
        elif match := re.match(r"ALTER TABLE (\w+) ADD COLUMN (?:IF NOT EXISTS )?(\w+)", statement):
            found[match[1]].add(match[2])
        elif match := re.match(r"ALTER TABLE (\w+) DROP COLUMN (\w+)", statement):
            found[match[1]].discard(match[2])
        elif match := re.match(r"DROP TABLE (\w+)", statement):
            del found[match[1]]
    return {table: frozenset(columns) for table, columns in found.items()}


def keys_of_tables() -> dict[str, tuple[str, ...]]:
    """Every table's primary key after all migrations; a read by key needs its columns too."""
    return {
        match[1]: tuple(match[2].split(", "))
        for migration in load_migrations()
        for item in migration.statements
        if (match := re.match(r"CREATE TABLE (\w+) \(\n.*\n\) PRIMARY KEY \(([\w, ]+)\)", item.text, re.DOTALL))
    }


class Reader:
    """Reads statements against one schema."""

    def __init__(self, tables: Mapping[str, frozenset[str]]) -> None:
        self._tables = tables

    def touches(self, sql: str) -> frozenset[Touch]:
        """Raises `NotFiltered` for a statement or a table that it does not know."""
        nodes = tree(sql)
        readers = {"SELECT": self._query, "UPDATE": self._update, "DELETE": self._delete, "INSERT": self._insert}
        verb = upper(nodes[0])
        if verb not in readers:
            raise NotFiltered(f"cannot read a statement that begins with {verb}")
        return frozenset(readers[verb](nodes))

    def _query(self, nodes: Sequence[Node], outer: tuple[Scope, ...] = ()) -> Iterator[Touch]:
        for block in split(nodes, *_SET_OPERATORS):
            yield from self._block(block, outer)

    def _block(self, nodes: Sequence[Node], outer: tuple[Scope, ...]) -> Iterator[Touch]:
        yield from self._expressions(nodes, (dict(self._sources(nodes)), *outer))

    def _sources(self, nodes: Sequence[Node]) -> Iterator[tuple[str, str]]:
        in_from = False
        for index, node in enumerate(nodes):
            word = upper(node)
            if word in _AFTER_FROM:
                in_from = False
            starts_source = word in _FROM_WORDS or (in_from and word == ",")
            in_from = in_from or word == "FROM"
            if not starts_source or isinstance(nodes[index + 1], list) or upper(nodes[index + 1]) == "UNNEST":
                continue
            table = str(nodes[index + 1])
            if table not in self._tables:
                raise NotFiltered(f"no table is called {table}")
            rest = [item for item in nodes[index + 2 : index + 4] if upper(item) != "AS"]
            has_alias = bool(rest) and isinstance(rest[0], str) and upper(rest[0]) not in _NO_ALIAS
            yield (str(rest[0]) if has_alias else table), table

    def _expressions(self, nodes: Sequence[Node], scopes: tuple[Scope, ...]) -> Iterator[Touch]:
        for index, node in enumerate(nodes):
            if isinstance(node, list):
                yield from self._query(node, scopes) if is_query(node) else self._expressions(node, scopes)
            elif index == 0 or upper(nodes[index - 1]) not in {"AS", "FROM", "JOIN"}:
                yield from self._column(node, scopes)

    def _column(self, word: str, scopes: tuple[Scope, ...]) -> Iterator[Touch]:
        alias, dot, column = word.rpartition(".")
        for scope in scopes:
            tables = [scope[alias]] if dot and alias in scope else [] if dot else list(scope.values())
            owners = [table for table in tables if column in self._tables[table]]
            if tables and dot and not owners:
                raise NotFiltered(f"no column is called {word}")
            if owners:
                yield from (Touch("SELECT", table, column) for table in owners)
                return

    def _update(self, nodes: Sequence[Node]) -> Iterator[Touch]:
        table, scope = self._target(nodes[1])
        assignments, *where = split(split(nodes, "SET")[1], "WHERE")
        for assignment in split(assignments, ","):
            yield self._write("UPDATE", table, str(assignment[0]))
            yield from self._expressions(assignment[1:], (scope,))
        yield from self._expressions(where[0], (scope,))

    def _delete(self, nodes: Sequence[Node]) -> Iterator[Touch]:
        table, scope = self._target(nodes[2])
        yield Touch("DELETE", table, "")
        yield from self._expressions(nodes[3:], (scope,))

    def _insert(self, nodes: Sequence[Node]) -> Iterator[Touch]:
        table, _ = self._target(nodes[2])
        columns = nodes[3]
        for part in split(columns, ","):
            yield self._write("INSERT", table, str(part[0]))
        if upper(nodes[4]) == "SELECT":
            yield from self._query(nodes[4:])

    def _target(self, node: Node) -> tuple[str, Scope]:
        table = str(node)
        if table not in self._tables:
            raise NotFiltered(f"no table is called {table}")
        return table, {table: table}

    def _write(self, privilege: str, table: str, column: str) -> Touch:
        if column not in self._tables[table]:
            raise NotFiltered(f"{table} has no column {column}")
        return Touch(privilege, table, column)
