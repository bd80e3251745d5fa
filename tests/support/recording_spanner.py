"""A stand-in for Spanner's client that keeps what it is asked: statements, and mutations with their columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from google.api_core.exceptions import AlreadyExists

from shared.gateways.queries import query
from tests.support.keys import keysets_of


@dataclass(frozen=True)
class Mutation:
    """One call of insert, update, insert_or_update or delete; `columns` is empty for delete."""

    verb: str
    table: str
    columns: tuple[str, ...]
    tenants: tuple[Any, ...]
    """Whose rows: `tenant_id` of each, the first part of a key."""


@dataclass(frozen=True)
class KeyedRead:
    """One read by primary keys."""

    table: str
    columns: tuple[str, ...]
    tenants: tuple[Any, ...]
    """Whose rows: the first part of each key."""


@dataclass
class RecordingSpanner:
    """Give an instance's `open` to a store. `rows` and `counts` are answers by statement; else no row, one changed.

    `keyed` answers reads by key: values by column, by table; columns left out are NULL, tables left out have no row.
    """

    rows: Mapping[str, Sequence[Sequence[Any]]] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    keyed: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    refuse_inserts: bool = False
    """The first blind commit finds its rows there already."""
    has_keysets: bool = True
    """Of every tenant; otherwise from the moment that they are inserted."""
    statements: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    mutations: list[Mutation] = field(default_factory=list)
    reads: list[KeyedRead] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._local = SimpleNamespace(transaction_running=False)
        self._sessions_manager = SimpleNamespace(_multiplexed_session=None)

    def open(self) -> Any:
        return self

    @contextmanager
    def snapshot(self) -> Iterator[RecordingSpanner]:
        yield self

    @contextmanager
    def batch(self, **_patience: Any) -> Iterator[RecordingSpanner]:
        yield self
        if self.refuse_inserts:
            self.refuse_inserts = False
            raise AlreadyExists("row is there")

    def run_in_transaction(self, work: Any, **_options: Any) -> Any:
        return work(self)

    def execute_sql(self, sql: str, params: dict[str, Any] | None = None, **_options: Any) -> list[list[Any]]:
        self.statements.append((sql, params or {}))
        if sql == query("keys", "read_keysets") and self.has_keysets:
            return keysets_of((params or {})["tenant_id"])
        return [list(row) for row in self.rows.get(sql, ())]

    def read(self, table: str, columns: Sequence[str], keyset: Any, **_options: Any) -> list[list[Any]]:
        self.reads.append(KeyedRead(table, tuple(columns), tuple(key[0] for key in keyset.keys)))
        row = self.keyed.get(table)
        return [] if row is None else [[row.get(column) for column in columns]]

    def execute_update(self, sql: str, params: dict[str, Any] | None = None, **_options: Any) -> int:
        self.statements.append((sql, params or {}))
        return self.counts.get(sql, 1)

    def insert(self, table: str, columns: Sequence[str], values: Sequence[Sequence[Any]]) -> None:
        self.has_keysets = self.has_keysets or table == "tenant_keysets"
        self._mutate("insert", table, columns, values)

    def update(self, table: str, columns: Sequence[str], values: Sequence[Sequence[Any]]) -> None:
        self._mutate("update", table, columns, values)

    def insert_or_update(self, table: str, columns: Sequence[str], values: Sequence[Sequence[Any]]) -> None:
        self._mutate("insert_or_update", table, columns, values)

    def delete(self, table: str, keyset: Any) -> None:
        self._mutate("delete", table, (), keyset.keys)

    def _mutate(self, verb: str, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        position = list(columns).index("tenant_id") if columns else 0
        self.mutations.append(Mutation(verb, table, tuple(columns), tuple(row[position] for row in rows)))
