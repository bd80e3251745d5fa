"""What of a caller id may become a person's name: junk, places and markup are dropped (reference: CallRail §6.4)."""

from __future__ import annotations

import re

from schemas.plain_text import without_formula
from shared.gateways.hubspot_text import cut, plain

LONGEST_NAME = 100

_JUNK = frozenset(
    {
        "anonymous",
        "anonymous caller",
        "blocked",
        "caller",
        "caller id",
        "cellular call",
        "customer",
        "inbound call",
        "incoming call",
        "mobile caller",
        "n/a",
        "name not available",
        "name unavailable",
        "no name",
        "not available",
        "out of area",
        "potential spam",
        "private",
        "private caller",
        "private name",
        "private number",
        "restricted",
        "scam likely",
        "spam likely",
        "spam risk",
        "telemarketer",
        "toll free",
        "toll free call",
        "toll free caller",
        "unavailable",
        "unknown",
        "unknown caller",
        "unknown name",
        "unknown number",
        "voip caller",
        "wireless call",
        "withheld",
    }
)
_JUNK_START = re.compile(r"^(wireless caller|cell phone|v\d{6,})", re.IGNORECASE)
_MARKUP = re.compile(r"<[^>]*>|[<>]")
_NOT_A_NAME = re.compile(r"\d{4,}|://|www\.|@", re.IGNORECASE)


def person_name(caller_name: str, *, city: str = "", state: str = "") -> tuple[str, str]:
    """First and last name; both empty when the caller id names nobody.

    `LAST,FIRST` is turned round. `city` and `state` are the caller's: telephone companies send them as a name.
    """
    name = " ".join(_MARKUP.sub(" ", plain(caller_name)).split())
    if not name or _is_junk(name) or _is_place(name, city=city, state=state):
        return "", ""
    last, comma, first = (part.strip() for part in name.partition(","))
    if not comma:
        first, _, last = name.rpartition(" ")
    # Each becomes a cell of its own, whatever stood before it in the caller id.
    first, last = without_formula(first), without_formula(last)
    return cut(first, LONGEST_NAME), cut(last, LONGEST_NAME)


def _is_junk(name: str) -> bool:
    folded = name.casefold().replace("-", " ")
    return folded in _JUNK or bool(_JUNK_START.match(folded)) or bool(_NOT_A_NAME.search(name))


def _is_place(name: str, *, city: str, state: str) -> bool:
    """ "TACOMA", "TACOMA WA", "TACOMA, WA", and in capitals any words before the caller's own state."""
    folded = name.casefold().replace(",", "")
    if city and folded in {city.casefold(), f"{city} {state}".casefold()}:
        return True
    return bool(state) and name.isupper() and folded.endswith(f" {state}".casefold())
