"""One Salesforce org of the stand-in: its records, its rules, its counters. Every method runs under the org's lock."""

from __future__ import annotations

import copy
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from infra.local.standins.salesforce_checks import ApiError, MultipleChoices, check_create, check_update
from infra.local.standins.salesforce_ids import numbered_id, with_checksum
from infra.local.standins.salesforce_schema import DEFAULTS, KEY_PREFIX, FieldSpec, ObjectSpec, standard_objects

Record = dict[str, Any]

_ID = re.compile(r"^[A-Za-z0-9]{15}([A-Za-z0-9]{3})?$")


class OrgSettings(BaseModel):
    """What an engineer or a test may change of an org (`POST /_standin/orgs`). Empty means not checked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    consumer_secret: str = ""
    public_key_pem: str = ""
    """When set, JWT assertions must carry a valid RS256 signature of this key."""
    search_lag_s: float = Field(default=0, ge=0)
    """How long the search index takes to see a new record."""
    duplicate_rule: Literal["off", "alert", "block"] = "off"
    """`alert` gives way to `allowSave=true`, `block` never does."""
    daily_limit: int = Field(default=15_000, ge=0)
    """Rolling 24 h allowance; a Developer Edition's by default."""
    removed_fields: dict[str, tuple[str, ...]] = {}
    """Per object: fields the org does not have (or hides from the user, which looks the same)."""
    field_changes: dict[str, dict[str, dict[str, Any]]] = {}
    """Per object and field: attributes that differ, for example `{"unique": false}`."""
    hidden_fields: dict[str, tuple[str, ...]] = {}
    """Per object: fields that exist but that no permission set of the user grants."""
    object_rights: dict[str, dict[str, bool]] = {}
    """Per object: what describe says of it for this user, for example `{"createable": false}`."""
    customize_application: bool = False
    """Whether the user may make custom fields through the Tooling API; an integration user usually may not."""
    manage_permissions: bool = False
    """Whether the user may read and write permission sets."""
    activity_unique: bool = True
    """Whether *Unique* is offered for fields of activities."""

    def objects(self) -> dict[str, ObjectSpec]:
        """The org's schema: the standard one with this org's differences."""
        objects = standard_objects()
        for object_name, names in self.removed_fields.items():
            for name in names:
                objects[object_name].pop(name, None)
        for object_name, changes in self.field_changes.items():
            for name, attributes in changes.items():
                current = objects[object_name].get(name, FieldSpec(name=name, length=255))
                objects[object_name][name] = FieldSpec.model_validate(current.model_dump() | attributes)
        return objects


class Org:
    """Records by object and id, in order of creation. No org ever sees another's."""

    def __init__(self, org_number: int) -> None:
        self.lock = threading.RLock()
        self.settings = OrgSettings()
        self.objects: dict[str, ObjectSpec] = standard_objects()
        self.requests: Counter[str] = Counter()
        self.api_calls = 0
        self._org_number = org_number
        self._next_number = 0
        self._records: dict[str, dict[str, Record]] = {name: {} for name in KEY_PREFIX}
        self._deleted: set[str] = set()
        self._born: dict[str, float] = {}
        self._ungranted: set[str] = set()
        """Fields (`Object.Name`) that only a permission set makes visible."""
        self.user_id = with_checksum(f"0055g{org_number:010d}")

    def configure(self, settings: OrgSettings) -> None:
        self.settings = settings
        self.objects = settings.objects()
        hidden = settings.hidden_fields.items()
        self._ungranted = {f"{object_name}.{name}" for object_name, names in hidden for name in names}

    def spec(self, object_name: str) -> ObjectSpec:
        """The object's fields as the user sees them."""
        if object_name not in self.objects:
            raise ApiError("NOT_FOUND", "The requested resource does not exist", status=404)
        fields = self.objects[object_name]
        if not self._ungranted:
            return fields
        hidden = self._ungranted - self._granted()
        return {name: field for name, field in fields.items() if f"{object_name}.{name}" not in hidden}

    def add_field(self, object_name: str, spec: FieldSpec) -> str:
        """A custom field made by an administrator; its id. Nobody sees it before it is granted."""
        self.objects[object_name][spec.name] = spec
        self._ungranted.add(f"{object_name}.{spec.name}")
        self._next_number += 1
        return with_checksum(f"00N5g{self._next_number:010d}")

    def _granted(self) -> set[str]:
        """Fields that the user's permission sets let him read."""
        mine = {
            row["PermissionSetId"] for row in self.all("PermissionSetAssignment") if row["AssigneeId"] == self.user_id
        }
        rows = self.all("FieldPermissions")
        return {row["Field"] for row in rows if row["ParentId"] in mine and row.get("PermissionsRead")}

    # --- reading ---------------------------------------------------------------------------------

    def all(self, object_name: str) -> list[Record]:
        return list(self._records[object_name].values())

    def searchable(self, object_name: str) -> list[Record]:
        """The records that the search index has seen by now."""
        horizon = time.monotonic() - self.settings.search_lag_s
        return [record for record in self.all(object_name) if self._born[record["Id"]] <= horizon]

    def read(self, object_name: str, record_id: str) -> Record:
        records = self._records[object_name]
        if record_id in self._deleted:
            raise ApiError("ENTITY_IS_DELETED", "entity is deleted", status=404)
        if record_id not in records:
            raise ApiError("NOT_FOUND", "The requested resource does not exist", status=404)
        return records[record_id]

    def find_external(self, object_name: str, field: str, value: str) -> list[Record]:
        """Records with this external id; comparison ignores case, as Salesforce's default does."""
        spec = self.spec(object_name).get(field)
        if spec is None or not (spec.external_id or spec.type == "id"):
            raise ApiError(
                "NOT_FOUND", f"Provided external ID field does not exist or is not accessible: {field}", status=404
            )
        return [r for r in self.all(object_name) if str(r.get(field) or "").casefold() == value.casefold()]

    # --- writing ---------------------------------------------------------------------------------

    def create(self, object_name: str, values: Mapping[str, Any], *, allow_save: bool) -> str:
        check_create(object_name, self.spec(object_name), values)
        self._check_links(values)
        self._check_unique(object_name, values, own_id="")
        self._check_duplicate_rule(object_name, values, allow_save=allow_save)
        return self.plant(object_name, values)

    def update(self, object_name: str, record_id: str, values: Mapping[str, Any]) -> None:
        record = self.read(object_name, record_id)
        check_update(object_name, self.spec(object_name), values)
        if record.get("IsConverted"):
            raise ApiError("CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead")
        self._check_links(values)
        self._check_unique(object_name, values, own_id=record_id)
        record.update(values)
        record["LastModifiedDate"] = _now()

    def upsert(
        self, object_name: str, field: str, value: str, values: Mapping[str, Any], *, allow_save: bool
    ) -> tuple[str, bool]:
        """The record's id and whether it was created. Raises `MultipleChoices` when several share the value."""
        found = self.find_external(object_name, field, value)
        if field in values:
            raise ApiError("INVALID_FIELD", f"The {field} field should not be specified in the sobject data.")
        if len(found) > 1:
            raise MultipleChoices([record["Id"] for record in found])
        if found:
            self.update(object_name, found[0]["Id"], values)
            return found[0]["Id"], False
        return self.create(object_name, {**values, field: value}, allow_save=allow_save), True

    def delete(self, object_name: str, record_id: str) -> None:
        """Delete a record; a person's tasks go with it, as in Salesforce."""
        self.read(object_name, record_id)
        del self._records[object_name][record_id]
        self._deleted.add(record_id)
        for task in self.all("Task"):
            if task.get("WhoId") == record_id:
                self.delete("Task", task["Id"])

    def convert(self, lead_id: str) -> str:
        """What a human does with a good Lead: it becomes a Contact, which takes over its tasks; returns its id."""
        lead = self.read("Lead", lead_id)
        shared = {name: lead[name] for name in ("FirstName", "LastName", "Phone", "MobilePhone") if lead.get(name)}
        contact_id = self.plant("Contact", shared)
        lead.update({"IsConverted": True, "ConvertedContactId": contact_id, "Status": "Closed - Converted"})
        for task in self.all("Task"):
            if task.get("WhoId") == lead_id:
                task["WhoId"] = contact_id
        return contact_id

    def plant(self, object_name: str, values: Mapping[str, Any]) -> str:
        """Store without checks: a checked creation's last step, and how seeds come in."""
        record_id = self._new_id(object_name)
        stamps = {"CreatedDate": _now(), "LastModifiedDate": _now()}
        self._records[object_name][record_id] = {"Id": record_id, **DEFAULTS[object_name], **stamps, **values}
        self._born[record_id] = time.monotonic()
        return record_id

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside or nothing: any exception restores what was there."""
        kept = copy.deepcopy((self._records, self._deleted, self._born))
        try:
            yield
        except BaseException:
            self._records, self._deleted, self._born = kept
            raise

    # --- over a restart (keeping.py) -------------------------------------------------------------

    @contextmanager
    def standing_still(self) -> Iterator[dict[str, Any]]:
        with self.lock:
            yield {
                "org_number": self._org_number,
                "settings": self.settings,
                "objects": self.objects,
                "ungranted": self._ungranted,
                "requests": self.requests,
                "api_calls": self.api_calls,
                "next_number": self._next_number,
                "records": self._records,
                "deleted": self._deleted,
                "born": self._born,
            }

    def take_up(self, kept: Mapping[str, Any]) -> None:
        """Of an org with the same number."""
        with self.lock:
            self.settings, self.objects, self._ungranted = kept["settings"], kept["objects"], kept["ungranted"]
            self.requests, self.api_calls = kept["requests"], kept["api_calls"]
            self._next_number, self._records = kept["next_number"], kept["records"]
            self._deleted, self._born = kept["deleted"], kept["born"]

    # --- rules -----------------------------------------------------------------------------------

    def _check_links(self, values: Mapping[str, Any]) -> None:
        who = values.get("WhoId")
        if who is None:
            return
        if not _ID.match(who):
            raise ApiError("MALFORMED_ID", f"Name ID: id value of incorrect type: {who}", fields=("WhoId",))
        if who in self._deleted:
            raise ApiError("ENTITY_IS_DELETED", "entity is deleted", fields=("WhoId",))
        person = self._records["Lead"].get(who) or self._records["Contact"].get(who)
        if person is None:
            raise ApiError("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", fields=("WhoId",))
        if person.get("IsConverted"):
            raise ApiError("CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead", fields=("WhoId",))

    def _check_unique(self, object_name: str, values: Mapping[str, Any], *, own_id: str) -> None:
        for field in self.spec(object_name).values():
            value = values.get(field.name)
            if not field.unique or value is None:
                continue
            for record in self.all(object_name):
                if record["Id"] != own_id and str(record.get(field.name)).casefold() == str(value).casefold():
                    raise ApiError(
                        "DUPLICATE_VALUE",
                        f"duplicate value found: {field.name} duplicates value on record with id: {record['Id']}",
                    )

    def _check_duplicate_rule(self, object_name: str, values: Mapping[str, Any], *, allow_save: bool) -> None:
        rule = self.settings.duplicate_rule
        if object_name == "Task" or rule == "off" or (rule == "alert" and allow_save):
            return
        number = digits(values.get("Phone"))
        if number and any(digits(record.get("Phone")).endswith(number[-10:]) for record in self.all(object_name)):
            raise ApiError("DUPLICATES_DETECTED", "Use one of these records?")

    def _new_id(self, object_name: str) -> str:
        self._next_number += 1
        return numbered_id(KEY_PREFIX[object_name], self._org_number * 1_000_000 + self._next_number)


def digits(value: Any) -> str:
    """The digits of a telephone field, whatever its punctuation."""
    return re.sub(r"\D", "", str(value or ""))


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000+0000")
