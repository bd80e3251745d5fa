"""What an org lacks before calls can be logged: compares describe with the fields that we write."""

from __future__ import annotations

from collections.abc import Mapping

from shared.gateways.salesforce_fields import PERSON_FIELDS, TASK_FIELDS, CustomField, PersonObject
from shared.gateways.salesforce_rest import FieldFacts, ObjectFacts

TASK_STANDARD = (
    "Subject",
    "Status",
    "Priority",
    "ActivityDate",
    "TaskSubtype",
    "CallDurationInSeconds",
    "CallType",
    "CallObject",
    "CallDisposition",
    "Description",
    "WhoId",
)
_PERSON_STANDARD = ("FirstName", "LastName", "Phone", "LeadSource", "Description")
PERSON_STANDARD: dict[PersonObject, tuple[str, ...]] = {
    "Lead": (*_PERSON_STANDARD, "Company", "Rating"),
    "Contact": _PERSON_STANDARD,
}
CREATE_ONLY = frozenset({"TaskSubtype"})

Outcomes = Mapping[str, str]
"""What was tried with a field (`Task.Name`): `would create`, `created`, `there`, or why Salesforce refused."""
NOTHING_TRIED: Outcomes = {}
CREATE_PATH = "Setup → Object Manager → {place} → Fields & Relationships → New"
GRANT_PATH = "Setup → Permission Sets → the set → Object Settings"

OUR_FIELDS = frozenset(
    {
        *TASK_STANDARD,
        *PERSON_STANDARD["Lead"],
        *(field.name for field in (*TASK_FIELDS, *PERSON_FIELDS)),
        *("MobilePhone", "HomePhone", "OtherPhone", "IsConverted", "ConvertedContactId", "CreatedDate"),
    }
)
"""Names that may appear in errors; anything else in a message could be a person's data."""


def task_report(facts: ObjectFacts, outcomes: Outcomes = NOTHING_TRIED) -> list[str]:
    """One line for each field of ours on Task. Custom fields of tasks are defined on the Activity object."""
    standard = [_standard_line(facts, name) for name in TASK_STANDARD]
    custom = [_custom_line(facts, field, outcomes, defined_on="Activity") for field in TASK_FIELDS]
    lines = (*_object_line(facts), *standard)
    return [*custom, *(line for line in lines if line), *_closed_status_line(facts)]


def person_report(facts: ObjectFacts, object_name: PersonObject, outcomes: Outcomes = NOTHING_TRIED) -> list[str]:
    """One line for each field of ours on the object that new callers become."""
    standard = [_standard_line(facts, name) for name in PERSON_STANDARD[object_name]]
    custom = [_custom_line(facts, field, outcomes, defined_on=object_name) for field in PERSON_FIELDS]
    return [*custom, *(line for line in (*_object_line(facts), *standard) if line)]


def lacking(facts: ObjectFacts, fields: tuple[CustomField, ...]) -> tuple[CustomField, ...]:
    """The fields that the user does not see: they are not there, or nobody has granted them."""
    return tuple(field for field in fields if field.name not in facts.fields)


def _custom_line(facts: ObjectFacts, field: CustomField, outcomes: Outcomes, *, defined_on: str) -> str:
    name = f"{facts.name}.{field.name}"
    found = facts.fields.get(field.name)
    outcome = outcomes.get(name, "")
    if found is None:
        return _absent_line(name, field, outcome, defined_on=defined_on)
    if found.kind and not field.is_described_as(found.kind):
        return (
            f"missing: {name}: exists with type {found.kind}, but must be {field.definition}: delete it or give it "
            "another API name in Salesforce's Object Manager, then run this again"
        )
    if not _is_writable(field.name, found):
        return f"missing: {name}: give the integration user Edit access to the field"
    if field.kind in {"Text", "LongTextArea"} and found.length < field.length:
        return f"missing: {name}: holds {found.length} characters; change its length to {field.length}"
    if field.is_key and not found.external_id:
        return f"missing: {name}: tick External ID (and Unique)"
    made = "created" if outcome == "created" else "ok"
    if field.is_key and not found.unique:
        return f"{made}: {name}, but not Unique: two workers at once could make two records; tick Unique if offered"
    return f"{made}: {name}"


def _absent_line(name: str, field: CustomField, outcome: str, *, defined_on: str) -> str:
    by_hand = f"create it on {defined_on} as {field.definition}, visible and editable for the user"
    if outcome == "would create":
        return f"would create: {name} on {defined_on} as {field.definition}"
    if outcome in {"created", "there"}:
        return (
            f"missing: {name}: {'made now' if outcome == 'created' else 'it is there'}, but the integration user does "
            f"not see it: tick Read and Edit of {name} in its permission set ({GRANT_PATH})"
        )
    if outcome:
        return f"missing: {name}: {by_hand} ({CREATE_PATH.format(place=defined_on)}; by API: {outcome})"
    return f"missing: {name}: {by_hand}"


def _object_line(facts: ObjectFacts) -> list[str]:
    if facts.is_writable:
        return []
    return [f"missing: {facts.name}: give the integration user Create and Edit on the object in its permission set"]


def _standard_line(facts: ObjectFacts, name: str) -> str:
    """Empty when all is well: nobody wants to read that Subject exists."""
    found = facts.fields.get(name)
    if found is not None and _is_writable(name, found):
        return ""
    return f"missing: {facts.name}.{name}: give the integration user Read and Edit access to the field"


def _is_writable(name: str, found: FieldFacts) -> bool:
    return found.createable and (found.updateable or name in CREATE_ONLY)


def _closed_status_line(facts: ObjectFacts) -> list[str]:
    status = facts.fields.get("Status")
    if status is None or not status.values or "Completed" in status.values:
        return []
    return ["missing: Task.Status: the picklist has no value 'Completed'; add it as a closed status"]
