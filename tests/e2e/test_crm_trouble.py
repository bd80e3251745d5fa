"""A CRM that is down for a while, and one whose token is dead: calls wait, are repaired, and arrive once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from infra.local.demo_tenant import DemoTenant
from infra.local.standins.hubspot_hub import portal_name
from tests.e2e.calls import ONE_OF_EACH, PostedCall, accepted, held, missed_call, sample, sample_payload
from tests.e2e.command_line import pipeline
from tests.support.stack import LocalStack, wait_for

pytestmark = pytest.mark.emulators

COMPANY = "COM019a00000000700080000000000000f1"


@pytest.fixture
def stack(local_stack: LocalStack) -> Iterator[LocalStack]:
    """Whatever HubSpot's stand-in was told ends with the test."""
    yield local_stack
    local_stack.heal("hubspot")
    local_stack.heal("vertex")
    local_stack.tell("hubspot", "tokens", {"tokens": None})


def test_a_call_arrives_once_when_a_crm_was_down_and_came_back(stack: LocalStack) -> None:
    stack.tell("hubspot", "faults", [{"kind": "status", "status": 503, "times": 6}])

    call = accepted(stack, missed_call(number="+13035550180"))

    assert stack.end_of(call.request_id, call_id=call.call_id) == "done"
    sync = next(line for line in stack.story(call.call_id) if line.stage == "crm_sync")
    assert (sync.attempt or 0) > 1, "the inner retries should not have sufficed"
    assert held(stack, call.call_id).counts() == ONE_OF_EACH


def letters_of(call: PostedCall, tenant_id: str) -> list[dict[str, Any]]:
    letters = pipeline("dead-letters", "list", "--tenant", tenant_id, "--state", "any", "--json").document()
    return [letter for letter in letters if letter["call_id"] == call.call_id]


def salesforce_requests(stack: LocalStack) -> dict[str, Any]:
    return {key: org["requests"] for key, org in stack.state("salesforce")["orgs"].items()}


def test_a_dead_token_blocks_the_tenants_calls_until_it_is_mended_and_makes_no_dead_letter(stack: LocalStack) -> None:
    customer = stack.add_tenant("locked-out", company_id=COMPANY)
    secret = "locked-out-hubspot-token"
    portal = portal_name(customer.secret_values[secret])
    stack.tell("hubspot", "tokens", {"tokens": {"pat-na1-the-new-one": portal}})

    call = blocked_call(stack, customer)
    line = next(line for line in stack.story(call.call_id, tenant_id="locked-out") if line.stage == "crm_sync")
    assert line.error_code == "hubspot_401"
    assert "token secret" in (line.error_fix or "")
    assert held(stack, call.call_id).counts() == (0, 0, 1, 1)
    told_salesforce = salesforce_requests(stack)

    mend(secret, value="pat-na1-the-new-one")

    def swept_state() -> str:
        assert pipeline("sweep", "--once").status == 0
        return stack.story(call.call_id, tenant_id="locked-out")[0].request_state

    wait_for(swept_state, lambda state: state == "done", what="the mended call")
    assert held(stack, call.call_id).counts() == ONE_OF_EACH
    assert salesforce_requests(stack) == told_salesforce
    assert letters_of(call, "locked-out") == []


def test_a_refusing_model_makes_a_dead_letter_that_a_replay_completes(stack: LocalStack) -> None:
    """Meanwhile the CRMs hold the call as far as it is known, marked; afterwards the same records are complete."""
    stack.tell("vertex", "faults", [{"kind": "rubbish", "times": 50, "body": {"finish_reason": "SAFETY"}}])
    payload = sample_payload(stack, sample("wrong-number"))
    call = accepted(stack, payload)
    tenant_id = stack.tenant_id
    (letter,) = wait_for(
        lambda: letters_of(call, tenant_id), lambda seen: [one["state"] for one in seen] == ["open"], what="a letter"
    )
    assert letter["stage"] == "analyze"
    shown = pipeline("dead-letters", "show", letter["dead_letter_id"], "--tenant", tenant_id)
    assert letter["reason"] in shown.out
    half = wait_for(
        lambda: held(stack, call.call_id), lambda seen: seen.counts() == ONE_OF_EACH, what="the unfinished call"
    )
    assert "not analyzed yet" in half.salesforce_tasks[0]["Subject"]

    stack.heal("vertex")
    replayed = pipeline("dead-letters", "replay", letter["dead_letter_id"], "--tenant", tenant_id)

    assert replayed.status == 0, replayed.err
    assert stack.end_of(call.request_id, call_id=call.call_id) == "done"
    whole = held(stack, call.call_id)
    assert whole.counts() == ONE_OF_EACH
    assert "wrong number" in whole.salesforce_tasks[0]["Subject"]
    wait_for(
        lambda: letters_of(call, tenant_id), lambda seen: [one["state"] for one in seen] == ["closed"], what="closed"
    )


def blocked_call(stack: LocalStack, customer: DemoTenant) -> PostedCall:
    payload = missed_call(number="+13035550181", company_id=COMPANY)
    call = accepted(stack, payload, key=customer.webhook_secret)
    assert stack.end_of(call.request_id, call_id=call.call_id, tenant_id=customer.tenant.tenant_id) == "blocked"
    return call


def mend(secret: str, *, value: str) -> None:
    """What an operator does in Secret Manager: a new version."""
    from handlers import wiring
    from shared.settings import load_settings

    wiring.secrets(load_settings()).write(secret, value)
