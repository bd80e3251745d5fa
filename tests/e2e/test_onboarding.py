"""A customer comes in by `pipeline tenant onboard`: real command, receiver and workers, vendors' stand-ins."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from handlers.cli.main import app
from handlers.signature import callrail_signature
from handlers.wiring import secrets as wired_secrets
from handlers.wiring import spanner_database
from infra.local.senders import encode
from shared.errors import TenantBlocked
from shared.gateways.hubspot_schema import PROPERTIES
from shared.settings import load_settings
from tests.e2e.calls import ONE_OF_EACH, held, missed_call
from tests.e2e.command_line import Ran, pipeline
from tests.support.newcomer import LACKED, Newcomer
from tests.support.stack import LocalStack, wait_for

pytestmark = pytest.mark.emulators

ALL_PROPERTIES = sum(len(specs) for specs in PROPERTIES.values())


@pytest.fixture
def newcomer(local_stack: LocalStack, tmp_path: Path) -> Newcomer:
    return Newcomer(local_stack, tmp_path)


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


# --- what goes wrong ----------------------------------------------------------------------------------


def test_wrong_credentials_are_all_named_at_once_with_what_to_do_and_nothing_is_written(newcomer: Newcomer) -> None:
    newcomer.arrange()
    wrong = {
        "callrail_api_key": newcomer.beside("wrong-1", "no-such-callrail-key"),
        "hubspot_token": newcomer.beside("wrong-2", "no-such-hubspot-token"),
        "salesforce_credentials": newcomer.beside("wrong-3", '{"flow": "client_credentials"}'),
    }

    ran = onboard(newcomer.file(secrets=wrong))

    assert ran.status == 1
    callrail, hubspot, salesforce = problems(ran)
    assert "callrail_key_refused" in callrail
    assert "make a key in CallRail" in callrail
    assert "hubspot_401" in hubspot
    assert "make a service key in HubSpot" in hubspot
    assert "salesforce_bad_credentials" in salesforce
    assert count("tenants", newcomer.tenant_id) == 0
    assert not is_stored(f"{newcomer.tenant_id}-webhook-secret")
    assert "no-such-" not in ran.out + ran.err


def test_a_key_that_callrail_does_not_sign_with_is_found_before_the_first_call_is_lost(newcomer: Newcomer) -> None:
    newcomer.arrange(signing_key="another-key-than-the-customer-sent")

    (problem,) = problems(onboard(newcomer.file()))

    assert "signs with another key" in problem
    assert "Settings → Integrations → Webhooks" in problem


@pytest.mark.parametrize(
    ("company", "said"),
    [
        ({"company_id": "COM0"}, "callrail_not_found"),
        ({"status": "disabled"}, "is switched off"),
        ({"state": "disabled"}, "has switched the webhooks of company"),
    ],
    ids=["no such company", "company off", "webhooks off"],
)
def test_a_company_that_cannot_send_calls_is_named(newcomer: Newcomer, company: dict[str, Any], said: str) -> None:
    newcomer.arrange(**company)

    assert said in problems(onboard(newcomer.file(), "--dry-run"))[0]


def test_a_key_of_no_administrator_leaves_the_signing_key_uncompared(newcomer: Newcomer) -> None:
    newcomer.arrange(is_restricted=True)

    ran = onboard(newcomer.file(), "--dry-run")

    assert problems(ran) == []
    assert outcome(ran, "callrail") == "skipped"


def test_a_missing_scope_and_a_key_without_uniqueness_stop_before_anything_is_written(newcomer: Newcomer) -> None:
    newcomer.arrange()
    definition = {"name": "ext_call_id", "label": "x", "type": "string", "fieldType": "text", "groupName": "call"}
    url = f"{newcomer.stack.standin('hubspot')}/crm/properties/2026-09/calls"
    bearer = {"Authorization": f"Bearer {newcomer.token}"}
    httpx.post(url, json=definition, headers=bearer, trust_env=False).raise_for_status()

    (not_unique,) = problems(onboard(newcomer.file()))
    lacks = {newcomer.token: ["crm.schemas.contacts.read"]}
    newcomer.stack.tell("hubspot", "tokens", {"tokens": None, "lacks": lacks})
    (no_scope,) = problems(onboard(newcomer.file()))

    assert "calls.ext_call_id exists but does not enforce unique values; archive it" in not_unique
    assert "scope crm.schemas.contacts.read is needed" in no_scope
    assert count("tenants", newcomer.tenant_id) == 0


def test_a_salesforce_user_without_rights_leaves_clicks_and_the_next_run_goes_on(newcomer: Newcomer) -> None:
    newcomer.arrange(admin=False)

    first = onboard(newcomer.file())

    (to_do,) = problems(first)
    assert outcome(first, "salesforce") == "to do"
    assert "create it on Activity as Text(80), External ID, Unique" in to_do
    assert (count("tenants", newcomer.tenant_id), outcome(first, "webhook")) == (1, "ok")
    newcomer.arrange(admin=True)
    assert problems(onboard(newcomer.file())) == []


def test_a_killed_onboarding_goes_on_and_makes_nothing_twice(newcomer: Newcomer) -> None:
    newcomer.arrange()
    stack, file = newcomer.stack, newcomer.file()
    before = asked(stack, "hubspot", "properties.create")
    stall = {"operation": "properties.create", "kind": "stall", "skip": 5, "delay_s": 60}
    stack.tell("hubspot", "faults", [stall])
    process = subprocess.Popen(
        [sys.executable, "-c", "from handlers.cli.main import main; main()", "tenant", "onboard", "--from", file],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=dict(os.environ),
    )
    try:
        wait_for(
            lambda: asked(stack, "hubspot", "properties.create") - before, lambda n: n >= 6, what="the sixth property"
        )
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        stack.heal("hubspot")
    assert count("tenants", newcomer.tenant_id) == 1

    ran = onboard(file)

    assert problems(ran) == []
    assert outcome(ran, "tenant") == "ok"
    made = [line for step in document_of(ran)["steps"] for line in step["lines"] if line.startswith("created: calls")]
    assert len(made) == len(PROPERTIES["calls"])
    # One more than there are: the property that was in flight when the process was killed may be asked for again.
    assert asked(stack, "hubspot", "properties.create") - before in {ALL_PROPERTIES, ALL_PROPERTIES + 1}


def test_a_company_of_another_tenant_is_refused_and_nothing_is_written(newcomer: Newcomer, tmp_path: Path) -> None:
    newcomer.arrange()
    assert problems(onboard(newcomer.file())) == []
    second = Newcomer(newcomer.stack, tmp_path)
    second.arrange()

    (problem,) = problems(onboard(second.file(callrail_company_ids=[newcomer.company_id])))

    assert f"company {newcomer.company_id} belongs to tenant {newcomer.tenant_id}" in problem
    assert count("tenants", second.tenant_id) == 0
    assert not is_stored(f"{second.tenant_id}-webhook-secret")


def test_an_existing_tenant_is_never_changed_by_a_file_that_differs(newcomer: Newcomer) -> None:
    newcomer.arrange()
    assert problems(onboard(newcomer.file())) == []

    (other_config,) = problems(onboard(newcomer.file(ai_config={"lead_scoring_threshold": 10})))
    other_key = newcomer.beside("new-key", "a-signing-key-that-nobody-uses")
    newcomer.arrange_company(is_restricted=True)
    (key_changed,) = problems(onboard(newcomer.file(secrets={"webhook_signing_key": other_key})))

    assert "exists with other ai_config" in other_config
    assert "pipeline tenant update" in other_config
    assert f"pipeline tenant rotate-secret {newcomer.tenant_id}" in key_changed
    shown = pipeline("tenant", "show", newcomer.tenant_id, "--json").document()
    assert shown["config"]["ai_config"]["lead_scoring_threshold"] == 70


def test_a_secret_that_may_be_somebody_elses_is_not_overwritten(newcomer: Newcomer) -> None:
    newcomer.arrange()
    shared_name = f"agency-token-{newcomer.number}"
    wired_secrets(load_settings()).write(shared_name, "pat-na1-of-the-whole-agency")
    crm = {"hubspot": {"token_secret": shared_name}}

    (problem,) = problems(onboard(newcomer.file(crm_config=crm)))

    assert f"{shared_name}: there already, with another value" in problem
    assert wired_secrets(load_settings()).reread(shared_name) == "pat-na1-of-the-whole-agency"


def test_a_tenant_of_before_without_an_address_of_its_own_goes_on_at_the_shared_one(newcomer: Newcomer) -> None:
    newcomer.arrange_company()
    config = {"callrail_company_id": newcomer.company_id, "webhook_secret": newcomer.signing_key}
    (newcomer.folder / "tenant.json").write_text(json.dumps(config))
    create = ("tenant", "create", "--tenant-id", newcomer.tenant_id, "--config", str(newcomer.folder / "tenant.json"))
    assert pipeline(*create).status == 0

    ran = pipeline("tenant", "onboard", newcomer.tenant_id, "--json", "--yes")

    assert problems(ran) == []
    assert outcome(ran, "webhook") == "ok"
    clicks = document_of(ran)["clicks"]
    assert {(click["url"], click["is_done"]) for click in clicks} == {
        (f"{newcomer.stack.env['WEBHOOK_URL']}/v1/callrail/webhook", None)
    }


def test_a_suspended_tenant_is_told_to_resume(newcomer: Newcomer) -> None:
    newcomer.arrange()
    onboard(newcomer.file())
    pipeline("tenant", "suspend", newcomer.tenant_id)

    (problem,) = problems(onboard(newcomer.file()))

    assert f"pipeline tenant resume {newcomer.tenant_id}" in problem


def test_secrets_stand_in_no_output_no_row_and_no_log(newcomer: Newcomer, monkeypatch: pytest.MonkeyPatch) -> None:
    newcomer.arrange()
    monkeypatch.setenv("NEWCOMER_KEY", newcomer.api_key)
    file = newcomer.file(secrets={"callrail_api_key": {"env": "NEWCOMER_KEY"}})

    ran = onboard(file)
    plain = pipeline("tenant", "onboard", newcomer.tenant_id, "--dry-run")

    assert problems(ran) == []
    stored = rows("SELECT TO_JSON_STRING(config) FROM tenants WHERE tenant_id = @t", t=newcomer.tenant_id)
    audit = rows("SELECT TO_JSON_STRING(detail) FROM audit_log WHERE tenant_id = @t", t=newcomer.tenant_id)
    logs = "".join(path.read_text(errors="replace") for path in (newcomer.stack.state_dir / "logs").glob("*"))
    places = [ran.out, ran.err, plain.out, plain.err, str(stored), str(audit), logs]
    assert [secret for secret in newcomer.all_secrets for place in places if secret in place] == []
    assert f"{newcomer.tenant_id}-webhook-secret" in ran.out
