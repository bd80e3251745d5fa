"""One HubSpot portal in memory: records, unique values, associations, and a search index that may lag."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from infra.local.standins.hubspot_schema import OBJECT_TYPES, Refused, Schema, searchable_number


@dataclass(frozen=True)
class IndexLag:
    """How far behind the search index is: it shows a write after so many further searches and so many seconds."""

    searches: int = 0
    seconds: float = 0.0


@dataclass
class Record:
    """A contact or call. `shown` is what the search index has of it; `pending` what it will show, and when."""

    record_id: str
    properties: dict[str, str] = field(default_factory=dict)
    shown: dict[str, str] | None = None
    pending: list[tuple[int, float, dict[str, str]]] = field(default_factory=list)

    def catch_up(self, *, searches: int, now_s: float) -> None:
        due = [entry for entry in self.pending if entry[0] <= searches and entry[1] <= now_s]
        if due:
            self.shown = due[-1][2]
            self.pending = [entry for entry in self.pending if entry not in due]

    def as_json(self, properties: Mapping[str, str], wanted: list[str]) -> dict[str, Any]:
        names = ["createdate", "hs_object_id", "lastmodifieddate", *wanted]
        return {
            "id": self.record_id,
            "properties": {name: properties.get(name) for name in names},
            "createdAt": properties["createdate"],
            "updatedAt": properties["lastmodifieddate"],
            "archived": False,
        }


Link = tuple[str, str, str, str]
"""From type, from id, to type, to id; kept in both directions."""


class Portal:
    """All state of one HubSpot account; every public method is atomic."""

    def __init__(self, *, first_id: int) -> None:
        self.lock = threading.RLock()
        self.schemas = {name: Schema.standard(name) for name in OBJECT_TYPES}
        self.records: dict[str, dict[str, Record]] = {name: {} for name in OBJECT_TYPES}
        self._links: dict[Link, None] = {}
        self._next_id = first_id
        self._last_ms = 0
        self._searches = 0

    # --- writing ----------------------------------------------------------------------------------

    def create(self, object_type: str, values: Mapping[str, Any], *, lag: IndexLag) -> Record:
        with self.lock:
            self.schemas[object_type].check_values(values)
            if object_type == "calls" and not values.get("hs_timestamp"):
                raise Refused(400, "VALIDATION_ERROR", "Error creating CALL. Some required properties were not set.")
            self._check_unique(object_type, values, own_id="")
            record = Record(self._new_id())
            record.properties |= {"hs_object_id": record.record_id, "createdate": self._timestamp()}
            self.records[object_type][record.record_id] = record
            self._write(object_type, record, values, lag=lag)
            return record

    def update(self, object_type: str, record: Record, values: Mapping[str, Any], *, lag: IndexLag) -> Record:
        with self.lock:
            self.schemas[object_type].check_values(values)
            self._check_unique(object_type, values, own_id=record.record_id)
            self._write(object_type, record, values, lag=lag)
            return record

    def upsert(
        self, object_type: str, id_property: str, value: str, values: Mapping[str, Any], *, lag: IndexLag
    ) -> tuple[Record, bool]:
        """The record with this unique value, created when there is none; the flag says whether it was."""
        with self.lock:
            record = self.find(object_type, value, id_property)
            if record is not None:
                return self.update(object_type, record, values, lag=lag), False
            return self.create(object_type, {**values, id_property: value}, lag=lag), True

    def delete(self, object_type: str, record_id: str) -> None:
        with self.lock:
            self.records[object_type].pop(record_id, None)
            self._links = {link: None for link in self._links if (object_type, record_id) not in (link[:2], link[2:])}

    def _write(self, object_type: str, record: Record, values: Mapping[str, str], *, lag: IndexLag) -> None:
        schema = self.schemas[object_type]
        record.properties |= {name: schema.as_stored(name, value) for name, value in values.items()}
        record.properties["lastmodifieddate"] = self._timestamp()
        for source, computed in (("phone", "phone_number"), ("mobilephone", "mobile_number")):
            if record.properties.get(source):
                number = searchable_number(record.properties[source])
                record.properties[f"hs_searchable_calculated_{computed}"] = number
        record.pending.append(
            (self._searches + lag.searches + 1, time.monotonic() + lag.seconds, dict(record.properties))
        )

    def _check_unique(self, object_type: str, values: Mapping[str, str], *, own_id: str) -> None:
        for name, value in values.items():
            if not self.schemas[object_type].definitions[name].unique or not value:
                continue
            other = self.find(object_type, value, name)
            if other is None or other.record_id == own_id:
                continue
            if name == "email":
                raise Refused(409, "CONFLICT", f"Contact already exists. Existing ID: {other.record_id}")
            raise Refused.for_values(
                {"name": name, "error": "CONFLICTING_UNIQUE_VALUE", "message": f"{name} must be unique"}
            )

    def _new_id(self) -> str:
        self._next_id += 1
        return str(self._next_id - 1)

    def _timestamp(self) -> str:
        """Now, in milliseconds as HubSpot writes it, but never the same twice: "oldest" is never a tie."""
        now_ms = int(datetime.now(UTC).timestamp() * 1000)
        self._last_ms = max(now_ms, self._last_ms + 1)
        moment = datetime.fromtimestamp(self._last_ms / 1000, UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    # --- reading ----------------------------------------------------------------------------------

    def find(self, object_type: str, value: str, id_property: str = "") -> Record | None:
        """By record id, or by a unique property. Strongly consistent, unlike a search."""
        with self.lock:
            records = self.records[object_type]
            if not id_property or id_property == "hs_object_id":
                return records.get(value)
            wanted = value.strip().lower()
            return next((r for r in records.values() if r.properties.get(id_property, "").lower() == wanted), None)

    def get(self, object_type: str, value: str, id_property: str = "") -> Record:
        record = self.find(object_type, value, id_property)
        if record is None:
            raise Refused(404, "OBJECT_NOT_FOUND", "Object not found.")
        return record

    def indexed(
        self, object_type: str, matches: Callable[[Mapping[str, str]], bool]
    ) -> list[tuple[Record, dict[str, str]]]:
        """One search: every record that the index shows and that matches, as the index shows it."""
        with self.lock:
            self._searches += 1
            now_s = time.monotonic()
            hits = []
            for record in self.records[object_type].values():
                record.catch_up(searches=self._searches, now_s=now_s)
                if record.shown is not None and matches(record.shown):
                    hits.append((record, record.shown))
            return hits

    # --- associations -----------------------------------------------------------------------------

    def link(self, from_type: str, from_id: str, to_type: str, to_id: str) -> None:
        """Associate two records in both directions; once more is a no-op."""
        with self.lock:
            self.get(from_type, from_id)
            self.get(to_type, to_id)
            self._links[from_type, from_id, to_type, to_id] = None
            self._links[to_type, to_id, from_type, from_id] = None

    def unlink(self, from_type: str, from_id: str, to_type: str, to_id: str) -> None:
        with self.lock:
            self._links.pop((from_type, from_id, to_type, to_id), None)
            self._links.pop((to_type, to_id, from_type, from_id), None)

    def linked(self, from_type: str, from_id: str, to_type: str) -> list[str]:
        with self.lock:
            return [link[3] for link in self._links if link[:3] == (from_type, from_id, to_type)]

    # --- over a restart (keeping.py) --------------------------------------------------------------

    @contextmanager
    def standing_still(self) -> Iterator[dict[str, Any]]:
        with self.lock:
            yield {
                "schemas": self.schemas,
                "records": self.records,
                "links": self._links,
                "next_id": self._next_id,
                "last_ms": self._last_ms,
                "searches": self._searches,
            }

    def take_up(self, kept: Mapping[str, Any]) -> None:
        with self.lock:
            self.schemas, self.records, self._links = kept["schemas"], kept["records"], kept["links"]
            self._next_id, self._last_ms, self._searches = kept["next_id"], kept["last_ms"], kept["searches"]
