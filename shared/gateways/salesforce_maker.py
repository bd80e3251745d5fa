"""Makes the custom fields that an org lacks and lets the integration user see them, where its rights allow that.

`POST tooling/sobjects/CustomField` makes a field that nobody sees; a permission set of ours then grants it through
`FieldPermissions`, which must carry the object's name (`Task.…`, although the field is defined on `Activity`). An
integration user rarely has these rights: then the report says what a person clicks, and nothing is lost.
"""

from __future__ import annotations

from collections.abc import Sequence

from shared.gateways.salesforce_errors import Refusal
from shared.gateways.salesforce_fields import CustomField
from shared.gateways.salesforce_rest import SalesforceRest, soql_string

PERMISSION_SET = "Ext_Call_Pipeline"
PERMISSION_SET_LABEL = "Call pipeline"
_EXISTS = frozenset({"DUPLICATE_DEVELOPER_NAME", "DUPLICATE_VALUE"})
_ACTIVITY = "Activity"

Wanted = tuple[str, CustomField]
"""The object as describe names it (`Task`), and the field."""


class FieldMaker:
    """For the time of one `prepare`. Raises `TransientFailure` and `TenantBlocked` of the session only."""

    def __init__(self, rest: SalesforceRest) -> None:
        self._rest = rest

    def make(self, wanted: Sequence[Wanted]) -> dict[str, str]:
        """Create every field and grant all of them; what became of each, as `salesforce_setup.Outcomes`."""
        outcomes: dict[str, str] = {}
        for object_name, field in wanted:
            outcomes[f"{object_name}.{field.name}"] = self._create(object_name, field)
        granted = [(name, f) for name, f in wanted if outcomes[f"{name}.{f.name}"] in {"created", "there"}]
        if granted:
            self._grant(granted)
        return outcomes

    def _create(self, object_name: str, field: CustomField) -> str:
        outcome = self._try(object_name, field, unique=True)
        if outcome.startswith("FIELD_INTEGRITY_EXCEPTION") and field.is_key:
            # Unique is not offered for all fields of activities: then our own claims keep calls apart.
            return self._try(object_name, field, unique=False)
        return outcome

    def _try(self, object_name: str, field: CustomField, *, unique: bool) -> str:
        defined_on = _ACTIVITY if object_name == "Task" else object_name
        document = {"FullName": f"{defined_on}.{field.name}", "Metadata": field.metadata(unique=unique)}
        try:
            self._rest.create("CustomField", document, tooling=True)
        except Refusal as refusal:
            _raise_if_passing(refusal)
            return "there" if refusal.code in _EXISTS else refusal.code or f"HTTP {refusal.status}"
        return "created"

    def _grant(self, fields: Sequence[Wanted]) -> None:
        """Without the right to do so the next describe does not show the fields, and the report says what to tick."""
        try:
            set_id = self._permission_set()
            had = self._ids("FieldPermissions", "Field", f"ParentId = {soql_string(set_id)}")
            for object_name, field in fields:
                name = f"{object_name}.{field.name}"
                if name not in had:
                    self._rest.create("FieldPermissions", _grant_of(set_id, object_name, name))
            self._assign(set_id)
        except Refusal as refusal:
            _raise_if_passing(refusal)

    def _permission_set(self) -> str:
        found = self._ids("PermissionSet", "Id", f"Name = {soql_string(PERMISSION_SET)}")
        if found:
            return min(found)
        values = {"Name": PERMISSION_SET, "Label": PERMISSION_SET_LABEL, "Description": "Fields of the call pipeline"}
        return self._rest.create("PermissionSet", values)

    def _assign(self, set_id: str) -> None:
        user_id = self._rest.user_id()
        if not user_id:
            return
        where = f"PermissionSetId = {soql_string(set_id)} AND AssigneeId = {soql_string(user_id)}"
        if not self._ids("PermissionSetAssignment", "Id", where):
            self._rest.create("PermissionSetAssignment", {"AssigneeId": user_id, "PermissionSetId": set_id})

    def _ids(self, object_name: str, field: str, where: str) -> set[str]:
        # Names are constants of this module, and values went through soql_string.
        rows = self._rest.query(f"SELECT {field} FROM {object_name} WHERE {where}")  # noqa: S608 - SOQL, see above
        return {str(row.get(field)) for row in rows}


def _grant_of(set_id: str, object_name: str, name: str) -> dict[str, object]:
    rights = {"PermissionsRead": True, "PermissionsEdit": True}
    return {"ParentId": set_id, "SobjectType": object_name, "Field": name, **rights}


def _raise_if_passing(refusal: Refusal) -> None:
    """A busy Salesforce is no answer to whether the user may: the caller tries again."""
    if refusal.status >= 500 or refusal.status == 429 or refusal.code == "UNABLE_TO_LOCK_ROW":
        raise refusal
