"""docs/api/openapi.yaml: every HTTP service in one OpenAPI 3.1 document, made by `python -m infra.openapi`.

`x-services` at each path names the services that have it: they share one image and one protocol, and `/` is the push
address of every worker.
"""

from __future__ import annotations

from typing import Any

import yaml

from handlers.main import TARGETS
from infra.openapi import operator, push, webhook
from infra.openapi.tables import DOCS

Node = dict[str, Any]

FILE = DOCS / "api" / "openapi.yaml"
_HEAD = "# Made by `python -m infra.openapi` from the code and the tables of answers; a test fails while it is stale.\n"


def document() -> Node:
    """The whole document."""
    paths: Node = {}
    groups = [(webhook.paths(), ["webhook"]), (push.paths(), push.services()), (operator.paths(), ["operator"])]
    for items, services in [*groups, (_everywhere(), list(TARGETS))]:
        paths |= {path: {"x-services": services, **item} for path, item in items.items()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Call ingestion pipeline",
            "version": "1",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": "Every HTTP service of the pipeline. Words: docs/api/webhook.md, docs/api/events.md.",
        },
        "servers": [{"url": "/", "description": "each service has a host of its own"}],
        "paths": paths,
        "components": {
            "schemas": {**webhook.schemas(), **push.schemas(), **operator.schemas()},
            "securitySchemes": _security(),
        },
    }


def of_service(name: str) -> Node:
    """The document cut down to what one service answers."""
    whole = document()
    return {**whole, "paths": {path: item for path, item in whole["paths"].items() if name in item["x-services"]}}


def text() -> str:
    """The document as it lies in docs/."""
    return _HEAD + yaml.dump(document(), Dumper=_Plain, sort_keys=False, allow_unicode=True, width=110)


class _Plain(yaml.SafeDumper):
    """No anchors: a reader should not have to look up what a schema is."""

    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True


def _everywhere() -> Node:
    answer = {"description": "The process answers.", "content": {"text/plain": {"schema": {"const": "ok"}}}}
    operation = {"operationId": "isAlive", "summary": "Whether the process answers.", "security": []}
    return {"/livez": {"get": {**operation, "responses": {"200": answer}}}}


def _security() -> Node:
    def header(name: str, description: str) -> Node:
        return {"type": "apiKey", "in": "header", "name": name, "description": description}

    return {
        "callrailSignature": header("Signature", "Base64 of HMAC-SHA1 over the raw body, keyed with the signing key."),
        "forwarderSignature": header("X-CallRail-Signature", "sha256= and HMAC-SHA256 of timestamp, dot and body."),
        "forwarderTimestamp": header("X-Timestamp", "Unix seconds, at most five minutes off."),
        "pushToken": {"type": "http", "scheme": "bearer", "bearerFormat": "Google OIDC identity token"},
    }
