"""What Salesforce checks before it writes: names, types, lengths, required fields, picklists; and its errors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from infra.local.standins.salesforce_schema import FieldSpec, ObjectSpec

_DATE = re.compile(r"^\d{4}-\d{2}-\d{2}$")


class ApiError(Exception):
    """A refusal in Salesforce's form: a list of one `{errorCode, message, fields}`."""

    def __init__(self, code: str, message: str, *, status: int = 400, fields: tuple[str, ...] = ()) -> None:
        super().__init__(code)
        self.status = status
        self.item: dict[str, Any] = {"message": message, "errorCode": code, "fields": list(fields)}

    @property
    def body(self) -> list[dict[str, Any]]:
        return [self.item]


class MultipleChoices(Exception):
    """Several records share an external id: answered 300 with their addresses."""

    def __init__(self, urls: list[str]) -> None:
        super().__init__("300")
        self.urls = urls


def check_create(object_name: str, spec: ObjectSpec, values: Mapping[str, Any]) -> None:
    """Raises `ApiError` for the first thing Salesforce would refuse."""
    for name, value in values.items():
        field = _known(object_name, spec, name)
        if not field.createable:
            raise _not_writable(name)
        _check_value(field, value)
    missing = tuple(field.name for field in spec.values() if field.required and not values.get(field.name))
    if missing:
        raise ApiError("REQUIRED_FIELD_MISSING", f"Required fields are missing: [{', '.join(missing)}]", fields=missing)


def check_update(object_name: str, spec: ObjectSpec, values: Mapping[str, Any]) -> None:
    """The same for an update; a create-only field is refused even with its old value."""
    for name, value in values.items():
        field = _known(object_name, spec, name)
        if not field.updateable:
            raise _not_writable(name)
        if field.required and not value:
            raise ApiError("REQUIRED_FIELD_MISSING", f"Required fields are missing: [{name}]", fields=(name,))
        _check_value(field, value)


def _known(object_name: str, spec: ObjectSpec, name: str) -> FieldSpec:
    if name not in spec:
        raise ApiError("INVALID_FIELD", f"No such column '{name}' on sobject of type {object_name}")
    return spec[name]


def _not_writable(name: str) -> ApiError:
    return ApiError(
        "INVALID_FIELD_FOR_INSERT_UPDATE",
        f"Unable to create/update fields: {name}. Please check the security settings of this field and verify "
        "that it is read/write for your profile or permission set.",
        fields=(name,),
    )


def _check_value(field: FieldSpec, value: Any) -> None:
    if value is None:
        return
    if not _has_right_type(field, value):
        raise ApiError("JSON_PARSER_ERROR", f"Cannot deserialize instance of {field.type} for {field.name}")
    if field.length and len(value) > field.length:
        raise ApiError(
            "STRING_TOO_LONG",
            f"{field.name}: data value too large: {value[:40]} (max length={field.length})",
            fields=(field.name,),
        )
    if field.restricted and value not in field.values:
        raise ApiError(
            "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
            f"{field.name}: bad value for restricted picklist field: {value}",
            fields=(field.name,),
        )


def _has_right_type(field: FieldSpec, value: Any) -> bool:
    match field.type:
        case "boolean":
            return isinstance(value, bool)
        case "int":
            return isinstance(value, int) and not isinstance(value, bool)
        case "double":
            return isinstance(value, (int, float)) and not isinstance(value, bool)
        case "date":
            return isinstance(value, str) and bool(_DATE.match(value))
        case _:
            return isinstance(value, str)
