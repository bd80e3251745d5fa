"""Onboarding as an operator runs it, and what it left behind."""

from __future__ import annotations

import json
from typing import Any

from handlers.wiring import secrets as wired_secrets
from handlers.wiring import spanner_database
from shared.errors import TenantBlocked
from shared.settings import load_settings
from tests.e2e.command_line import Ran, pipeline
from tests.support.stack import LocalStack


def onboard(file: str, *more: str) -> Ran:
    return pipeline("tenant", "onboard", "--from", file, "--json", *more)


def document_of(ran: Ran) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(ran.out)
    assert document["is_fine"] == (ran.status == 0)
    return document


def outcome(ran: Ran, step: str) -> str:
    """The step's last state."""
    states: list[str] = [item["state"] for item in document_of(ran)["steps"] if item["name"] == step]
    return states[-1]


def problems(ran: Ran) -> list[str]:
    """Detail, particulars and advice of every step that failed or needs a person."""
    bad = [step for step in document_of(ran)["steps"] if step["state"] in {"failed", "to do"}]
    return [" ".join([step["detail"], *step["lines"], step["fix"]]) for step in bad]


def rows(sql: str, **params: str) -> list[list[Any]]:
    from google.cloud.spanner_v1 import param_types

    with spanner_database(load_settings()).snapshot() as snapshot:
        return list(snapshot.execute_sql(sql, params=params, param_types=dict.fromkeys(params, param_types.STRING)))


def count(table: str, tenant_id: str) -> int:
    return int(rows(f"SELECT COUNT(*) FROM {table} WHERE tenant_id = @tenant_id", tenant_id=tenant_id)[0][0])


def is_stored(name: str) -> bool:
    try:
        wired_secrets(load_settings()).reread(name)
    except TenantBlocked:
        return False
    return True


def asked(stack: LocalStack, vendor: str, operation: str) -> int:
    return int(stack.state(vendor)["requests"].get(operation, 0))
