"""What an org lacks before calls can be logged: compares describe with the fields that we write."""

from __future__ import annotations

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

OUR_FIELDS = frozenset(
    {
        *TASK_STANDARD,
        *PERSON_STANDARD["Lead"],
        *(field.name for field in (*TASK_FIELDS, *PERSON_FIELDS)),
        *("MobilePhone", "HomePhone", "OtherPhone", "IsConverted", "ConvertedContactId", "CreatedDate"),
    }
)
"""Names that may appear in errors; anything else in a message could be a person's data."""


def task_report(facts: ObjectFacts) -> list[str]:
    """One line for each field of ours on Task. Custom fields of tasks are defined on the Activity object."""
    standard = [_standard_line(facts, name) for name in TASK_STANDARD]
    custom = [_custom_line(facts, field, defined_on="Activity") for field in TASK_FIELDS]
    return [*custom, *(line for line in standard if line), *_closed_status_line(facts)]


def person_report(facts: ObjectFacts, object_name: PersonObject) -> list[str]:
    """One line for each field of ours on the object that new callers become."""
    standard = [_standard_line(facts, name) for name in PERSON_STANDARD[object_name]]
    custom = [_custom_line(facts, field, defined_on=object_name) for field in PERSON_FIELDS]
    return [*custom, *(line for line in standard if line)]


def _custom_line(facts: ObjectFacts, field: CustomField, *, defined_on: str) -> str:
    name = f"{facts.name}.{field.name}"
    found = facts.fields.get(field.name)
    if found is None:
        return f"missing: {name}: create it on {defined_on} as {field.definition}, visible and editable for the user"
    if not _is_writable(field.name, found):
        return f"missing: {name}: give the integration user Edit access to the field"
    if field.is_key and not found.external_id:
        return f"missing: {name}: tick External ID (and Unique)"
    if field.is_key and not found.unique:
        return f"ok: {name}, but not Unique: two workers at once could make two records; tick Unique if offered"
    return f"ok: {name}"


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
