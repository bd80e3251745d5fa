"""SOSL in the Salesforce stand-in: `FIND {term} IN PHONE FIELDS RETURNING Object(fields …), …`.

The term must be plain: an unescaped reserved character is refused as MALFORMED_SEARCH, so a client that pastes
foreign text into FIND is found out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from infra.local.standins.salesforce_checks import ApiError
from infra.local.standins.salesforce_query import Parser, Selection
from infra.local.standins.salesforce_store import Org, Record, digits

RESERVED = frozenset("?&|!{}[]()^~*:\\\"'+-")
_FIND = re.compile(r"^\s*FIND\s*\{", re.IGNORECASE)
_SCOPE = re.compile(r"^\s*IN\s+PHONE\s+FIELDS\s+RETURNING\s+", re.IGNORECASE)


@dataclass(frozen=True)
class Search:
    """A parsed search: the term without its escapes, and what to return of each object."""

    term: str
    returning: tuple[Selection, ...]


def parse_sosl(text: str) -> Search:
    """Raises `ApiError` MALFORMED_SEARCH for syntax and unescaped input, INVALID_SEARCH for a one-letter term."""
    find = _FIND.match(text)
    if find is None:
        raise _malformed("expecting FIND {")
    term, end = _read_term(text, find.end())
    if len(term) < 2:
        raise ApiError("INVALID_SEARCH", "search term must be longer than one character")
    scope = _SCOPE.match(text[end:])
    if scope is None:
        raise _malformed("expecting IN PHONE FIELDS RETURNING")
    return Search(term, _read_returning(text[end + scope.end() :]))


def run_search(org: Org, search: Search) -> list[Record]:
    """Hits of all objects, from what the search index has seen. Formatting of the numbers does not matter."""
    hits: list[Record] = []
    for selection in search.returning:
        spec = org.spec(selection.object_name)
        selection.check(spec)
        phones = [field.name for field in spec.values() if field.type == "phone"]
        hits += selection.take(r for r in org.searchable(selection.object_name) if _has_number(r, phones, search.term))
    return hits


def _has_number(record: Record, phones: list[str], term: str) -> bool:
    """The index matches the last digits: it over-matches across country codes, as the real one may."""
    wanted = digits(term)
    return bool(wanted) and any(digits(record.get(name)).endswith(wanted) for name in phones)


def _read_term(text: str, start: int) -> tuple[str, int]:
    """The term and where its closing brace ends."""
    term, position = "", start
    while position < len(text):
        letter = text[position]
        if letter == "}":
            return term.strip(), position + 1
        if letter == "\\" and position + 1 < len(text):
            term += text[position + 1]
            position += 2
            continue
        if letter in RESERVED:
            raise _malformed(f"unescaped reserved character at position {position}")
        term += letter
        position += 1
    raise _malformed("expecting }")


def _read_returning(text: str) -> tuple[Selection, ...]:
    parser = Parser(text, error_code="MALFORMED_SEARCH")
    selections = [_read_object(parser)]
    while parser.accept(","):
        selections.append(_read_object(parser))
    if not parser.at_end():
        raise parser.error("unexpected token after RETURNING")
    return tuple(selections)


def _read_object(parser: Parser) -> Selection:
    object_name = parser.take("word")
    if not parser.accept("("):
        return Selection(object_name, ("Id",))
    selection = parser.tail(object_name, parser.names())
    parser.expect(")")
    return selection


def _malformed(message: str) -> ApiError:
    return ApiError("MALFORMED_SEARCH", f"No search term found. {message}")
