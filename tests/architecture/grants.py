"""What every database role may do after all migrations: GRANT adds, REVOKE takes away."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from tests.architecture.sql_columns import Touch

_STATEMENT = re.compile(
    r"^(?P<verb>GRANT|REVOKE)\s+(?P<what>.+?)\s+ON TABLE\s+(?P<tables>.+?)\s+(?:TO|FROM) ROLE\s+(?P<roles>.+)$",
    re.DOTALL,
)
_PRIVILEGE = re.compile(r"(SELECT|INSERT|UPDATE|DELETE)\s*(?:\(([^)]*)\))?")
_ROLE = re.compile(r"^(CREATE|DROP) ROLE (\w+)$")

WHOLE_TABLE = ""
"""A grant without a list of columns: every column, those of later migrations too."""


class UnreadableGrant(ValueError):
    """A statement about roles or privileges that this reader, or Spanner, does not accept."""


def privileges(statements: Iterable[str], tables: Mapping[str, frozenset[str]]) -> dict[str, frozenset[Touch]]:
    """Role → what it may do, whole tables spelt out as columns. `statements` in the order of the migrations."""
    held: dict[str, set[Touch]] = {}
    for text in statements:
        if role := _ROLE.match(text):
            _change_role(held, verb=role[1], role=role[2])
        elif text.startswith(("GRANT", "REVOKE")):
            _change_privileges(held, text, tables)
        elif re.match(r"(CREATE|DROP|ALTER)\s+ROLE", text, re.IGNORECASE):
            raise UnreadableGrant(text)
    return {role: frozenset(_spelt_out(touches, tables)) for role, touches in held.items()}


def _change_role(held: dict[str, set[Touch]], *, verb: str, role: str) -> None:
    if (verb == "CREATE") == (role in held) or (verb == "DROP" and held[role]):
        raise UnreadableGrant(f"{verb} ROLE {role}: it exists already, does not exist, or still holds privileges")
    if verb == "CREATE":
        held[role] = set()
    else:
        del held[role]


def _change_privileges(held: dict[str, set[Touch]], text: str, tables: Mapping[str, frozenset[str]]) -> None:
    match = _STATEMENT.match(text)
    if match is None or _PRIVILEGE.sub("", match["what"]).replace(",", "").strip():
        raise UnreadableGrant(text)
    wanted = list(_touches(match["what"], _words(match["tables"]), tables))
    for role in _words(match["roles"]):
        if role not in held:
            raise UnreadableGrant(f"no role is called {role}")
        if match["verb"] == "GRANT":
            held[role].update(wanted)
        elif missing := set(wanted) - held[role]:
            raise UnreadableGrant(f"{role} does not hold {sorted(missing)}; a part of a whole table cannot be revoked")
        else:
            held[role].difference_update(wanted)


def _touches(what: str, names: list[str], tables: Mapping[str, frozenset[str]]) -> Iterator[Touch]:
    for privilege, listed in _PRIVILEGE.findall(what):
        for table in names:
            columns = _words(listed) or [WHOLE_TABLE]
            if table not in tables or not set(columns) - {WHOLE_TABLE} <= tables[table]:
                raise UnreadableGrant(f"{privilege} on {table} ({listed}): no such table or column")
            if privilege == "DELETE" and listed:
                raise UnreadableGrant("DELETE is a privilege on whole tables")
            yield from (Touch(privilege, table, column) for column in columns)


def _spelt_out(touches: Iterable[Touch], tables: Mapping[str, frozenset[str]]) -> Iterator[Touch]:
    for touch in touches:
        if touch.column or touch.privilege == "DELETE":
            yield touch
        else:
            yield from (Touch(touch.privilege, touch.table, column) for column in tables[touch.table])


def _words(text: str) -> list[str]:
    return text.replace(",", " ").split()


def as_grants(role: str, touches: Iterable[Touch]) -> str:
    """The statements that give a role exactly this."""
    columns: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for privilege, table, column in sorted(touches):
        columns[table][privilege].append(column)
    return "\n".join(
        f"GRANT {', '.join(_listed(name, names) for name, names in what.items())} ON TABLE {table} TO ROLE {role};"
        for table, what in columns.items()
    )


def _listed(privilege: str, columns: list[str]) -> str:
    return privilege if columns == [WHOLE_TABLE] else f"{privilege} ({', '.join(columns)})"
