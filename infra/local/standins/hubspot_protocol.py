"""How the HubSpot stand-in takes a request and says no: tokens, faults, rate-limit headers, error bodies."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from flask import Response, jsonify, make_response, request
from werkzeug.exceptions import HTTPException

from infra.local.standins.faults import FaultRule
from infra.local.standins.hubspot_hub import HubSpot
from infra.local.standins.hubspot_schema import OBJECT_TYPES, Refused
from infra.local.standins.serving import drop_connection

_RATE_LIMIT_HEADERS = {
    "X-HubSpot-RateLimit-Max": "190",
    "X-HubSpot-RateLimit-Remaining": "189",
    "X-HubSpot-RateLimit-Interval-Milliseconds": "10000",
    "X-HubSpot-RateLimit-Daily": "650000",
    "X-HubSpot-RateLimit-Daily-Remaining": "649999",
}

_VERSION = re.compile(r"^20\d\d-(03|09)$")
"""HubSpot publishes two versions a year; which one is asked for makes no difference here."""

View = Callable[..., Any]


def operation(hub: HubSpot, name: str) -> Callable[[View], View]:
    """Wrap a view. `name` may hold `{object_type}`; the view gets the portal as its first argument."""

    def decorate(view: View) -> View:
        @wraps(view)
        def handle(version: str, **path: str) -> Any:
            if not _VERSION.match(version):
                raise Refused(404, "OBJECT_NOT_FOUND", "No such path.")
            operation = name.format(**path)
            request.get_data()  # an unread body would be taken for the next request of the connection
            hub.count(operation)
            rule = hub.plan.take(operation)
            if rule is not None and rule.kind != "drop_after":
                return _misbehave(rule)
            if path.get("object_type", "contacts") not in OBJECT_TYPES:
                raise Refused(400, "VALIDATION_ERROR", "Unable to infer object type.")
            portal = hub.portal_of(_bearer_token())
            hub.check_scope(_bearer_token(), _scope_of(operation))
            answer = make_response(view(portal, **path))
            if rule is not None:
                drop_connection()
            if not operation.endswith(".search"):
                answer.headers.update(_RATE_LIMIT_HEADERS)
            return answer

        return handle

    return decorate


def _scope_of(operation: str) -> str:
    """Contacts' scopes cover calls too (reference §1.4)."""
    subject, _, verb = operation.partition(".")
    kind = "schemas" if subject in {"properties", "groups"} else "objects"
    reads = verb in {"search", "read", "batch_read", "list"}
    return f"crm.{kind}.contacts.{'read' if reads else 'write'}"


def _bearer_token() -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token if scheme == "Bearer" else ""


def _misbehave(rule: FaultRule) -> Response:
    if rule.kind == "drop":
        drop_connection()
    status = 200 if rule.kind == "rubbish" else rule.status
    body = rule.body
    if rule.kind == "status" and body is None:
        body = _default_body(status)
    if isinstance(body, str):
        return Response(body, status, rule.headers, content_type="text/html")
    answer = jsonify(body)
    answer.status_code = status
    answer.headers.update(rule.headers)
    return answer


def _default_body(status: int) -> dict[str, Any]:
    if status == 429:
        limit = {"errorType": "RATE_LIMIT", "policyName": "TEN_SECONDLY_ROLLING"}
        return error_body("RATE_LIMITS", "You have reached your ten_secondly_rolling limit.", **limit)
    categories = {401: "INVALID_AUTHENTICATION", 403: "MISSING_SCOPES", 404: "OBJECT_NOT_FOUND", 409: "CONFLICT"}
    return error_body(categories.get(status, "VALIDATION_ERROR" if status < 500 else "INTERNAL_ERROR"), "injected")


def error_body(category: str, message: str, **extra: Any) -> dict[str, Any]:
    identity = {"status": "error", "message": message, "correlationId": str(uuid.uuid4()), "category": category}
    return {**identity, **extra}


def refusal(error: Refused) -> tuple[Response, int]:
    return jsonify(error_body(error.category, error.message, **error.extra)), error.status


def json_document() -> dict[str, Any]:
    try:
        document = request.get_json()
    except HTTPException as error:
        raise Refused(400, "VALIDATION_ERROR", "Invalid input JSON") from error
    if not isinstance(document, dict):
        raise Refused(400, "VALIDATION_ERROR", "Invalid input JSON")
    return document


def properties_of(document: Mapping[str, Any]) -> dict[str, Any]:
    properties = document.get("properties")
    if not isinstance(properties, dict):
        raise Refused(400, "VALIDATION_ERROR", "properties are required")
    return properties


def wanted_properties() -> list[str]:
    return [name for value in request.args.getlist("properties") for name in value.split(",") if name]
