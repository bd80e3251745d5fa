"""One tenant's CRM token is wrong, under load: nobody else notices, and its calls flow once it is mended."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from statistics import mean

import pytest

from infra.local.demo_tenant import DEMO_COMPANY_ID, DemoTenant
from shared.gateways.span_files import SpanFiles
from shared.settings import load_settings
from shared.trace_tree import SeenSpan
from shared.traces import trace_of_request
from tests.e2e.calls import ONE_OF_EACH, PostedCall, held
from tests.e2e.command_line import pipeline
from tests.support.load import paced_calls, seconds_taken, swept
from tests.support.stack import LocalStack, wait_for

pytestmark = pytest.mark.emulators

TENANT = "wrong-token"
COMPANY = "COM019a00000000700080000000000000f7"
CALLS_IN_TROUBLE = 20
CALLS_IN_HEALTH = 6
"""Before and after. They need to arrive; only in trouble is anything measured."""
PER_S = 4.0
MOST_OF_A_HEALTHY_CALLS_WORK = 2.0
"""How long a worker may be held by a call that the CRM refuses, as a multiple of what one takes that it accepts. Both
are measured in the same seconds in the same workers: other tests' noise is in both. A worker that waited for the broken
CRM, or tried it again and again, would be held ten times as long and more."""
PROBE_EVERY_S = 1.0
"""As the session's stack is told (tests/support/stack.py)."""
REQUESTS_PER_PROBE = 2
"""A refused token is read anew, once, before it counts as refused."""


@pytest.fixture
def customer(local_stack: LocalStack) -> Iterator[DemoTenant]:
    yield local_stack.add_tenant(TENANT, company_id=COMPANY)
    local_stack.heal("hubspot")


def set_token(value: str) -> None:
    """What an operator does in Secret Manager: a new version."""
    from handlers import wiring

    wiring.secrets(load_settings()).write(f"{TENANT}-hubspot-token", value)


def both_tenants_call(
    stack: LocalStack, customer: DemoTenant, *, count: int
) -> tuple[list[PostedCall], list[PostedCall]]:
    """The demo tenant's calls and, between them, the customer's."""
    theirs: list[PostedCall] = []

    def one_of_theirs(_number: int) -> None:
        theirs.extend(paced_calls(stack, count=1, per_s=PER_S, company_id=COMPANY, key=customer.webhook_secret))

    key = stack.env["DEMO_WEBHOOK_SECRET"]
    ours = paced_calls(stack, count=count, per_s=PER_S, company_id=DEMO_COMPANY_ID, key=key, also=one_of_theirs)
    return ours, theirs


def hubspot_requests(stack: LocalStack) -> int:
    return sum(stack.state("hubspot")["requests"].values())


def test_one_tenants_wrong_token_is_nobody_elses_trouble(local_stack: LocalStack, customer: DemoTenant) -> None:
    right_token = customer.secret_values[f"{TENANT}-hubspot-token"]
    with swept(local_stack, every_s=0.5):
        ours, theirs = both_tenants_call(local_stack, customer, count=CALLS_IN_HEALTH)
        seconds_taken(local_stack, ours, tenant_id=local_stack.tenant_id, timeout_s=60)
        seconds_taken(local_stack, theirs, tenant_id=TENANT, timeout_s=60)

        set_token("not-a-token-of-hubspot")
        ours, theirs = both_tenants_call(local_stack, customer, count=CALLS_IN_TROUBLE)
        seconds_taken(local_stack, ours, tenant_id=local_stack.tenant_id, timeout_s=60)
        all_are_blocked(local_stack, theirs)
        taken = deliveries(local_stack, ours, tenant_id=local_stack.tenant_id, outcome="done")
        refused = deliveries(local_stack, theirs, tenant_id=TENANT, outcome="blocked")
        asked, begun = hubspot_requests(local_stack), time.monotonic()
        wait_for(time.monotonic, lambda now: now > begun + 5 * PROBE_EVERY_S, what="five probes' time")
        probes = (time.monotonic() - begun) / PROBE_EVERY_S + 1
        probed = hubspot_requests(local_stack) - asked

        set_token(right_token)
        seconds_taken(local_stack, theirs, tenant_id=TENANT, timeout_s=60)
        ours, flowing = both_tenants_call(local_stack, customer, count=CALLS_IN_HEALTH)
        seconds_taken(local_stack, ours, tenant_id=local_stack.tenant_id, timeout_s=60)
        seconds_taken(local_stack, flowing, tenant_id=TENANT, timeout_s=60)

    assert {one.attributes["attempt"] for one in taken if "attempt" in one.attributes} == {"1"}
    answers = {one.attributes["answer"] for one in (*taken, *refused)}
    assert answers == {"204"}, "any other makes Pub/Sub slow the subscription for everybody"
    held_s, usual_s = (mean(lengths(spans)) for spans in (refused, taken))
    assert held_s <= MOST_OF_A_HEALTHY_CALLS_WORK * usual_s, f"refused {held_s:.3f} s, accepted {usual_s:.3f} s"
    assert 0 < probed <= REQUESTS_PER_PROBE * probes, "the vendor saw more than probes while the circuit was open"
    assert {held(local_stack, call.call_id).counts() for call in theirs} == {ONE_OF_EACH}
    assert pipeline("dead-letters", "list", "--tenant", TENANT, "--state", "open", "--json").document() == []


def deliveries(stack: LocalStack, calls: list[PostedCall], *, tenant_id: str, outcome: str) -> list[SeenSpan]:
    """Every delivery of the calls to stage crm_sync so far, once each call has one that ended so."""

    def of(call: PostedCall) -> list[SeenSpan]:
        trace = trace_of_request(tenant_id, call.request_id)
        spans = SpanFiles(stack.telemetry_dir).spans_of(f"{trace.trace_id:032x}")
        return [span for span in spans if span.name == "crm_sync"]

    return [
        span
        for call in calls
        for span in wait_for(
            partial(of, call),
            lambda spans: any(one.attributes.get("outcome") == outcome for one in spans),
            what=f"a {outcome} delivery of {call.call_id}",
        )
    ]


def lengths(spans: list[SeenSpan]) -> list[float]:
    return [one.duration_s for one in spans if "outcome" in one.attributes]


def all_are_blocked(stack: LocalStack, calls: list[PostedCall]) -> None:
    """Every call waits in the blocked lane, and says why."""
    wait_for(
        lambda: {
            (line.state, line.error_code)
            for call in calls
            for line in stack.story(call.call_id, tenant_id=TENANT)
            if line.stage == "crm_sync"
        },
        lambda seen: seen == {("blocked", "hubspot_401")},
        what="all of the tenant's calls blocked",
    )
