"""Takes a caller's records out of Salesforce: emptied, because the recycle bin shows them for 15 days, then deleted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.crm_erasure import CrmErased, CrmErasure
from shared.gateways.salesforce_errors import Refusal
from shared.gateways.salesforce_fields import CALL_KEY, CALLER_KEY, LAST_CALL_AT
from shared.gateways.salesforce_people import PERSON_OBJECTS, Facts
from shared.gateways.salesforce_rest import SalesforceRest, Write, soql_string

_TASK: Mapping[str, Any] = {
    "Subject": "Erased",
    "Description": None,
    "Ext_Lead_Score__c": None,
    "Ext_Intent__c": None,
    "Ext_Next_Step__c": None,
}
_PERSON: Mapping[str, Any] = {
    "FirstName": None,
    "LastName": "Erased",
    "Phone": None,
    "MobilePhone": None,
    "Description": None,
    CALLER_KEY: None,
    "Ext_Lead_Score__c": None,
    "Ext_Lead_Summary__c": None,
    LAST_CALL_AT: None,
}
_GONE = frozenset({"NOT_FOUND", "ENTITY_IS_DELETED", "INVALID_CROSS_REFERENCE_KEY"})
_CONVERTED = "CANNOT_UPDATE_CONVERTED_LEAD"


def erase(rest: SalesforceRest, wanted: CrmErasure, facts: Facts) -> CrmErased:
    """Tasks before people: deleting a person takes its tasks along, unemptied. Raises `Refusal`."""
    tasks = dict.fromkeys([*wanted.activity_ids, *_tasks_by_key(rest, wanted)])
    erased = tuple(task for task in tasks if _erase(rest, "Task", task, _TASK))
    people = dict.fromkeys([*_objects_of(wanted), *_people_by_key(rest, wanted, facts)])
    gone = tuple(
        record_id
        for object_name, record_id in people
        if _erase(rest, object_name, record_id, _writable(facts, object_name))
    )
    return CrmErased("salesforce", erased, gone)


def _tasks_by_key(rest: SalesforceRest, wanted: CrmErasure) -> list[str]:
    return [found for call_id in wanted.call_ids for found in _ids(rest, "Task", CALL_KEY, call_id)]


def _objects_of(wanted: CrmErasure) -> list[tuple[str, str]]:
    return [(person_type.capitalize(), record_id) for person_type, record_id in wanted.people]


def _people_by_key(rest: SalesforceRest, wanted: CrmErasure, facts: Facts) -> list[tuple[str, str]]:
    """Our key stands only on people that we made."""
    if not wanted.e164:
        return []
    return [
        (object_name, found)
        for object_name in PERSON_OBJECTS
        if facts[object_name].has_key(CALLER_KEY)
        for found in _ids(rest, object_name, CALLER_KEY, wanted.e164)
    ]


def _ids(rest: SalesforceRest, object_name: str, field: str, value: str) -> list[str]:
    """Records with an exact value; a query sees what was written just now."""
    soql = f"SELECT Id FROM {object_name} WHERE {field} = {soql_string(value)}"  # noqa: S608 - escaped
    return [str(row["Id"]) for row in rest.query(f"{soql} ORDER BY CreatedDate LIMIT 50")]


def _writable(facts: Facts, object_name: str) -> dict[str, Any]:
    known = next(item for name, item in facts.items() if name == object_name).fields
    return {name: value for name, value in _PERSON.items() if name in known and known[name].updateable}


def _erase(rest: SalesforceRest, object_name: str, record_id: str, values: Mapping[str, Any]) -> bool:
    try:
        rest.write([Write("emptied", object_name, values, record_id=record_id)])
    except Refusal as refusal:
        if refusal.code in _GONE:
            return False
        if refusal.code != _CONVERTED:  # a converted lead cannot be changed any more, only deleted
            raise
    try:
        rest.delete(object_name, record_id)
    except Refusal as refusal:
        if refusal.code not in _GONE:
            raise
    return True
