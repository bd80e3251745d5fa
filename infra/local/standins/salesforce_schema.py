"""The objects of the Salesforce stand-in: the fields of Lead, Contact and Task that the pipeline touches.

Field facts (lengths, create-only, restricted picklists) follow Salesforce's object reference for API v66.0.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

FieldType = Literal[
    "id", "string", "phone", "textarea", "picklist", "boolean", "int", "double", "date", "datetime", "ref"
]

_SOAP_NAME = {"ref": "reference"}
"""Names of ours that describe spells differently."""


class FieldSpec(BaseModel):
    """One field: what describe says of it and what a write is checked against."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    type: FieldType = "string"
    length: int = 0
    createable: bool = True
    updateable: bool = True
    required: bool = False
    unique: bool = False
    external_id: bool = False
    values: tuple[str, ...] = ()
    restricted: bool = False

    def describe(self) -> dict[str, Any]:
        """The field as `sobjects/<object>/describe` lists it."""
        return {
            "name": self.name,
            "label": self.name.removesuffix("__c").replace("_", " "),
            "type": _SOAP_NAME.get(self.type, self.type),
            "length": self.length,
            "custom": self.name.endswith("__c"),
            "createable": self.createable,
            "updateable": self.updateable,
            "nillable": not self.required,
            "unique": self.unique,
            "externalId": self.external_id,
            "idLookup": self.external_id or self.type == "id",
            "restrictedPicklist": self.restricted,
            "picklistValues": [{"value": value, "active": True} for value in self.values],
        }


ObjectSpec = dict[str, FieldSpec]

SETUP_OBJECTS = ("PermissionSet", "FieldPermissions", "PermissionSetAssignment")
KEY_PREFIX = {
    "Lead": "00Q",
    "Contact": "003",
    "Task": "00T",
    **dict(zip(SETUP_OBJECTS, ("0PS", "01k", "0Pa"), strict=True)),
}


def _read_only(name: str, kind: FieldType) -> FieldSpec:
    return FieldSpec(name=name, type=kind, createable=False, updateable=False)


def _text(name: str, length: int, *, required: bool = False) -> FieldSpec:
    return FieldSpec(name=name, length=length, required=required)


def _phone(name: str) -> FieldSpec:
    return FieldSpec(name=name, type="phone", length=40)


def _pick(name: str, *values: str, restricted: bool = False) -> FieldSpec:
    return FieldSpec(name=name, type="picklist", length=255, values=values, restricted=restricted)


_SYSTEM = (_read_only("Id", "id"), _read_only("CreatedDate", "datetime"), _read_only("LastModifiedDate", "datetime"))
_RATINGS = ("Hot", "Warm", "Cold")
_LEAD_SOURCES = ("Web", "Phone Inquiry", "Partner Referral", "Purchased List", "Other")
_PERSON = (
    _text("FirstName", 40),
    _text("LastName", 80, required=True),
    _text("Title", 128),
    _text("Email", 80),
    _phone("Phone"),
    _phone("MobilePhone"),
    _phone("Fax"),
    FieldSpec(name="Description", type="textarea", length=32_000),
    _pick("LeadSource", *_LEAD_SOURCES),
    FieldSpec(name="Ext_Caller_Key__c", length=80, external_id=True, unique=True),
    FieldSpec(name="Ext_Lead_Score__c", type="double"),
    FieldSpec(name="Ext_Lead_Summary__c", type="textarea", length=2000),
    FieldSpec(name="Ext_Last_Call_At__c", type="datetime"),
)


def _by_name(*fields: FieldSpec) -> ObjectSpec:
    return {field.name: field for field in fields}


def standard_objects() -> dict[str, ObjectSpec]:
    """A fresh org's objects, with the pipeline's custom fields installed as `docs/api/salesforce-setup.md` says."""
    return {
        "Lead": _by_name(
            *_SYSTEM,
            *_PERSON,
            _text("Company", 255, required=True),
            _pick("Rating", *_RATINGS),
            _pick("Status", "Open - Not Contacted", "Working - Contacted", "Closed - Converted"),
            _read_only("IsConverted", "boolean"),
            _read_only("ConvertedContactId", "ref"),
        ),
        "Contact": _by_name(
            *_SYSTEM, *_PERSON, _phone("HomePhone"), _phone("OtherPhone"), _read_only("AccountId", "ref")
        ),
        "Task": _by_name(
            *_SYSTEM,
            _text("Subject", 255),
            _pick("Status", "Not Started", "In Progress", "Completed"),
            _pick("Priority", "High", "Normal", "Low"),
            FieldSpec(name="ActivityDate", type="date"),
            FieldSpec(
                name="TaskSubtype",
                type="picklist",
                length=40,
                updateable=False,
                values=("Task", "Call"),
                restricted=True,
            ),
            FieldSpec(name="CallDurationInSeconds", type="int"),
            _pick("CallType", "Internal", "Inbound", "Outbound", restricted=True),
            _text("CallObject", 255),
            _text("CallDisposition", 255),
            FieldSpec(name="Description", type="textarea", length=32_000),
            FieldSpec(name="WhoId", type="ref"),
            FieldSpec(name="Ext_Call_Id__c", length=80, external_id=True, unique=True),
            FieldSpec(name="Ext_Lead_Score__c", type="double"),
            _text("Ext_Intent__c", 80),
            _text("Ext_Next_Step__c", 255),
        ),
        "PermissionSet": _by_name(
            *_SYSTEM,
            FieldSpec(name="Name", length=80, required=True, unique=True),
            _text("Label", 80, required=True),
            _text("Description", 255),
        ),
        "FieldPermissions": _by_name(
            *_SYSTEM,
            FieldSpec(name="ParentId", type="ref", required=True),
            _text("SobjectType", 40, required=True),
            _text("Field", 200, required=True),
            FieldSpec(name="PermissionsRead", type="boolean"),
            FieldSpec(name="PermissionsEdit", type="boolean"),
        ),
        "PermissionSetAssignment": _by_name(
            *_SYSTEM,
            FieldSpec(name="AssigneeId", type="ref", required=True),
            FieldSpec(name="PermissionSetId", type="ref", required=True),
        ),
    }


DEFAULTS: dict[str, dict[str, Any]] = {
    "Lead": {"Status": "Open - Not Contacted", "IsConverted": False},
    "Contact": {},
    "Task": {"Status": "Not Started", "Priority": "Normal", "TaskSubtype": "Task"},
    **{name: {} for name in SETUP_OBJECTS},
}
"""What Salesforce fills in on creation."""
