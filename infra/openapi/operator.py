"""The operator service's addresses: for the receiver's health page and for Cloud Scheduler."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from handlers.health import NEIGHBOURS
from handlers.reconcile import PATH as RECONCILE_PATH
from shared.backfill import Tally
from shared.reconciliation import Outcome

Node = dict[str, Any]

_TEXT: Node = {"text/plain": {"schema": {"type": "string"}}}
_COUNT: Node = {"type": "integer", "minimum": 0}


def schemas() -> dict[str, Node]:
    """Components of this service."""
    return {
        "Neighbours": _closed({name: {"enum": ["healthy", "unhealthy"]} for name in NEIGHBOURS}),
        "Sweep": _closed(
            {"actions": {"type": "object", "additionalProperties": _COUNT}, "failed_tenants": _COUNT},
        ),
        "Reconciliation": _closed(
            {
                "is_whole": {"type": "boolean"},
                "tenants": _closed({outcome.value: _COUNT for outcome in Outcome}),
                "calls": _closed({field.name: _COUNT for field in fields(Tally)}),
            }
        ),
    }


def paths() -> dict[str, Node]:
    """Path items of this service."""
    return {
        "/internal/neighbours": {
            "get": _operation("getNeighbours", "How the receiver's neighbours are.", "Neighbours")
        },
        "/internal/sweep": {"post": _operation("sweep", "Push on what does not move, once.", "Sweep")},
        RECONCILE_PATH: {
            "post": _operation("reconcile", "Compare the latest calls with CallRail's own list.", "Reconciliation")
        },
    }


def _operation(operation_id: str, summary: str, component: str) -> Node:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{component}"}}}
    return {
        "operationId": operation_id,
        "summary": summary,
        "security": [{"pushToken": []}],
        "responses": {
            "200": {"description": "Done; the body tells what.", "content": content},
            "401": {"description": "No identity token of ours.", "content": _TEXT},
            "503": {"description": "Could not begin or be checked: ask again.", "content": _TEXT},
        },
    }


def _closed(properties: Node) -> Node:
    return {
        "type": "object",
        "required": list(properties),
        "properties": properties,
        "additionalProperties": False,
    }
