"""From nothing to a tenant whose first call is in both CRMs, by one command and twice the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from handlers.cli.main import app
from handlers.signature import callrail_signature
from handlers.wiring import secrets as wired_secrets
from infra.local.senders import encode
from shared.settings import load_settings
from tests.e2e.calls import ONE_OF_EACH, held, missed_call
from tests.e2e.command_line import pipeline
from tests.e2e.onboarding import asked, count, document_of, is_stored, onboard, outcome, problems, rows
from tests.support.newcomer import LACKED, Newcomer
from tests.support.stack import LocalStack

pytestmark = pytest.mark.emulators


@pytest.fixture
def newcomer(local_stack: LocalStack, tmp_path: Path) -> Newcomer:
    return Newcomer(local_stack, tmp_path)


# --- the way in ---------------------------------------------------------------------------------------


def test_from_nothing_to_the_first_call_in_both_crms(newcomer: Newcomer) -> None:
    newcomer.arrange()
    file = newcomer.file(secrets={"webhook_signing_key": {"callrail": True}})

    ran = onboard(file)

    assert problems(ran) == []
    report = document_of(ran)
    assert [outcome(ran, step) for step in ("tenant", "hubspot", "salesforce", "webhook")] == [
        "created",
        "created",
        "created",
        "ok",
    ]
    assert {click["trigger"]: click["is_done"] for click in report["clicks"]} == {
        "Post-Call": False,
        "Call Modified": False,
        "Outbound Post-Call": False,
        "Outbound Call Modified": False,
    }
    made = [line for step in report["steps"] for line in step["lines"] if line.startswith("created: ")]
    assert {f"created: {name}.{field}" for name, fields in LACKED.items() for field in fields} <= set(made)
    assert count("tenant_keysets", newcomer.tenant_id) == 2

    url = next(click["url"] for click in report["clicks"] if click["trigger"] == "Post-Call")
    payload = missed_call(number="+13035550171", company_id=newcomer.company_id)
    body = encode(payload)
    signed = {"Content-Type": "application/json", "Signature": callrail_signature(newcomer.signing_key, body)}
    answer = httpx.post(url, content=body, headers=signed, trust_env=False)
    assert answer.status_code == 202, answer.text
    request_id = answer.json()["request_id"]
    stack, call_id = newcomer.stack, payload["resource_id"]
    assert stack.end_of(request_id, call_id=call_id, tenant_id=newcomer.tenant_id) == "done"
    assert held(stack, call_id).counts() == ONE_OF_EACH


def test_the_test_webhook_reaches_the_first_worker_and_leaves_nothing(newcomer: Newcomer) -> None:
    newcomer.arrange()

    ran = onboard(newcomer.file())

    assert outcome(ran, "webhook") == "ok"
    for table in ("processing_requests", "stage_runs", "usage_ledger", "call_records", "dead_letters"):
        assert count(table, newcomer.tenant_id) == 0, table
    sql = "SELECT action FROM audit_log WHERE tenant_id = @tenant_id"
    actions = {row[0] for row in rows(sql, tenant_id=newcomer.tenant_id)}
    assert actions == {"tenant.create", "tenant.test_webhook", "tenant.onboard"}


def test_a_second_run_makes_nothing_twice_and_sees_what_was_clicked(newcomer: Newcomer) -> None:
    newcomer.arrange()
    first = onboard(newcomer.file())
    urls = {"post_call_webhook": ["https://other.example.com/x", document_of(first)["clicks"][0]["url"]]}
    newcomer.arrange_company(urls=urls)
    stack = newcomer.stack
    before = (asked(stack, "hubspot", "properties.create"), stack.state("secret_manager"))

    again = onboard(newcomer.file())

    assert problems(again) == []
    assert {step["state"] for step in document_of(again)["steps"]} == {"ok"}
    assert [click["is_done"] for click in document_of(again)["clicks"]] == [True, False, False, False]
    assert document_of(again)["clicks"][0]["url"] == document_of(first)["clicks"][0]["url"]
    assert asked(stack, "hubspot", "properties.create") == before[0]
    assert versions(stack.state("secret_manager"), newcomer) == versions(before[1], newcomer)


def versions(state: dict[str, Any], newcomer: Newcomer) -> dict[str, list[str]]:
    """The versions of the customer's secrets, as the Secret Manager stand-in shows them."""
    mine = {name: held["versions"] for name, held in state["secrets"].items() if newcomer.tenant_id in name}
    assert len(mine) == 4
    return mine


def test_a_dry_run_says_what_it_would_create_and_writes_nothing(newcomer: Newcomer) -> None:
    newcomer.arrange()
    before = asked(newcomer.stack, "hubspot", "properties.create")

    ran = onboard(newcomer.file(), "--dry-run")

    assert problems(ran) == []
    for step in ("tenant", "secrets", "hubspot", "salesforce"):
        assert outcome(ran, step) == "would create"
    lines = [line for step in document_of(ran)["steps"] for line in step["lines"]]
    assert "would create: calls.ext_call_id" in lines
    assert "would create: Task.Ext_Intent__c on Activity as Text(80)" in lines
    assert count("tenants", newcomer.tenant_id) == 0
    assert not is_stored(f"{newcomer.tenant_id}-webhook-secret")
    assert asked(newcomer.stack, "hubspot", "properties.create") == before


def test_a_person_is_asked_and_secrets_are_typed_unseen(newcomer: Newcomer) -> None:
    newcomer.arrange()
    answers = [
        "Not An Id",
        newcomer.tenant_id,
        "Newcomer Ltd",
        "the company",
        newcomer.company_id,
        newcomer.account_id,
        newcomer.api_key,
        "",  # the signing key: CallRail is asked
        newcomer.token,
        "client_credentials",
        newcomer.consumer_key,
        "newcomer.my",
        newcomer.consumer_secret,
        "lead",
        "65",
        "y",
    ]

    result = CliRunner().invoke(app, ["tenant", "onboard"], input="\n".join(answers) + "\n")

    assert result.exit_code == 0, result.output
    assert "What remains to be clicked in CallRail" in result.stdout
    assert f"company {newcomer.company_id} signs with the key that we hold" in result.output
    assert [secret for secret in newcomer.all_secrets if secret in result.output] == []
    shown = pipeline("tenant", "show", newcomer.tenant_id, "--json").document()
    assert shown["config"]["ai_config"]["lead_scoring_threshold"] == 65
    assert wired_secrets(load_settings()).reread(f"{newcomer.tenant_id}-hubspot-token") == newcomer.token


def test_a_person_who_does_not_confirm_has_changed_nothing(newcomer: Newcomer) -> None:
    newcomer.arrange()
    answers = ["Newcomer Ltd", newcomer.company_id, "", "", newcomer.signing_key, "", "none", "70", "n"]

    result = CliRunner().invoke(app, ["tenant", "onboard", newcomer.tenant_id], input="\n".join(answers) + "\n")

    assert result.exit_code == 1
    assert "not confirmed: nothing was written" in result.output
    assert count("tenants", newcomer.tenant_id) == 0
