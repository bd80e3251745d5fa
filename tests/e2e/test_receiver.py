"""What the receiver of a running stack answers: health, refusals, and that a refusal leaves nothing behind."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from infra.local.demo_tenant import DEMO_COMPANY_ID
from infra.local.senders import encode
from tests.e2e.calls import let_the_queue_pass, missed_call, post
from tests.e2e.command_line import pipeline
from tests.support.stack import LocalStack, wait_for

pytestmark = pytest.mark.emulators

SUSPENDED_COMPANY = "COM019a00000000700080000000000000e1"
UNKNOWN_COMPANY = "COM019a00000000700080000000000000e2"


def test_the_health_page_has_the_guides_shape_and_says_healthy(local_stack: LocalStack) -> None:
    def look() -> dict[str, Any]:
        document: dict[str, Any] = httpx.get(f"{local_stack.env['WEBHOOK_URL']}/v1/health", trust_env=False).json()
        return document

    page = wait_for(look, lambda seen: seen["status"] == "healthy", what="a healthy page", timeout_s=15)

    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", page["timestamp"])
    guides = ("database", "storage", "speech_api", "vertex_ai")
    assert {name: page["services"][name] for name in guides} == dict.fromkeys(guides, "healthy")


def test_refused_webhooks_get_their_status_and_leave_nothing(local_stack: LocalStack) -> None:
    suspended = local_stack.add_tenant("suspended-customer", company_id=SUSPENDED_COMPANY)
    assert pipeline("tenant", "suspend", "suspended-customer").status == 0
    calls = {
        name: missed_call(number="+13035550172", company_id=company)
        for name, company in {
            "wrong signature": DEMO_COMPANY_ID,
            "unsigned": DEMO_COMPANY_ID,
            "unknown company": UNKNOWN_COMPANY,
            "suspended": SUSPENDED_COMPANY,
        }.items()
    }

    answers = {
        "wrong signature": post(local_stack, calls["wrong signature"], key="0" * 32),
        "unsigned": httpx.post(
            f"{local_stack.env['WEBHOOK_URL']}/v1/callrail/webhook",
            content=encode(calls["unsigned"]),
            headers={"Content-Type": "application/json"},
            trust_env=False,
        ),
        "unknown company": post(local_stack, calls["unknown company"]),
        "suspended": post(local_stack, calls["suspended"], key=suspended.webhook_secret),
    }

    assert {name: (answer.status_code, answer.json()["error"]) for name, answer in answers.items()} == {
        "wrong signature": (401, "unauthorized"),
        "unsigned": (401, "unauthorized"),
        "unknown company": (401, "unauthorized"),
        "suspended": (403, "tenant_not_active"),
    }
    let_the_queue_pass(local_stack, number="+13035550173")
    owners = {"suspended": suspended.tenant.tenant_id}
    assert [
        name for name, payload in calls.items() if local_stack.story(payload["resource_id"], tenant_id=owners.get(name))
    ] == []
