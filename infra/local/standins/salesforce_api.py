"""The REST resources of the Salesforce stand-in: search, query, sobjects, describe and composite."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from infra.local.standins.faults import FaultPlan, FaultRule
from infra.local.standins.salesforce_admin import check_grant, check_setup_access, create_field
from infra.local.standins.salesforce_checks import ApiError, MultipleChoices
from infra.local.standins.salesforce_composite import Answer, check_composite, resolve, result_of, rolled_back
from infra.local.standins.salesforce_query import parse_soql
from infra.local.standins.salesforce_sosl import parse_sosl, run_search
from infra.local.standins.salesforce_store import Org

_PREFIX = re.compile(r"^/services/data/v(\d{2})\.0/")


@dataclass(frozen=True)
class Call:
    """One request or subrequest, its path still percent-encoded."""

    method: str
    url: str
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    inside_composite: bool = False

    @property
    def segments(self) -> list[str]:
        """Path parts after the version, decoded one by one: an encoded slash stays inside its part."""
        path = urlsplit(self.url).path
        match = _PREFIX.match(path)
        if match is None or not 31 <= int(match[1]) <= 68:
            raise _no_resource()
        return [unquote(part) for part in path[match.end() :].split("/") if part]

    @property
    def operation(self) -> str:
        """The name for faults and counters: `search`, `composite`, `describe`, `lead.create`, `task.upsert`…"""
        match self.method, self.segments:
            case _, [("search" | "query" | "composite") as name]:
                return name
            case _, ["sobjects", _, "describe"]:
                return "describe"
            case "POST", ["tooling", "sobjects", "CustomField"]:
                return "customfield.create"
            case "POST", ["sobjects", name]:
                return f"{name.lower()}.create"
            case method, ["sobjects", name, _]:
                return f"{name.lower()}.{ {'GET': 'read', 'PATCH': 'update', 'DELETE': 'delete'}.get(method, 'other') }"
            case method, ["sobjects", name, _, _]:
                return f"{name.lower()}.{'upsert' if method == 'PATCH' else 'read_by_external_id'}"
        raise _no_resource()

    @property
    def query(self) -> str:
        return parse_qs(urlsplit(self.url).query).get("q", [""])[0]

    @property
    def allow_save(self) -> bool:
        headers = {name.lower(): value for name, value in self.headers.items()}
        return "allowsave=true" in headers.get("sforce-duplicate-rule-header", "").replace(" ", "").lower()


class DropNow(Exception):
    """A fault rule closes the connection before the answer; raised after or before the work it concerns."""


class Api:
    """Answers calls for one org. Holds the org's lock while it does: one request is one transaction."""

    def __init__(self, org: Org, plan: FaultPlan) -> None:
        self._org = org
        self._plan = plan

    def answer(self, call: Call) -> Answer:
        """Do what the call asks, with the misbehaviour that was ordered for it. Raises `DropNow`."""
        try:
            operation = call.operation
        except ApiError as error:
            return Answer(error.status, error.body)
        rule = self._plan.take(operation)
        with self._org.lock:
            self._count(operation, call)
            if rule is not None and rule.kind != "drop_after":
                return _misbehave(rule)
            answer = self._safely(call)
        if rule is not None:
            raise DropNow
        return answer

    def _count(self, operation: str, call: Call) -> None:
        self._org.requests[operation] += 1
        if not call.inside_composite:
            self._org.api_calls += 1

    def _safely(self, call: Call) -> Answer:
        if not call.inside_composite and self._org.api_calls > self._org.settings.daily_limit:
            return Answer(403, ApiError("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.").body)
        try:
            return self._dispatch(call)
        except ApiError as error:
            return Answer(error.status, error.body)
        except MultipleChoices as choices:
            name = call.segments[1]
            return Answer(300, [f"/services/data/v66.0/sobjects/{name}/{record_id}" for record_id in choices.urls])

    def _dispatch(self, call: Call) -> Answer:
        match call.method, call.segments:
            case "GET", ["search"]:
                return Answer(200, {"searchRecords": run_search(self._org, parse_sosl(call.query))})
            case "GET", ["query"]:
                return self._query(call.query)
            case "POST", ["composite"] if not call.inside_composite:
                return self._composite(call.body)
            case "GET", ["sobjects", name, "describe"]:
                return self._describe(name)
            case "POST", ["tooling", "sobjects", "CustomField"]:
                field_id = create_field(self._org, call.body)
                return Answer(201, {"id": field_id, "success": True, "errors": [], "warnings": [], "infos": []})
            case "POST", ["sobjects", name]:
                return self._create(name, _fields(call.body), allow_save=call.allow_save)
            case _, ["sobjects", name, record_id]:
                return self._by_id(call, name, record_id)
            case _, ["sobjects", name, external, value]:
                return self._by_external_id(call, name, external, value)
        raise _no_resource()

    def _create(self, name: str, values: dict[str, Any], *, allow_save: bool) -> Answer:
        check_setup_access(self._org, name)
        if name == "FieldPermissions":
            check_grant(self._org, values)
        record_id = self._org.create(name, values, allow_save=allow_save)
        return Answer(201, {"id": record_id, "success": True, "errors": []})

    def _query(self, text: str) -> Answer:
        selection = parse_soql(text)
        check_setup_access(self._org, selection.object_name)
        if selection.object_name not in self._org.objects:
            raise ApiError("INVALID_TYPE", f"sObject type '{selection.object_name}' is not supported.")
        selection.check(self._org.spec(selection.object_name))
        records = selection.take(self._org.all(selection.object_name))
        return Answer(200, {"totalSize": len(records), "done": True, "records": records})

    def _describe(self, name: str) -> Answer:
        fields = [spec.describe() for spec in self._org.spec(name).values()]
        rights = {"createable": True, "updateable": True, **self._org.settings.object_rights.get(name, {})}
        return Answer(200, {"name": name, **rights, "fields": fields})

    def _by_id(self, call: Call, name: str, record_id: str) -> Answer:
        self._org.spec(name)
        match call.method:
            case "GET":
                return Answer(200, dict(self._org.read(name, record_id)))
            case "PATCH":
                self._org.update(name, record_id, _fields(call.body))
                return Answer(204)
            case "DELETE":
                self._org.delete(name, record_id)
                return Answer(204)
        raise _bad_method()

    def _by_external_id(self, call: Call, name: str, external: str, value: str) -> Answer:
        if call.method == "PATCH":
            record_id, created = self._org.upsert(name, external, value, _fields(call.body), allow_save=call.allow_save)
            return Answer(201 if created else 200, {"id": record_id, "success": True, "errors": [], "created": created})
        if call.method != "GET":
            raise _bad_method()
        found = self._org.find_external(name, external, value)
        if not found:
            raise _no_resource()
        if len(found) > 1:
            raise MultipleChoices([record["Id"] for record in found])
        return Answer(200, dict(found[0]))

    # --- composite -------------------------------------------------------------------------------

    def _composite(self, body: Any) -> Answer:
        subrequests = check_composite(body)
        results: list[dict[str, Any]] = []
        try:
            with self._org.transaction():
                drop_later = self._run_all(subrequests, results, all_or_none=bool(body.get("allOrNone")))
        except _RolledBack:
            drop_later = False
            results = rolled_back(subrequests, results)
        if drop_later:
            raise DropNow
        return Answer(200, {"compositeResponse": results})

    def _run_all(self, subrequests: list[dict[str, Any]], results: list[dict[str, Any]], *, all_or_none: bool) -> bool:
        """Fill `results`; True when a fault wants the connection closed after the work."""
        drop_later = False
        known: dict[str, Any] = {}
        for subrequest in subrequests:
            try:
                answer = self._run_one(subrequest, known)
            except _DropAfter as dropped:
                answer, drop_later = dropped.answer, True
            known[subrequest["referenceId"]] = answer.body if answer.status < 300 else None
            results.append(result_of(subrequest, answer))
            if all_or_none and answer.status >= 300:
                raise _RolledBack
        return drop_later

    def _run_one(self, subrequest: dict[str, Any], known: dict[str, Any]) -> Answer:
        try:
            call = Call(
                method=subrequest["method"],
                url=resolve(subrequest["url"], known),
                body=resolve(subrequest.get("body"), known),
                headers=subrequest.get("httpHeaders") or {},
                inside_composite=True,
            )
            operation = call.operation
        except ApiError as error:
            return Answer(error.status, error.body)
        rule = self._plan.take(operation)
        self._count(operation, call)
        if rule is not None and rule.kind != "drop_after":
            return _misbehave(rule)
        answer = self._safely(call)
        if rule is not None:
            raise _DropAfter(answer)
        return answer


class _RolledBack(Exception):
    """Leaves the transaction so that it is undone."""


class _DropAfter(Exception):
    """A subrequest did its work; the connection is to be closed once all is done."""

    def __init__(self, answer: Answer) -> None:
        super().__init__("drop after")
        self.answer = answer


def _misbehave(rule: FaultRule) -> Answer:
    if rule.kind == "drop":
        raise DropNow
    if rule.kind == "rubbish":
        return Answer(200, rule.body, rule.headers)
    return Answer(rule.status, rule.body, rule.headers)


def _fields(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise ApiError("JSON_PARSER_ERROR", "The HTTP entity body is required, but this request has no entity body.")
    return {name: value for name, value in body.items() if name != "attributes"}


def _no_resource() -> ApiError:
    return ApiError("NOT_FOUND", "The requested resource does not exist", status=404)


def _bad_method() -> ApiError:
    return ApiError("METHOD_NOT_ALLOWED", "HTTP Method not allowed", status=405)
