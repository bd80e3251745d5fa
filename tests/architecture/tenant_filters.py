"""Reads a SQL statement far enough to tell whether it can only touch the rows of `@tenant_id`.

Every table of a query block must be bound: by `x.tenant_id = @tenant_id` among the AND-ed conditions of WHERE or ON,
by `x.tenant_id = y.tenant_id` (or USING) to a table that is bound, or by being a subquery that was checked itself. A
condition under OR or NOT binds nothing. What this reader does not understand it refuses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tests.architecture.sql_tree import Node, NotFiltered, is_query, split, tree, upper

_CLAUSES = ("SELECT", "FROM", "WHERE", "GROUP", "HAVING", "QUALIFY", "WINDOW", "ORDER", "LIMIT", "FOR")
_SET_OPERATORS = ("UNION", "INTERSECT", "EXCEPT")
_JOIN_WORDS = ("INNER", "LEFT", "CROSS", "OUTER", "JOIN")
_AFTER_SOURCE = (*_JOIN_WORDS, "ON", "USING", ",", "RIGHT", "FULL", "TABLESAMPLE")


@dataclass
class _Source:
    """One item of FROM."""

    alias: str
    bound: bool
    """True for a subquery: it was checked by itself."""
    has_rows: bool = True
    """False for UNNEST: nobody's rows."""
    is_left: bool = False
    on: list[Node] = field(default_factory=list)
    using: list[str] = field(default_factory=list)


def check_statement(sql: str) -> None:
    """Raise `NotFiltered` unless every table of the statement is bound to `@tenant_id`."""
    nodes = tree(sql)
    while nodes and nodes[-1] == ";":
        nodes.pop()
    if ";" in nodes or not nodes:
        raise NotFiltered("one statement, please")
    verb = upper(nodes[0])
    readers = {"SELECT": _query, "WITH": _with, "UPDATE": _update, "DELETE": _delete, "INSERT": _insert}
    if verb not in readers:
        raise NotFiltered(f"cannot read a statement that begins with {verb}")
    readers[verb](nodes, frozenset(), frozenset())


# --- queries ----------------------------------------------------------------------------------------


def _query(nodes: Sequence[Node], outer: frozenset[str], known: frozenset[str]) -> None:
    """A SELECT with its UNIONs. `outer`: bound aliases around it; `known`: names of checked WITH queries."""
    for part in split(nodes, *_SET_OPERATORS):
        words = [node for node in part if upper(node) not in {"ALL", "DISTINCT"}] if part is not nodes else part
        body = words[0] if len(words) == 1 and isinstance(words[0], list) else words
        _select(body, outer, known)


def _with(nodes: Sequence[Node], outer: frozenset[str], known: frozenset[str]) -> None:
    index, names = 1, set(known)
    while True:
        name, as_, body = nodes[index : index + 3]
        if upper(as_) != "AS" or not isinstance(body, list) or not isinstance(name, str):
            raise NotFiltered("cannot read this WITH")
        _query(body, outer, frozenset(names))
        names.add(name)
        index += 3
        if upper(nodes[index]) != ",":
            break
        index += 1
    _query(nodes[index:], outer, frozenset(names))


def _select(nodes: Sequence[Node], outer: frozenset[str], known: frozenset[str]) -> None:
    clauses = _clauses(nodes)
    sources = list(_sources(clauses.get("FROM", []), outer, known))
    bound = _bind(sources, clauses.get("WHERE", []), outer)
    missing = [source.alias for source in sources if source.has_rows and source.alias not in bound]
    if missing:
        raise NotFiltered(f"no filter on tenant_id for {', '.join(missing)}")
    for name, body in clauses.items():
        if name != "FROM":
            _subqueries(body, bound, known)
    for source in sources:
        _subqueries(source.on, bound, known)


def _clauses(nodes: Sequence[Node]) -> dict[str, list[Node]]:
    if not nodes or upper(nodes[0]) != "SELECT":
        raise NotFiltered("cannot read this query")
    found: dict[str, list[Node]] = {}
    current = ""
    for node in nodes:
        word = upper(node)
        if isinstance(node, str) and word in _CLAUSES:
            if word in found:
                raise NotFiltered(f"two {word} in one query")
            current = word
            found[current] = []
        else:
            found[current].append(node)
    return found


def _subqueries(nodes: Sequence[Node], bound: frozenset[str], known: frozenset[str]) -> None:
    """Check every query inside expressions: scalar, ARRAY(…), EXISTS(…), IN (…)."""
    for node in nodes:
        if isinstance(node, list):
            if is_query(node):
                (_with if upper(node[0]) == "WITH" else _query)(node, bound, known)
            else:
                _subqueries(node, bound, known)


def _sources(nodes: Sequence[Node], outer: frozenset[str], known: frozenset[str]) -> Iterator[_Source]:
    rest = list(nodes)
    is_left = False
    while rest:
        word = upper(rest[0])
        if word in {"RIGHT", "FULL"}:
            raise NotFiltered("RIGHT and FULL joins are not understood; turn the query round")
        if isinstance(rest[0], str) and word in (*_JOIN_WORDS, ","):
            is_left = word == "LEFT" or (is_left and word in {"OUTER", "JOIN"})
            rest.pop(0)
            continue
        source = _source(rest, outer, known)
        source.is_left = is_left
        is_left = False
        yield source


def _source(rest: list[Node], outer: frozenset[str], known: frozenset[str]) -> _Source:
    """Take one table, subquery or UNNEST with its alias and its ON or USING from the front of `rest`."""
    first = rest.pop(0)
    if isinstance(first, list):
        if not is_query(first):
            raise NotFiltered("brackets around joins are not understood")
        (_with if upper(first[0]) == "WITH" else _query)(first, outer, known)
        source = _Source(alias="", bound=True)
    elif first.upper() == "UNNEST":
        rest.pop(0)
        source = _Source(alias="", bound=False, has_rows=False)
    else:
        source = _Source(alias=first, bound=first in known)
    if rest and upper(rest[0]) == "AS":
        rest.pop(0)
    if rest and isinstance(rest[0], str) and upper(rest[0]) not in _AFTER_SOURCE:
        source.alias = str(rest.pop(0))
    if rest and upper(rest[0]) == "ON":
        rest.pop(0)
        while rest and not (isinstance(rest[0], str) and upper(rest[0]) in (*_JOIN_WORDS, ",", "RIGHT", "FULL")):
            source.on.append(rest.pop(0))
    elif rest and upper(rest[0]) == "USING":
        rest.pop(0)
        columns = rest.pop(0)
        source.using = [node for node in columns if isinstance(node, str)]
    return source


# --- what binds a table -----------------------------------------------------------------------------


def _bind(sources: Sequence[_Source], where: Sequence[Node], outer: frozenset[str]) -> frozenset[str]:
    """The aliases that can only hold the tenant's rows."""
    bound = {source.alias for source in sources if source.bound} | set(outer)
    links: list[tuple[str, str, bool]] = []  # (from, to, both ways): `to` is bound when `from` is
    tables = [source.alias for source in sources if source.has_rows]
    for left, right in _equalities(where):
        _note(left, right, tables=tables, bound=bound, links=links)
    for index, source in enumerate(sources):
        earlier = [other.alias for other in sources[:index] if other.has_rows]
        if "tenant_id" in source.using:
            links += [(other, source.alias, not source.is_left) for other in earlier]
        for left, right in _equalities(source.on):
            own: list[tuple[str, str, bool]] = []
            own_bound: set[str] = set()
            _note(left, right, tables=tables, bound=own_bound, links=own)
            # ON of a LEFT JOIN chooses rows of the joined table only; those before it stay whatever it says.
            bound |= {alias for alias in own_bound if not source.is_left or alias == source.alias}
            for a, b, _ in own:
                if not source.is_left:
                    links.append((a, b, True))
                elif source.alias in (a, b):
                    links.append((b if a == source.alias else a, source.alias, False))
    return _spread(bound, links)


def _spread(bound: set[str], links: Sequence[tuple[str, str, bool]]) -> frozenset[str]:
    size = -1
    while size != len(bound):
        size = len(bound)
        for start, end, both_ways in links:
            if start in bound:
                bound.add(end)
            if both_ways and end in bound:
                bound.add(start)
    return frozenset(bound)


def _note(left: str, right: str, *, tables: Sequence[str], bound: set[str], links: list[tuple[str, str, bool]]) -> None:
    if right == "@tenant_id":
        left, right = right, left
    if left == "@tenant_id":
        if owner := _owner(right, tables):
            bound.add(owner)
        return
    first, second = _owner(left, tables), _owner(right, tables)
    if first and second:
        links.append((first, second, True))


def _owner(column: str, tables: Sequence[str]) -> str:
    """Whose `tenant_id` this is; nothing when it is another column, or could be anybody's."""
    alias, dot, name = column.rpartition(".")
    if name != "tenant_id":
        return ""
    if dot:
        return alias
    return tables[0] if len(tables) == 1 else ""


def _equalities(condition: Sequence[Node]) -> Iterator[tuple[str, str]]:
    """`a = b` among the AND-ed parts of a condition; an OR at the same level makes all of them optional."""
    if any(upper(node) == "OR" for node in condition if isinstance(node, str)):
        return
    for part in split(condition, "AND"):
        if len(part) == 1 and isinstance(part[0], list):
            yield from _equalities(part[0])
        elif len(part) == 3 and part[1] == "=" and isinstance(part[0], str) and isinstance(part[2], str):
            yield part[0], part[2]


# --- changes ----------------------------------------------------------------------------------------


def _update(nodes: Sequence[Node], outer: frozenset[str], known: frozenset[str]) -> None:
    target, *rest = nodes[1:]
    before_set, *after_set = split(rest, "SET")
    if len(after_set) != 1:
        raise NotFiltered("cannot read this UPDATE")
    assignments, *where = split(_without_return(after_set[0]), "WHERE")
    bound = _changed(target, before_set, where, outer)
    _subqueries([*assignments, *where[0]], bound, known)
    if any(a == "tenant_id" and b == "=" for a, b in pairwise(assignments)):
        raise NotFiltered("a row must not change its tenant")


def _delete(nodes: Sequence[Node], outer: frozenset[str], known: frozenset[str]) -> None:
    rest = list(nodes[1:])
    if upper(rest[0]) == "FROM":
        rest.pop(0)
    before, *where = split(_without_return(rest[1:]), "WHERE")
    bound = _changed(rest[0], before, where, outer)
    _subqueries(where[0], bound, known)


def _changed(
    target: Node, after_target: Sequence[Node], where: list[list[Node]], outer: frozenset[str]
) -> frozenset[str]:
    alias = [node for node in after_target if upper(node) != "AS"]
    if len(where) != 1 or len(alias) > 1 or not isinstance(target, str):
        raise NotFiltered("cannot read what this statement changes")
    name = str(alias[0]) if alias else target
    bound = _bind([_Source(alias=name, bound=False)], where[0], outer)
    if name not in bound:
        raise NotFiltered(f"no filter on tenant_id for {name}")
    return bound


def _insert(nodes: Sequence[Node], outer: frozenset[str], known: frozenset[str]) -> None:
    rest = [node for node in nodes[1:] if upper(node) not in {"OR", "IGNORE", "UPDATE", "INTO"}]
    _target, columns, *body = rest
    if not isinstance(columns, list) or "tenant_id" not in columns:
        raise NotFiltered("INSERT must list its columns, tenant_id among them")
    position = [upper(part[0]) for part in split(columns, ",")].index("TENANT_ID")
    body = _without_return(body)
    if upper(body[0]) == "VALUES":
        _subqueries(body, outer, known)
        rows = [node for node in body if isinstance(node, list)]
        if not rows or any(split(row, ",")[position] != ["@tenant_id"] for row in rows):
            raise NotFiltered("the inserted tenant_id must be @tenant_id")
        return
    _query(body, outer, known)
    for part in split(body, *_SET_OPERATORS):
        value = split(_clauses([node for node in part if upper(node) not in {"ALL", "DISTINCT"}])["SELECT"], ",")[
            position
        ]
        if value != ["@tenant_id"] and not _is_own_column(value):
            raise NotFiltered("the inserted tenant_id must be @tenant_id or the tenant_id of a filtered table")


def _is_own_column(value: Sequence[Node]) -> bool:
    return len(value) == 1 and isinstance(value[0], str) and value[0].rpartition(".")[2] == "tenant_id"


def _without_return(nodes: Sequence[Node]) -> list[Node]:
    return split(nodes, "THEN")[0] if not any(upper(node) == "CASE" for node in nodes) else list(nodes)
