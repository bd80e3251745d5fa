"""What an administrator's rights allow in the Salesforce stand-in: custom fields (Tooling API) and who may see them.

As in Salesforce, a field made by the Tooling API is seen by nobody until a permission set grants it. Custom fields of
tasks are defined on Activity.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from infra.local.standins.salesforce_checks import ApiError
from infra.local.standins.salesforce_schema import SETUP_OBJECTS, FieldSpec, FieldType, ObjectSpec
from infra.local.standins.salesforce_store import Org

_FULL_NAME = re.compile(r"^(?P<object>Activity|Lead|Contact)\.(?P<name>[A-Za-z]\w{0,36}__c)$")
_DESCRIBED_AS: dict[str, FieldType] = {
    "Text": "string",
    "Number": "double",
    "LongTextArea": "textarea",
    "DateTime": "datetime",
}
_NEEDS = {"Text": ("length",), "Number": ("precision", "scale"), "LongTextArea": ("length", "visibleLines")}


def create_field(org: Org, body: Any) -> str:
    """A new custom field's id. Raises `ApiError` as the Tooling API answers."""
    if not org.settings.customize_application:
        raise ApiError("INSUFFICIENT_ACCESS_OR_READONLY", "insufficient access rights on cross-reference id")
    document = body if isinstance(body, dict) else {}
    match = _FULL_NAME.match(str(document.get("FullName", "")))
    metadata = document.get("Metadata")
    if match is None or not isinstance(metadata, dict):
        raise ApiError("FIELD_INTEGRITY_EXCEPTION", "FullName and Metadata are required", fields=("FullName",))
    object_name = "Task" if match["object"] == "Activity" else match["object"]
    if match["name"] in org.objects[object_name]:
        raise ApiError("DUPLICATE_DEVELOPER_NAME", f"There is already a field named {match['name']}")
    spec = _spec(match["name"], metadata)
    if spec.unique and match["object"] == "Activity" and not org.settings.activity_unique:
        raise ApiError("FIELD_INTEGRITY_EXCEPTION", "Can not specify 'unique' for this field", fields=("unique",))
    return org.add_field(object_name, spec)


def _spec(name: str, metadata: Mapping[str, Any]) -> FieldSpec:
    kind = metadata.get("type")
    missing = [key for key in ("label", *_NEEDS.get(str(kind), ())) if metadata.get(key) is None]
    if kind not in _DESCRIBED_AS or missing:
        raise ApiError("FIELD_INTEGRITY_EXCEPTION", f"Must specify {', '.join(missing) or 'a known type'}")
    return FieldSpec(
        name=name,
        type=_DESCRIBED_AS[kind],
        length=int(metadata.get("length") or 0),
        unique=bool(metadata.get("unique")),
        external_id=bool(metadata.get("externalId")),
    )


def check_setup_access(org: Org, object_name: str) -> None:
    """Objects of the set-up are invisible to whoever may not manage permissions."""
    if object_name in SETUP_OBJECTS and not org.settings.manage_permissions:
        raise ApiError("INVALID_TYPE", f"sObject type '{object_name}' is not supported.")


def check_grant(org: Org, values: Mapping[str, Any]) -> None:
    """A FieldPermissions row must name a field that exists, prefixed with its object."""
    object_name, _, name = str(values.get("Field", "")).partition(".")
    known: ObjectSpec = org.objects.get(object_name, {})
    if object_name != values.get("SobjectType") or name not in known:
        raise ApiError("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", "Field Name: bad value", fields=("Field",))
    if values.get("PermissionsEdit") and not values.get("PermissionsRead"):
        raise ApiError("FIELD_INTEGRITY_EXCEPTION", "Edit needs Read", fields=("PermissionsRead",))
