"""What Pub/Sub pushes to the workers, one address for all of them, and what they answer."""

from __future__ import annotations

from typing import Any

from infra.openapi.tables import runner_answers
from schemas.events import EVENT_TYPES
from shared.pipeline import load_pipeline

Node = dict[str, Any]

_TEXT: Node = {"text/plain": {"schema": {"type": "string"}}}
_BY_THE_HANDLER = {
    400: "not a Pub/Sub push request",
    401: "the push token is missing, or not ours",
    503: "the push token could not be checked",
}
"""Answers of `handlers/push.py` before any runner is asked."""


def services() -> list[str]:
    """Every service that subscriptions push to."""
    return [name for name, service in load_pipeline().services.items() if service.subscribes]


def schemas() -> dict[str, Node]:
    """The envelope, and every event with all that it is made of."""
    found: dict[str, Node] = {}
    events = []
    for event in EVENT_TYPES.values():
        schema = event.model_json_schema(ref_template="#/components/schemas/{model}")
        found.update(schema.pop("$defs", {}))
        found[event.__name__] = schema
        events.append({"$ref": f"#/components/schemas/{event.__name__}"})
    return {"PushRequest": _envelope({"oneOf": events}), **found}


def paths() -> dict[str, Node]:
    """The one path item of all workers."""
    subscriptions = {
        name: [{"subscription": item.subscription, "topic": item.topic} for item in service.subscribes]
        for name, service in load_pipeline().services.items()
        if service.subscribes
    }
    return {
        "/": {
            "post": {
                "operationId": "push",
                "summary": "One delivery of one message; the status is the acknowledgement.",
                "security": [{"pushToken": []}],
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/PushRequest"}}},
                },
                "responses": _responses(),
                "x-subscriptions": subscriptions,
            }
        }
    }


def _envelope(event: Node) -> Node:
    message: Node = {
        "type": "object",
        "required": ["data", "attributes", "messageId"],
        "properties": {
            "data": {
                "type": "string",
                "contentEncoding": "base64",
                "contentMediaType": "application/json",
                "contentSchema": event,
                "pattern": "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$",
            },
            "attributes": {"type": "object", "additionalProperties": {"type": "string"}},
            "messageId": {"type": "string"},
            "publishTime": {"type": "string", "format": "date-time"},
        },
    }
    return {
        "type": "object",
        "required": ["message", "subscription"],
        "properties": {
            "message": message,
            "subscription": {"type": "string"},
            "deliveryAttempt": {"type": "integer", "minimum": 1},
        },
    }


def _responses() -> Node:
    told: dict[int, list[str]] = {status: [text] for status, text in _BY_THE_HANDLER.items()}
    for status, texts in runner_answers().items():
        told.setdefault(status, []).extend(texts)
    return {str(status): _answer(status, told[status]) for status in sorted(told)}


def _answer(status: int, texts: list[str]) -> Node:
    answer: Node = {"description": "\n".join(f"* {text}" for text in texts)}
    if status == 503:
        answer["headers"] = {"Retry-After": {"description": "seconds", "schema": {"type": "integer", "minimum": 0}}}
    if status in _BY_THE_HANDLER and status < 500:
        answer["content"] = _TEXT
    return answer
