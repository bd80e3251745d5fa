"""Which Google roles a service needs, read from the wiring: the gateways it is built with, however deep."""

from __future__ import annotations

import ast
from functools import cache

from shared.pipeline import PIPELINE_FILE, load_pipeline

HANDLERS = PIPELINE_FILE.parents[1] / "handlers"

ROLE_OF_GATEWAY = {
    "database": "roles/spanner.databaseRoleUser",  # sessions, reads, commits in the service's own database role
    "secrets": "roles/secretmanager.secretAccessor",  # access_secret_version
    "vault": "roles/cloudkms.cryptoKeyDecrypter",  # decrypt: a tenant's keyset is opened, never wrapped, by a service
    "objects": "roles/storage.objectUser",  # insert, get, list, delete
    "receiver_objects": "roles/storage.objectCreator",  # insert, if_generation_match=0
    "publisher_of": "roles/pubsub.publisher",  # publish
    "speech_recognizer": "roles/speech.client",  # batch_recognize, get_operation, list_operations
    "GeminiModel": "roles/aiplatform.user",  # generate_content
}
"""Gateway as the wiring names it → the role that has the methods it calls, beside it."""

UNUSED = {("dead_letter", "publisher_of")}
"""The recorder's desk can replay, hence its publisher; the service only records, which publishes nothing."""


@cache
def _functions() -> dict[str, ast.FunctionDef]:
    return {
        node.name: node
        for path in sorted(HANDLERS.glob("*wiring*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    }


def roles_of(service: str) -> set[str]:
    """Roles of the gateways that a service's wiring reaches."""
    is_stage = load_pipeline().services[service].role == "stage"
    open_names = [f"_{service}", *(["_stage_service"] if is_stage else [])]
    seen: set[str] = set()
    while open_names:
        name = open_names.pop()
        if name in seen:
            continue
        seen.add(name)
        # `stage_spec` names every stage's builder; ours is among the names to begin with.
        if name in _functions() and name != "stage_spec":
            open_names += [_called(node) for node in ast.walk(_functions()[name]) if isinstance(node, ast.Call)]
    return {role for gateway, role in ROLE_OF_GATEWAY.items() if gateway in seen and (service, gateway) not in UNUSED}


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
