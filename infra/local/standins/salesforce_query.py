"""The query languages of the Salesforce stand-in: the subset of SOQL that the gateway uses.

`SELECT a, b FROM Object [WHERE condition {AND|OR condition}] [ORDER BY field [ASC|DESC]] [LIMIT n]` with conditions
`=`, `!=`, `IN (…)`. Anything else is refused as MALFORMED_QUERY, as is every badly escaped string.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from infra.local.standins.salesforce_checks import ApiError
from infra.local.standins.salesforce_schema import ObjectSpec
from infra.local.standins.salesforce_store import Record

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<string>'(?:[^'\\]|\\['"\\nrtbf_%])*')
      | (?P<word>[A-Za-z_]\w*)
      | (?P<number>-?\d+(?:\.\d+)?)
      | (?P<sign>!=|=|\(|\)|,)
    )""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(.)")
_SPECIAL = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
_LITERALS = {"true": True, "false": False, "null": None}


@dataclass(frozen=True)
class Condition:
    """`field` must be one of `values` (or none of them when `negated`)."""

    field: str
    values: tuple[Any, ...]
    negated: bool = False

    def holds(self, record: Record) -> bool:
        stored = _folded(record.get(self.field))
        return (stored in [_folded(value) for value in self.values]) != self.negated


@dataclass(frozen=True)
class Selection:
    """What to take from one object, in which order, and how much of it."""

    object_name: str
    fields: tuple[str, ...]
    conditions: tuple[Condition, ...] = ()
    any_of: bool = False
    order_by: str = ""
    descending: bool = False
    limit: int = 2000

    def check(self, spec: ObjectSpec) -> None:
        names = {*self.fields, *(condition.field for condition in self.conditions)} | (
            {self.order_by} if self.order_by else set()
        )
        for name in sorted(names):
            if name not in spec:
                raise ApiError("INVALID_FIELD", f"No such column '{name}' on entity '{self.object_name}'.")

    def take(self, records: Iterable[Record]) -> list[Record]:
        """The selected fields of the matching records, each with its `attributes`."""
        found = [record for record in records if self._matches(record)]
        if self.order_by:
            found.sort(key=lambda record: str(record.get(self.order_by) or ""), reverse=self.descending)
        return [self._shown(record) for record in found[: self.limit]]

    def _matches(self, record: Record) -> bool:
        results = [condition.holds(record) for condition in self.conditions]
        return any(results) if self.any_of and results else all(results)

    def _shown(self, record: Record) -> Record:
        url = f"/services/data/v66.0/sobjects/{self.object_name}/{record['Id']}"
        attributes = {"type": self.object_name, "url": url}
        return {"attributes": attributes, **{name: record.get(name) for name in self.fields}}


def _folded(value: Any) -> Any:
    return value.casefold() if isinstance(value, str) else value


class Parser:
    """Reads tokens one after the other; every surprise is an error with the language's own code."""

    def __init__(self, text: str, *, error_code: str) -> None:
        self._error_code = error_code
        self._tokens = self._split(text)
        self._at = 0

    def _split(self, text: str) -> list[tuple[str, str]]:
        tokens: list[tuple[str, str]] = []
        position, end = 0, len(text.rstrip())
        while position < end:
            match = _TOKEN.match(text, position)
            if match is None:
                raise self.error(f"unexpected token at position {position}")
            kind = str(match.lastgroup)
            tokens.append((kind, match[kind]))
            position = match.end()
        return tokens

    def error(self, message: str) -> ApiError:
        return ApiError(self._error_code, message)

    def at_end(self) -> bool:
        return self._at >= len(self._tokens)

    def accept(self, text: str) -> bool:
        """Step over a keyword or sign when it comes next."""
        if not self.at_end():
            kind, value = self._tokens[self._at]
            if kind in {"word", "sign"} and value.upper() == text.upper():
                self._at += 1
                return True
        return False

    def expect(self, text: str) -> None:
        if not self.accept(text):
            raise self.error(f"expecting {text!r}")

    def take(self, kind: str) -> str:
        if self.at_end() or self._tokens[self._at][0] != kind:
            raise self.error(f"expecting a {kind}")
        self._at += 1
        return self._tokens[self._at - 1][1]

    def names(self) -> tuple[str, ...]:
        """`a, b, c`."""
        names = [self.take("word")]
        while self.accept(","):
            names.append(self.take("word"))
        return tuple(names)

    def tail(self, object_name: str, fields: tuple[str, ...]) -> Selection:
        """`[WHERE …] [ORDER BY …] [LIMIT …]`, shared by SOQL and SOSL's RETURNING."""
        conditions, any_of = self._where() if self.accept("WHERE") else ((), False)
        order_by, descending = "", False
        if self.accept("ORDER"):
            self.expect("BY")
            order_by = self.take("word")
            descending = not self.accept("ASC") and self.accept("DESC")
        limit = int(self.take("number")) if self.accept("LIMIT") else 2000
        return Selection(object_name, fields, conditions, any_of, order_by, descending, limit)

    def _where(self) -> tuple[tuple[Condition, ...], bool]:
        conditions = [self._condition()]
        joined_by = "OR" if self.accept("OR") else "AND" if self.accept("AND") else ""
        while joined_by:
            conditions.append(self._condition())
            if not self.accept(joined_by):
                break
        return tuple(conditions), joined_by == "OR"

    def _condition(self) -> Condition:
        field = self.take("word")
        if self.accept("IN"):
            self.expect("(")
            values = [self._literal()]
            while self.accept(","):
                values.append(self._literal())
            self.expect(")")
            return Condition(field, tuple(values))
        negated = self.accept("!=")
        if not negated:
            self.expect("=")
        return Condition(field, (self._literal(),), negated)

    def _literal(self) -> Any:
        if self.at_end():
            raise self.error("unexpected end")
        kind, value = self._tokens[self._at]
        self._at += 1
        if kind == "string":
            return _ESCAPE.sub(lambda match: _SPECIAL.get(match[1], match[1]), value[1:-1])
        if kind == "number":
            return float(value)
        if kind == "word" and value.lower() in _LITERALS:
            return _LITERALS[value.lower()]
        raise self.error(f"unexpected token: {value}")


def parse_soql(text: str) -> Selection:
    """Raises `ApiError` MALFORMED_QUERY."""
    parser = Parser(text, error_code="MALFORMED_QUERY")
    parser.expect("SELECT")
    fields = parser.names()
    parser.expect("FROM")
    selection = parser.tail(parser.take("word"), fields)
    if not parser.at_end():
        raise parser.error("unexpected token after the query")
    return selection
