"""The REST resources that the gateway uses: search, query, describe, composite, create (API v66.0)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx

from shared.errors import TransientFailure
from shared.gateways.http import json_body, retry_after_s
from shared.gateways.salesforce_errors import MULTIPLE_CHOICES, Problem, Refusal, read_problem
from shared.gateways.salesforce_session import Deadline, SalesforceSession

API_VERSION = "v66.0"
"""Spring '26; each version is served for at least three years."""

_DATA = f"/services/data/{API_VERSION}"
_ALLOW_SAVE = {"Sforce-Duplicate-Rule-Header": "allowSave=true"}
"""A duplicate rule's alert must not lose a call; subrequests do not inherit this header."""

Row = Mapping[str, Any]


def soql_string(value: str) -> str:
    """A quoted SOQL string literal; backslash and quotes are escaped."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r")
    return f"'{escaped}'"


@dataclass(frozen=True)
class Write:
    """One subrequest: create (no id), update by id, or upsert by external id."""

    part: str
    object_name: str
    values: Mapping[str, Any]
    record_id: str = ""
    external_field: str = ""
    external_value: str = ""

    def as_subrequest(self) -> dict[str, Any]:
        base = f"{_DATA}/sobjects/{self.object_name}"
        document: dict[str, Any] = {"method": "PATCH", "referenceId": self.part, "body": dict(self.values)}
        document["httpHeaders"] = dict(_ALLOW_SAVE)
        if self.external_field:
            return {**document, "url": f"{base}/{self.external_field}/{quote(self.external_value, safe='')}"}
        if self.record_id:
            return {**document, "url": f"{base}/{self.record_id}"}
        return {**document, "method": "POST", "url": base}


@dataclass(frozen=True)
class Written:
    """What a subrequest left: the record's id and whether it is new."""

    record_id: str
    created: bool


@dataclass(frozen=True)
class FieldFacts:
    """What describe says of a field that matters to us."""

    createable: bool
    updateable: bool
    unique: bool
    external_id: bool
    length: int
    restricted: bool = False
    values: frozenset[str] = field(default_factory=frozenset)
    kind: str = ""
    """Describe's `type`, for example `string`."""


@dataclass(frozen=True)
class ObjectFacts:
    """An object as the integration user sees it: a field without read access is simply absent."""

    name: str
    fields: Mapping[str, FieldFacts]
    is_writable: bool = True
    """Whether the user may create and edit records of it at all."""

    def has_key(self, name: str) -> bool:
        """Whether upserts by this field make one record however many race: external id and unique."""
        facts = self.fields.get(name)
        return facts is not None and facts.external_id and facts.unique

    def takes(self, name: str, value: str) -> bool:
        """Whether a picklist would accept the value."""
        facts = self.fields.get(name)
        return facts is not None and facts.createable and (not facts.restricted or value in facts.values)


class SalesforceRest:
    """The resources, for the time of one deadline. Raises `Refusal` for errors in answers."""

    def __init__(self, session: SalesforceSession, deadline: Deadline, our_fields: Collection[str]) -> None:
        self._session = session
        self._deadline = deadline
        self._our_fields = our_fields
        self.api_usage = ""
        """The last `Sforce-Limit-Info`, for example `api-usage=18/15000`."""

    def search(self, sosl: str) -> list[Row]:
        return _rows(self._get(f"{_DATA}/search/", "search", {"q": sosl}), "searchRecords", "search")

    def query(self, soql: str) -> list[Row]:
        return _rows(self._get(f"{_DATA}/query/", "query", {"q": soql}), "records", "query")

    def describe(self, object_name: str) -> ObjectFacts:
        path = f"{_DATA}/sobjects/{object_name}/describe"
        body = self._get(path, f"describe of {object_name}", {})
        fields = {str(row.get("name")): _field_facts(row) for row in _rows(body, "fields", "describe")}
        is_writable = bool(body.get("createable", True)) and bool(body.get("updateable", True))
        return ObjectFacts(object_name, fields, is_writable=is_writable)

    def create(self, object_name: str, values: Mapping[str, Any], *, tooling: bool = False) -> str:
        """A new record of the set-up (a custom field, a permission set); its id. Not safe to repeat blindly."""
        path = f"{_DATA}/{'tooling/' if tooling else ''}sobjects/{object_name}"
        operation = f"creation of a {object_name}"
        response = self._session.request("POST", path, deadline=self._deadline, json=dict(values))
        body = self._checked(response, operation, success=201)
        record_id = body.get("id") if isinstance(body, dict) else None
        if not isinstance(record_id, str) or not record_id:
            raise _makes_no_sense(operation)
        return record_id

    def user_id(self) -> str:
        """The user that the session acts as; empty when the login did not say."""
        return self._session.user_id(self._deadline)

    def write(self, writes: Sequence[Write]) -> dict[str, Written]:
        """All writes in one transaction, by part. Raises `Refusal` with the failed part: then nothing was written."""
        operation = "composite of " + " and ".join(write.object_name for write in writes)
        document = {"allOrNone": True, "compositeRequest": [write.as_subrequest() for write in writes]}
        response = self._session.request("POST", f"{_DATA}/composite", deadline=self._deadline, json=document)
        results = _rows(self._checked(response, operation), "compositeResponse", "composite")
        if [result.get("referenceId") for result in results] != [write.part for write in writes]:
            raise _makes_no_sense("composite")
        self._raise_first_failure(results, operation)
        return {write.part: _written(write, result) for write, result in zip(writes, results, strict=True)}

    def delete(self, object_name: str, record_id: str) -> None:
        """Into the recycle bin; a person's tasks go along. Raises `Refusal` (`ENTITY_IS_DELETED`, `NOT_FOUND`)."""
        path = f"{_DATA}/sobjects/{object_name}/{quote(record_id, safe='')}"
        response = self._session.request("DELETE", path, deadline=self._deadline)
        if response.status_code != 204:
            self._checked(response, f"deletion of {object_name}")

    def _get(self, path: str, operation: str, params: Mapping[str, str]) -> Any:
        response = self._session.request("GET", path, deadline=self._deadline, params=dict(params))
        return self._checked(response, operation)

    def _checked(self, response: httpx.Response, operation: str, *, success: int = 200) -> Any:
        body = json_body(response)
        self.api_usage = response.headers.get("Sforce-Limit-Info", self.api_usage)
        if response.status_code == success:
            return body
        problem = read_problem(body, self._our_fields)
        hint = retry_after_s(response)
        raise Refusal(problem, operation=operation, status=response.status_code, retry_after_s=hint)

    def _raise_first_failure(self, results: Sequence[Row], operation: str) -> None:
        """The subrequest at fault; the others say only that they were rolled back with it."""
        failures: list[Refusal] = []
        for result in results:
            status = result.get("httpStatusCode")
            if not isinstance(status, int):
                raise _makes_no_sense("composite")
            if status < 300:
                continue
            problem = Problem(MULTIPLE_CHOICES) if status == 300 else read_problem(result.get("body"), self._our_fields)
            part = str(result.get("referenceId"))
            failures.append(Refusal(problem, operation=operation, status=status, part=part))
        culprits = [failure for failure in failures if failure.code != "PROCESSING_HALTED"]
        if failures:
            raise (culprits or failures)[0]


def _rows(body: Any, key: str, operation: str) -> list[Row]:
    rows = body.get(key) if isinstance(body, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise _makes_no_sense(operation)
    return rows


def _written(write: Write, result: Row) -> Written:
    """An update by id answers 204 without a body; creations and upserts name the record."""
    if write.record_id:
        return Written(write.record_id, created=False)
    body = result.get("body")
    record_id = body.get("id") if isinstance(body, dict) else None
    if not isinstance(record_id, str) or not record_id:
        raise _makes_no_sense("composite")
    return Written(record_id, created=result.get("httpStatusCode") == 201)


def _field_facts(row: Row) -> FieldFacts:
    choices, length = row.get("picklistValues"), row.get("length")
    listed = [item for item in choices if isinstance(item, dict)] if isinstance(choices, list) else []
    values = (item.get("value") for item in listed if item.get("active"))
    return FieldFacts(
        createable=bool(row.get("createable")),
        updateable=bool(row.get("updateable")),
        unique=bool(row.get("unique")),
        external_id=bool(row.get("externalId")),
        length=length if isinstance(length, int) else 0,
        restricted=bool(row.get("restrictedPicklist")),
        values=frozenset(str(value) for value in values),
        kind=str(row.get("type") or ""),
    )


def _makes_no_sense(operation: str) -> TransientFailure:
    return TransientFailure("salesforce_bad_answer", f"Salesforce's answer to {operation} is not of the known form")
