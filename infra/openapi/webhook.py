"""The receiver's addresses: what CallRail posts, and every answer of its table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from handlers.health import NEIGHBOURS
from handlers.receiver import MAX_BODY_BYTES
from handlers.webhook import SHARED_PATH, TOKEN_PATTERN
from handlers.webhook_body import CONTENT_TYPES
from infra.openapi.tables import codes_schema, webhook_answers
from schemas.events import CallReceived, WebhookKind
from schemas.webhooks import EVENT_KINDS, company_ids, kind_of, parse_webhook

Node = dict[str, Any]

TENANT_PATH = f"{SHARED_PATH}/{{token}}/{{event}}"
_ASKED_AGAIN = {429, 503}
_OTHER_METHOD = 405
"""Answers to another method: the receiver's table has them, an operation of this document has not."""
_OTHER_ADDRESS = 404
"""Answers to a token or an event that cannot be one; at the shared address there is nothing to get wrong."""


class _Asked(Mapping[str, Any]):
    """A body that notes which names our own code asks for."""

    def __init__(self) -> None:
        self.names: dict[str, None] = {}

    def __getitem__(self, name: str) -> Any:
        self.names[name] = None
        return "CAL1" if name == "call_id" else ""

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def get(self, name: str, default: Any = None) -> Any:
        del default
        return self[name]


def names_read() -> list[str]:
    """Every name of a webhook body that the code reads, of both generations; anything else may stand beside."""
    body = _Asked()
    company_ids(body)
    kind_of(body, None)
    parse_webhook(body)
    return sorted({*body.names, "tenant_id"})


def schemas() -> dict[str, Node]:
    """Components of this service."""
    event = CallReceived.model_json_schema()["properties"]
    scalar: Node = {"type": ["string", "number", "boolean", "null"]}
    listed: Node = {"type": ["string", "array", "null"], "items": {"type": ["string", "object"]}}
    properties = {name: listed if name in {"tags", "tag"} else scalar for name in names_read()}
    state = {"enum": ["healthy", "unhealthy", "unknown"]}
    services = dict.fromkeys((*NEIGHBOURS, "pubsub"), state)
    return {
        "Webhook": {
            "type": "object",
            "description": "A webhook's body; the names are those that are read, any others are kept as they came.",
            "properties": properties,
            "additionalProperties": True,
        },
        "Accepted": _closed(
            status={"const": "accepted"},
            kind={"enum": list(get_args(WebhookKind))},
            call_id={"type": "string", "pattern": event["call_id"]["pattern"]},
            request_id={"type": "string", "pattern": event["request_id"]["pattern"]},
        ),
        "Health": _closed(
            status={"enum": ["healthy", "degraded", "unhealthy"]},
            timestamp={"type": "string", "format": "date-time"},
            services=_closed(**services),
        ),
    }


def paths() -> dict[str, Node]:
    """Path items of this service."""
    token = _parameter("token", "path", {"type": "string", "pattern": f"^{TOKEN_PATTERN}$"}, "the tenant's own")
    event = _parameter("event", "path", {"type": "string", "enum": list(EVENT_KINDS)}, "CallRail's trigger")
    return {
        SHARED_PATH: {
            "post": _post("postWebhook", "Any webhook; the body says whose and what it is.", without={_OTHER_ADDRESS})
        },
        TENANT_PATH: {
            "parameters": [token, event],
            "post": _post("postTenantWebhook", "A webhook at a tenant's own address for one trigger.", without=set()),
        },
        "/v1/health": {
            "get": {
                "operationId": "getHealth",
                "summary": "Whether webhooks can be accepted, and how the neighbours are.",
                "security": [],
                "responses": {
                    "200": _answer("Webhooks are accepted (healthy or degraded).", "Health"),
                    "503": _answer("Neither Pub/Sub nor the inbox can be reached.", "Health", retry_after=True),
                },
            }
        },
    }


def _post(operation_id: str, summary: str, *, without: set[int]) -> Node:
    body = {"schema": {"$ref": "#/components/schemas/Webhook"}}
    trace = _parameter("traceparent", "header", {"type": "string"}, "the call's trace goes on from there")
    return {
        "operationId": operation_id,
        "summary": summary,
        "security": [{"callrailSignature": []}, {"forwarderSignature": [], "forwarderTimestamp": []}],
        "parameters": [{**trace, "required": False}],
        "requestBody": {
            "description": f"At most {MAX_BODY_BYTES} bytes, without Content-Encoding.",
            "required": True,
            "content": dict.fromkeys(sorted(CONTENT_TYPES), body),
        },
        "responses": _responses(without | {_OTHER_METHOD}),
    }


def _responses(without: set[int]) -> Node:
    answers = [row for row in webhook_answers() if row.status not in without]
    found: Node = {}
    for status in sorted({row.status for row in answers}):
        rows = [row for row in answers if row.status == status]
        if status < 400:
            found[str(status)] = _answer(rows[0].meaning, "Accepted", with_id=True)
            continue
        text = "\n".join(f"* {', '.join(row.codes)}: {row.meaning}" for row in rows)
        error = _closed(
            status={"const": "error"},
            error=codes_schema([code for row in rows for code in row.codes]),
            message={"type": "string"},
            request_id={"type": "string"},
        )
        found[str(status)] = {
            **_answer(text, "", with_id=True, retry_after=status in _ASKED_AGAIN),
            "content": {"application/json": {"schema": error}},
        }
    return found


def _answer(description: str, component: str, *, with_id: bool = False, retry_after: bool = False) -> Node:
    headers: Node = {}
    if with_id:
        headers["X-Request-Id"] = {"required": True, "schema": {"type": "string"}}
    if retry_after:
        headers["Retry-After"] = {
            "required": True,
            "description": "seconds",
            "schema": {"type": "integer", "minimum": 1},
        }
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{component}"}}}
    return {"description": description, **({"headers": headers} if headers else {}), "content": content}


def _closed(**properties: Node) -> Node:
    """An object with exactly these properties."""
    return {
        "type": "object",
        "required": list(properties),
        "properties": properties,
        "additionalProperties": False,
    }


def _parameter(name: str, place: str, schema: Node, description: str) -> Node:
    return {"name": name, "in": place, "required": True, "description": description, "schema": schema}
