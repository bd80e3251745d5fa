"""What a HubSpot portal knows about its properties: definitions, groups, and which values they take.

Facts: reference/apis.md §1.3–1.6. Values are strings on the wire, in and out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import phonenumbers

LONGEST_VALUE = 65_536
UNIQUE_PROPERTIES_PER_TYPE = 10

_FORM_FIELDS = {
    "string": {"text", "textarea", "html", "phonenumber", "file"},
    "number": {"number"},
    "datetime": {"date"},
    "bool": {"booleancheckbox"},
    "enumeration": {"select", "radio", "checkbox", "booleancheckbox"},
}


class Refused(Exception):
    """The portal's answer to a request it will not carry out."""

    def __init__(self, status: int, category: str, message: str, **extra: Any) -> None:
        super().__init__(message)
        self.status = status
        self.category = category
        self.message = message
        self.extra = extra

    @classmethod
    def for_values(cls, *problems: Mapping[str, str]) -> Refused:
        """HubSpot puts the list of problems into the message as JSON text, and again under `errors`."""
        listed = [{"isValid": False, **problem} for problem in problems]
        errors = [
            {"message": p["message"], "code": p["error"], "context": {"propertyName": [p["name"]]}} for p in problems
        ]
        message = f"Property values were not valid: {json.dumps(listed)}"
        return cls(400, "VALIDATION_ERROR", message, errors=errors)


@dataclass(frozen=True)
class Definition:
    """One property of one object type."""

    name: str
    type: str = "string"
    field_type: str = "text"
    group: str = ""
    label: str = ""
    unique: bool = False
    read_only: bool = False
    options: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "label": self.label or self.name,
            "type": self.type,
            "fieldType": self.field_type,
            "groupName": self.group,
            "hasUniqueValue": self.unique,
            "options": [{"label": option, "value": option} for option in self.options],
            "modificationMetadata": {"readOnlyValue": self.read_only},
        }


def _texts(*names: str) -> list[Definition]:
    return [Definition(name) for name in names]


def _computed(*names: str) -> list[Definition]:
    return [Definition(name, read_only=True) for name in names]


_ON_EVERY_TYPE = _computed("createdate", "lastmodifieddate", "hs_object_id")
_STANDARD = {
    "contacts": [
        *_ON_EVERY_TYPE,
        *_texts("firstname", "lastname", "phone", "mobilephone", "company", "city", "state", "country", "zip"),
        *_texts("lifecyclestage", "hs_lead_status", "hubspot_owner_id", "website", "jobtitle"),
        Definition("email", unique=True),
        *_computed("hs_searchable_calculated_phone_number", "hs_searchable_calculated_mobile_number"),
    ],
    "calls": [
        *_ON_EVERY_TYPE,
        *_texts("hs_call_title", "hs_call_from_number", "hs_call_to_number", "hs_call_recording_url"),
        *_texts("hs_call_disposition", "hubspot_owner_id", "hs_activity_type"),
        Definition("hs_call_body", field_type="html"),
        Definition("hs_timestamp", type="datetime", field_type="date"),
        Definition("hs_call_duration", type="number", field_type="number"),
        Definition("hs_call_direction", type="enumeration", field_type="radio", options=("INBOUND", "OUTBOUND")),
        Definition(
            "hs_call_status",
            type="enumeration",
            field_type="select",
            options=(
                "COMPLETED",
                "NO_ANSWER",
                "BUSY",
                "FAILED",
                "CANCELED",
                "IN_PROGRESS",
                "QUEUED",
                "RINGING",
                "CONNECTING",
                "CALLING_CRM_USER",
            ),
        ),
    ],
}
OBJECT_TYPES = tuple(_STANDARD)


@dataclass
class Schema:
    """Properties and groups of one object type of one portal. The portal's lock guards it."""

    object_type: str
    definitions: dict[str, Definition] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)

    @classmethod
    def standard(cls, object_type: str) -> Schema:
        group = "contactinformation" if object_type == "contacts" else "call"
        return cls(object_type, {item.name: item for item in _STANDARD[object_type]}, {group: group})

    def create_group(self, document: Mapping[str, Any]) -> dict[str, str]:
        name, label = document.get("name"), document.get("label")
        if not isinstance(name, str) or not isinstance(label, str) or not name:
            raise Refused(400, "VALIDATION_ERROR", "name and label are required")
        if name in self.groups:
            raise Refused(409, "CONFLICT", f"A property group named '{name}' already exists.")
        self.groups[name] = label
        return {"name": name, "label": label}

    def create_property(self, document: Mapping[str, Any]) -> Definition:
        for required in ("name", "label", "type", "fieldType", "groupName"):
            if not isinstance(document.get(required), str) or not document[required]:
                raise Refused(400, "VALIDATION_ERROR", f"Some required fields were not set: [{required}]")
        definition = Definition(
            name=document["name"],
            type=document["type"],
            field_type=document["fieldType"],
            group=document["groupName"],
            label=document["label"],
            unique=document.get("hasUniqueValue") is True,
            options=tuple(option["value"] for option in document.get("options", [])),
        )
        self._check_new(definition)
        self.definitions[definition.name] = definition
        return definition

    def _check_new(self, definition: Definition) -> None:
        if definition.name in self.definitions:
            raise Refused(409, "OBJECT_ALREADY_EXISTS", f"A property named '{definition.name}' already exists.")
        if definition.group not in self.groups:
            raise Refused(400, "VALIDATION_ERROR", f"Property group {definition.group} does not exist")
        if definition.field_type not in _FORM_FIELDS.get(definition.type, set()):
            raise Refused(400, "VALIDATION_ERROR", "type and fieldType do not go together")
        taken = [item for item in self.definitions.values() if item.unique and item.name != "email"]
        if definition.unique and len(taken) >= UNIQUE_PROPERTIES_PER_TYPE:
            raise Refused(400, "VALIDATION_ERROR", "too many unique properties")

    def require_unique(self, name: str) -> Definition:
        """The definition of an `idProperty`; HubSpot refuses one whose values may repeat."""
        definition = self.definitions.get(name)
        if definition is None:
            raise Refused.for_values(_problem(name, "PROPERTY_DOESNT_EXIST", f'Property "{name}" does not exist'))
        if not definition.unique:
            raise Refused(400, "VALIDATION_ERROR", f"idProperty {name} is not a unique property")
        return definition

    def check_values(self, values: Mapping[str, Any]) -> None:
        problems = [problem for name, value in values.items() if (problem := self._value_problem(name, value))]
        if problems:
            raise Refused.for_values(*problems)

    def _value_problem(self, name: str, value: Any) -> dict[str, str] | None:
        definition = self.definitions.get(name)
        if definition is None:
            return _problem(name, "PROPERTY_DOESNT_EXIST", f'Property "{name}" does not exist')
        if definition.read_only:
            return _problem(name, "READ_ONLY_VALUE", f'"{name}" is a read only property')
        if not isinstance(value, str):
            return _problem(name, "INVALID_TYPE", f'"{name}" must be sent as a string')
        if len(value.encode("utf-16-le")) // 2 > LONGEST_VALUE:  # Java counts UTF-16 units
            return _problem(name, "INVALID_LENGTH", f'"{name}" is longer than {LONGEST_VALUE} characters')
        if value and definition.options and value not in definition.options:
            return _problem(name, "INVALID_OPTION", f"{value} was not one of the allowed options")
        if value and definition.type == "number" and not _is_number(value):
            return _problem(name, "INVALID_NUMBER", f"{value} was not a valid number")
        if value and definition.type == "datetime" and not _is_moment(value):
            return _problem(name, "INVALID_DATE", f"{value} was not a valid date")
        return None

    def as_stored(self, name: str, value: str) -> str:
        """HubSpot hands moments back as ISO 8601 in UTC, whichever form they came in."""
        if not value or self.definitions[name].type != "datetime":
            return value.strip()
        moment = datetime.fromtimestamp(int(value) / 1000, UTC) if value.isdigit() else datetime.fromisoformat(value)
        return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _problem(name: str, error: str, message: str) -> dict[str, str]:
    return {"message": message, "error": error, "name": name}


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _is_moment(value: str) -> bool:
    """Milliseconds since the epoch, or ISO 8601 with a zone."""
    if value.isdigit():
        return True
    try:
        return datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def searchable_number(written: str) -> str:
    """HubSpot's computed form: as dialled within the country, digits only, leading zeros dropped."""
    try:
        number = phonenumbers.parse(written, "US")
    except phonenumbers.NumberParseException:
        digits = "".join(letter for letter in written if letter.isdigit())
    else:
        digits = phonenumbers.national_significant_number(number)
    return digits.lstrip("0")
