"""HubSpot's CRM search: filter groups, operators, sorting, paging and their limits (reference/apis.md §1.5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from infra.local.standins.hubspot_schema import Refused, Schema
from infra.local.standins.hubspot_store import Portal

MOST_GROUPS = 5
MOST_FILTERS_PER_GROUP = 6
MOST_FILTERS = 18
MOST_RESULTS_PER_PAGE = 200
LONGEST_QUERY = 3000

_TEXT_PROPERTIES = ("firstname", "lastname", "email", "phone", "hs_call_title", "hs_call_body")
_DEFAULT_PROPERTIES = {"contacts": ["email", "firstname", "lastname"], "calls": []}


def _contains_token(stored: str, filter_: Mapping[str, Any]) -> bool:
    pattern = str(filter_.get("value", "")).lower()
    return any(fnmatchcase(token, pattern) for token in stored.split())


def _compare(test: Callable[[float, float], bool]) -> Callable[[str, Mapping[str, Any]], bool]:
    def compare(stored: str, filter_: Mapping[str, Any]) -> bool:
        try:
            return test(float(stored), float(filter_.get("value", "")))
        except ValueError:
            return False

    return compare


_OPERATORS: dict[str, Callable[[str, Mapping[str, Any]], bool]] = {
    "EQ": lambda stored, f: stored == str(f.get("value", "")).lower() and stored != "",
    "NEQ": lambda stored, f: stored != str(f.get("value", "")).lower(),
    "IN": lambda stored, f: stored in [str(value).lower() for value in f.get("values", [])],
    "NOT_IN": lambda stored, f: stored not in [str(value).lower() for value in f.get("values", [])],
    "HAS_PROPERTY": lambda stored, _: stored != "",
    "NOT_HAS_PROPERTY": lambda stored, _: stored == "",
    "CONTAINS_TOKEN": _contains_token,
    "GT": _compare(lambda a, b: a > b),
    "GTE": _compare(lambda a, b: a >= b),
    "LT": _compare(lambda a, b: a < b),
    "LTE": _compare(lambda a, b: a <= b),
}


def search(portal: Portal, object_type: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Answer one search request. Raises `Refused` for what HubSpot refuses."""
    groups = body.get("filterGroups", [])
    _check_limits(groups, body, portal.schemas[object_type])
    query = str(body.get("query", "")).lower()
    hits = portal.indexed(object_type, lambda shown: _matches(shown, groups, query))
    for name, descending in reversed(_sorts(body)):
        # mypy cannot infer a lambda whose default binds the loop's variable.
        hits.sort(key=lambda hit, by=name: hit[1].get(by, ""), reverse=descending)  # type: ignore[misc]
    return _page(object_type, hits, body)


def _page(object_type: str, hits: list[Any], body: Mapping[str, Any]) -> dict[str, Any]:
    start, limit = int(body.get("after") or 0), body.get("limit", 10)
    wanted = body.get("properties") or _DEFAULT_PROPERTIES[object_type]
    answer: dict[str, Any] = {
        "total": len(hits),
        "results": [record.as_json(shown, wanted) for record, shown in hits[start : start + limit]],
    }
    if start + limit < len(hits):
        answer["paging"] = {"next": {"after": str(start + limit)}}
    return answer


def _matches(shown: Mapping[str, str], groups: list[Mapping[str, Any]], query: str) -> bool:
    if query and not any(query in shown.get(name, "").lower() for name in _TEXT_PROPERTIES):
        return False
    return not groups or any(all(_passes(shown, item) for item in group.get("filters", [])) for group in groups)


def _passes(shown: Mapping[str, str], filter_: Mapping[str, Any]) -> bool:
    return _OPERATORS[filter_["operator"]](shown.get(filter_["propertyName"], "").lower(), filter_)


def _sorts(body: Mapping[str, Any]) -> list[tuple[str, bool]]:
    """Property and whether descending; HubSpot takes objects and the short form `-createdate`."""
    sorts = []
    for item in body.get("sorts", []):
        if isinstance(item, str):
            sorts.append((item.lstrip("-"), item.startswith("-")))
        else:
            sorts.append((item["propertyName"], item.get("direction") == "DESCENDING"))
    return sorts


def _check_limits(groups: list[Mapping[str, Any]], body: Mapping[str, Any], schema: Schema) -> None:
    filters = [item for group in groups for item in group.get("filters", [])]
    limit = body.get("limit", 10)
    if len(groups) > MOST_GROUPS:
        raise _refused(f"too many filterGroups: {len(groups)} of {MOST_GROUPS}")
    if len(filters) > MOST_FILTERS or any(len(g.get("filters", [])) > MOST_FILTERS_PER_GROUP for g in groups):
        raise _refused("too many filters")
    if not isinstance(limit, int) or not 0 < limit <= MOST_RESULTS_PER_PAGE:
        raise _refused(f"limit must be between 1 and {MOST_RESULTS_PER_PAGE}")
    if len(str(body.get("query", ""))) > LONGEST_QUERY:
        raise _refused("query is too long")
    for item in filters:
        if item.get("operator") not in _OPERATORS:
            raise _refused("operator is not supported")
        if item.get("propertyName") not in schema.definitions:
            raise _refused("There was a problem with the request: a filter names an unknown property")


def _refused(message: str) -> Refused:
    return Refused(400, "VALIDATION_ERROR", message)
