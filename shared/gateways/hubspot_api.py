"""The dozen HubSpot requests we make: bearer token, time budget, short retries, answers checked and typed.

A client of our own: the packaged one speaks only API versions that end in 2027 and has no time-outs (design §4).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

from shared.errors import TenantBlocked, TransientFailure
from shared.gateways.http import json_body, retry_after_s, send
from shared.gateways.hubspot_errors import TOKEN_FIX, RecordMissing, failure, item_failure, unreadable
from shared.gateways.hubspot_schema import ObjectType
from shared.gateways.retry import with_short_retries
from shared.ports import Clock, Secrets

API_VERSION = "2026-09"
"""Supported until March 2028; HubSpot publishes two versions a year, each for 18 months."""
BASE_URL = "https://api.hubapi.com"

_OBJECTS = f"/crm/objects/{API_VERSION}"
_PROPERTIES = f"/crm/properties/{API_VERSION}"
_MOST_HITS = 200
_CONNECT_TIMEOUT_S = 5.0
_TOKEN = re.compile(r"^[\x21-\x7e]+$")
"""What an HTTP header can carry: a secret with a line break inside is a mistake, not an outage."""

T = TypeVar("T")
Document = dict[str, Any]


@dataclass(frozen=True)
class Budget:
    """Seconds that one sync may take in all, retries and their pauses included."""

    ends_at: float

    @classmethod
    def of(cls, seconds: float) -> Budget:
        return cls(time.monotonic() + seconds)

    def left_s(self) -> float:
        """Raises `TransientFailure` when nothing is left."""
        left = self.ends_at - time.monotonic()
        if left <= 0:
            raise TransientFailure("hubspot_out_of_time", "the time for one sync with HubSpot is used up")
        return left


@dataclass(frozen=True)
class Record:
    """A contact or call as HubSpot answered it; `created` is known after an upsert only."""

    record_id: str
    properties: Mapping[str, str]
    created: bool = False


class HubSpotApi:
    """One portal. Safe for threads: it holds nothing that changes."""

    def __init__(
        self,
        client: httpx.Client,
        *,
        secrets: Secrets,
        token_secret: str,
        clock: Clock,
        request_timeout_s: float,
    ) -> None:
        self._client = client
        self._secrets = secrets
        self._token_secret = token_secret
        self._clock = clock
        self._request_timeout_s = request_timeout_s

    # --- records ----------------------------------------------------------------------------------

    def search(
        self, kind: ObjectType, *, groups: list[Document], properties: list[str], sort: str, budget: Budget
    ) -> list[Record]:
        """Records that match any of the filter groups, ascending by `sort`; at most 200. Shows writes late."""
        body = {
            "filterGroups": groups,
            "properties": properties,
            "sorts": [{"propertyName": sort, "direction": "ASCENDING"}],
            "limit": _MOST_HITS,
        }
        action = f"search {kind}"
        return self._call("POST", f"{_OBJECTS}/{kind}/search", action, _records, budget=budget, json=body)

    def read(self, kind: ObjectType, record_id: str, *, properties: list[str], budget: Budget) -> Record | None:
        """The record with this id; None when it was deleted. A merged contact answers with its new id."""
        path, query = f"{_OBJECTS}/{kind}/{record_id}", {"properties": ",".join(properties)}
        try:
            return self._call("GET", path, f"read {kind}", _record, budget=budget, params=query)
        except RecordMissing:
            return None

    def read_by_key(
        self, kind: ObjectType, key: str, value: str, *, properties: list[str], budget: Budget
    ) -> Record | None:
        """The record whose unique property `key` has this value, or None. Sees writes at once.

        A batch of one: a miss is part of a 207 there, whereas the single read's 404 counts as an error of ours.
        """
        body = {"idProperty": key, "properties": properties, "inputs": [{"id": value}]}
        action, path = f"read {kind} by {key}", f"{_OBJECTS}/{kind}/batch/read"
        try:
            return self._call("POST", path, action, _only_record, budget=budget, json=body, unique=key)
        except RecordMissing:
            return None

    def update(self, kind: ObjectType, record_id: str, values: Mapping[str, str], *, budget: Budget) -> None:
        """Change these properties only. Raises `RecordMissing`."""
        path, body = f"{_OBJECTS}/{kind}/{record_id}", {"properties": dict(values)}
        self._call("PATCH", path, f"update {kind}", _record, budget=budget, json=body)

    def update_by_key(
        self, kind: ObjectType, key: str, value: str, values: Mapping[str, str], *, budget: Budget
    ) -> None:
        """Change the record whose unique property `key` has this value; never makes one. Raises `RecordMissing`."""
        path, body = f"{_OBJECTS}/{kind}/{value}", {"properties": dict(values)}
        params = {"idProperty": key}
        self._call("PATCH", path, f"update {kind}", _record, budget=budget, unique=key, params=params, json=body)

    def upsert(self, kind: ObjectType, key: str, value: str, values: Mapping[str, str], *, budget: Budget) -> Record:
        """Create or update the record whose unique property `key` has this value. Safe to repeat blindly."""
        body = {"inputs": [{"id": value, "idProperty": key, "properties": dict(values)}]}
        action, path = f"upsert {kind} by {key}", f"{_OBJECTS}/{kind}/batch/upsert"
        return self._call("POST", path, action, _only_record, budget=budget, json=body, unique=key)

    def associate(self, call_id: str, contact_id: str, *, budget: Budget) -> None:
        """Hang the call under the contact; once more is a no-op. Raises `RecordMissing`."""
        path = f"{_OBJECTS}/calls/{call_id}/associations/default/contacts/{contact_id}"
        self._call("PUT", path, "associate call and contact", _results, budget=budget)

    def archive(self, kind: ObjectType, record_id: str, *, budget: Budget) -> None:
        """Take the record out of sight; HubSpot can restore it for 90 days. Once more is a no-op."""
        self._call("DELETE", f"{_OBJECTS}/{kind}/{record_id}", f"archive {kind}", dict, budget=budget)

    def delete_for_good(self, kind: ObjectType, record_id: str, *, budget: Budget) -> None:
        """HubSpot's privacy deletion: final, with what hangs on the record. Answers 204."""
        path, body = f"{_OBJECTS}/{kind}/gdpr-delete", {"objectId": record_id}
        self._call("POST", path, f"delete {kind} for good", dict, budget=budget, json=body)

    # --- schema -----------------------------------------------------------------------------------

    def properties(self, kind: ObjectType, *, budget: Budget) -> dict[str, Document]:
        """All property definitions of an object type, by name."""
        results = self._call("GET", f"{_PROPERTIES}/{kind}", f"list properties of {kind}", _results, budget=budget)
        return {str(item.get("name")): item for item in results}

    def property_(self, kind: ObjectType, name: str, *, budget: Budget) -> Document:
        """One property's definition. Raises `RecordMissing`."""
        return self._call("GET", f"{_PROPERTIES}/{kind}/{name}", f"read property {name}", dict, budget=budget)

    def create_property(self, kind: ObjectType, definition: Document, *, budget: Budget) -> None:
        """Raises `RecordConflict` when the name is taken."""
        action = f"create property {definition['name']}"
        self._call("POST", f"{_PROPERTIES}/{kind}", action, dict, budget=budget, json=definition)

    def create_properties(self, kind: ObjectType, definitions: list[Document], *, budget: Budget) -> set[str]:
        """Up to a hundred with one request. The names of those that HubSpot created: all, or some of them (207)."""
        path, body = f"{_PROPERTIES}/{kind}/batch/create", {"inputs": definitions}
        action = f"create {len(definitions)} properties of {kind}"
        results = self._call("POST", path, action, _results, budget=budget, in_part=True, json=body)
        return {str(item.get("name")) for item in results}

    def groups(self, kind: ObjectType, *, budget: Budget) -> set[str]:
        """Names of the property groups of an object type."""
        path = f"{_PROPERTIES}/{kind}/groups"
        results = self._call("GET", path, f"list property groups of {kind}", _results, budget=budget)
        return {str(item.get("name")) for item in results}

    def create_group(self, kind: ObjectType, *, name: str, label: str, budget: Budget) -> None:
        """Raises `RecordConflict` when the name is taken."""
        path, body = f"{_PROPERTIES}/{kind}/groups", {"name": name, "label": label, "displayOrder": -1}
        self._call("POST", path, f"create property group {name}", dict, budget=budget, json=body)

    # --- one request ------------------------------------------------------------------------------

    def _call(
        self,
        method: str,
        path: str,
        action: str,
        parse: Callable[[Document], T],
        *,
        budget: Budget,
        unique: str = "",
        in_part: bool = False,
        **options: Any,
    ) -> T:
        """`in_part`: an answer that names errors beside its results is a success all the same."""

        def attempt() -> T:
            response = self._send(method, path, budget=budget, **options)
            document = self._document(response, action=action, unique=unique, in_part=in_part)
            try:
                return parse(document)
            except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
                raise unreadable(action) from error

        return with_short_retries(attempt, budget_s=budget.left_s())

    def _send(self, method: str, path: str, *, budget: Budget, **options: Any) -> httpx.Response:
        """Once, and once more with the secret read anew when the token was refused: it may have been rotated."""
        response = self._send_as(self._secrets.read(self._token_secret).strip(), method, path, budget=budget, **options)
        if response.status_code != 401:
            return response
        fresh = self._secrets.reread(self._token_secret).strip()
        return self._send_as(fresh, method, path, budget=budget, **options)

    def _send_as(self, token: str, method: str, path: str, *, budget: Budget, **options: Any) -> httpx.Response:
        if not _TOKEN.match(token):
            raise TenantBlocked("hubspot_token_malformed", "the token secret holds no HubSpot token", fix=TOKEN_FIX)
        limit_s = min(self._request_timeout_s, budget.left_s())
        return send(
            self._client,
            method,
            path,
            vendor="hubspot",
            headers={"Authorization": f"Bearer {token}"},
            timeout=httpx.Timeout(limit_s, connect=min(_CONNECT_TIMEOUT_S, limit_s)),
            **options,
        )

    def _document(self, response: httpx.Response, *, action: str, unique: str, in_part: bool) -> Document:
        document, now = json_body(response), self._clock()
        if not response.is_success:
            hint = retry_after_s(response, now=now)
            raise failure(response.status_code, document, action=action, now=now, retry_after_s=hint, unique=unique)
        if response.status_code == 204:
            return {}
        if not isinstance(document, dict):
            raise unreadable(action)
        errors = document.get("errors")
        if response.status_code == 207 and isinstance(errors, list) and errors and not in_part:
            # Our batches hold one item: its error is the request's.
            raise item_failure(errors[0], action=action, now=now, unique=unique)
        return document


def _results(document: Document) -> list[Document]:
    results = document["results"]
    if not isinstance(results, list) or not all(isinstance(item, dict) for item in results):
        raise TypeError("results is not a list of objects")
    return results


def _records(document: Document) -> list[Record]:
    return [_record(item) for item in _results(document)]


def _only_record(document: Document) -> Record:
    return _records(document)[0]


def _record(document: Document) -> Record:
    values = {name: value for name, value in document["properties"].items() if isinstance(value, str)}
    record_id = str(document["id"])
    if not record_id.isdigit():
        raise ValueError("the id is not a number")
    return Record(record_id, values, created=document.get("new") is True)
