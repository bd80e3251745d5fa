"""Finding the caller among an org's Contacts and Leads, whoever made them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from shared.gateways.salesforce_fields import CALLER_KEY, LAST_CALL_AT, PersonObject
from shared.gateways.salesforce_rest import ObjectFacts, Row, SalesforceRest, soql_string
from shared.phones import is_same_number, national_digits

PERSON_OBJECTS: tuple[PersonObject, ...] = ("Contact", "Lead")
"""In order of preference: a Contact is a customer already."""

_PHONES: dict[PersonObject, tuple[str, ...]] = {
    "Contact": ("Phone", "MobilePhone", "HomePhone", "OtherPhone"),
    "Lead": ("Phone", "MobilePhone"),
}
_KEY_PREFIX: dict[str, PersonObject] = {"003": "Contact", "00Q": "Lead"}
_MOST_HITS = 50
"""Per object: the index over-matches, and a switchboard's number may sit on many records."""

Facts = Mapping[PersonObject, ObjectFacts]


@dataclass(frozen=True)
class Person:
    """A Lead or Contact that exists."""

    object_name: PersonObject
    record_id: str
    lacks_rating: bool = False
    last_call_at: datetime | None = None

    def was_called_after(self, moment: datetime | None) -> bool:
        """Whether the scores it holds belong to a later call than one that started at `moment`."""
        return moment is not None and self.last_call_at is not None and self.last_call_at > moment


@dataclass(frozen=True)
class NewPerson:
    """A Lead or Contact to be made. `by_key`: through the unique caller key, so that two at once make one."""

    object_name: PersonObject
    by_key: bool


def find_by_id(rest: SalesforceRest, facts: Facts, record_id: str) -> Person | None:
    """The person with this id; None when it is neither Lead nor Contact, was deleted, merged away or converted."""
    object_name = _KEY_PREFIX.get(record_id[:3])
    if object_name is None:
        return None
    rows = _select(rest, facts[object_name], field="Id", value=record_id)
    living = [row for row in rows if not row.get("IsConverted")]
    return _person(object_name, living[0]) if living else None


def find_by_phone(rest: SalesforceRest, facts: Facts, phone: str) -> Person | None:
    """Any person with this E.164 number, Contacts before Leads, the oldest first; converted Leads are left out.

    The search index follows with a delay, so this finds what humans made, not what we made a second ago.
    """
    rows = rest.search(phone_search(phone, facts))
    for object_name in PERSON_OBJECTS:
        hits = [row for row in rows if _type_of(row) == object_name and _has_number(object_name, row, phone)]
        if hits:
            return _person(object_name, min(hits, key=lambda row: str(row.get("CreatedDate"))))
    return None


def phone_search(phone: str, facts: Facts) -> str:
    """The SOSL for an E.164 number. SOSL has no escaping that could be trusted, so digits are all it gets."""
    digits = "".join(letter for letter in national_digits(phone) if letter in "0123456789")
    contact = ", ".join(_names(facts["Contact"]))
    lead = ", ".join(_names(facts["Lead"]))
    last = f"ORDER BY CreatedDate LIMIT {_MOST_HITS}"
    returning = f"Contact({contact} {last}), Lead({lead} WHERE IsConverted = false {last})"
    return f"FIND {{{digits}}} IN PHONE FIELDS RETURNING {returning}"


def find_own(rest: SalesforceRest, facts: Facts, object_name: PersonObject, phone: str) -> Person | NewPerson:
    """The person that we made for this number earlier, which the search index may not show yet; else a new one.

    A Lead of ours that was converted since leads to its Contact. Without the caller key the number is compared as
    we write it.
    """
    by_key = facts[object_name].has_key(CALLER_KEY)
    rows = _select(rest, facts[object_name], field=CALLER_KEY if by_key else "Phone", value=phone)
    living = [row for row in rows if not row.get("IsConverted")]
    if living:
        return _person(object_name, living[0])
    for contact_id in (str(row.get("ConvertedContactId") or "") for row in rows):
        contact = find_by_id(rest, facts, contact_id)
        if contact is not None:
            return contact
    return NewPerson(object_name, by_key=by_key and not rows)


def _select(rest: SalesforceRest, facts: ObjectFacts, *, field: str, value: str) -> list[Row]:
    """Records by an exact value, the oldest first; unlike search, a query sees what was written just now."""
    names = [*_names(facts), *(["IsConverted", "ConvertedContactId"] if facts.name == "Lead" else [])]
    soql = f"SELECT {', '.join(names)} FROM {facts.name} WHERE {field} = {soql_string(value)}"  # noqa: S608 - escaped
    return rest.query(f"{soql} ORDER BY CreatedDate LIMIT 10")


def _names(facts: ObjectFacts) -> list[str]:
    """What is read of a person, as far as the org has it and shows it to the integration user."""
    object_name: PersonObject = "Contact" if facts.name == "Contact" else "Lead"
    wanted = (*_PHONES[object_name], "Rating", LAST_CALL_AT)
    return ["Id", "CreatedDate", *(name for name in wanted if name in facts.fields)]


def _person(object_name: PersonObject, row: Row) -> Person:
    lacks_rating = object_name == "Lead" and not row.get("Rating")
    return Person(object_name, str(row["Id"]), lacks_rating, _moment(row.get(LAST_CALL_AT)))


def _moment(value: object) -> datetime | None:
    """Salesforce's `2026-11-20T15:04:05.000+0000`; None when empty or unreadable."""
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return moment if moment.tzinfo else None


def _has_number(object_name: PersonObject, row: Row, phone: str) -> bool:
    return any(is_same_number(phone, str(row.get(name) or "")) for name in _PHONES[object_name])


def _type_of(row: Row) -> str:
    attributes = row.get("attributes")
    return str(attributes.get("type")) if isinstance(attributes, dict) else ""
