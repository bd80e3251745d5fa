"""One tenant's CRM token is wrong, under load: nobody else notices, and its calls flow once it is mended."""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import quantiles

import pytest

from infra.local.demo_tenant import DEMO_COMPANY_ID, DemoTenant
from shared.settings import load_settings
from tests.e2e.calls import ONE_OF_EACH, PostedCall, held
from tests.e2e.command_line import pipeline
from tests.support.load import p95, paced_calls, seconds_taken, swept
from tests.support.stack import LocalStack, wait_for

pytestmark = pytest.mark.emulators

TENANT = "wrong-token"
COMPANY = "COM019a00000000700080000000000000f7"
CALLS = 20
PER_S = 4.0
QUARTILE_MARGIN_S = 3.0
"""How much slower the quickest quarter of the neighbours' calls may be than with nothing wrong before or after. Other
tests run beside this one: their noise reaches the tail and the median before it reaches the quickest."""
P95_MARGIN_S = 6.0
"""The same for the slowest. A stage that waited for the broken CRM, or a subscription that was backed off, would cost
them ten seconds and more."""
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


def both_tenants_call(stack: LocalStack, customer: DemoTenant) -> tuple[list[PostedCall], list[PostedCall]]:
    """The demo tenant's calls and, between them, the customer's."""
    theirs: list[PostedCall] = []

    def one_of_theirs(_number: int) -> None:
        theirs.extend(paced_calls(stack, count=1, per_s=PER_S, company_id=COMPANY, key=customer.webhook_secret))

    key = stack.env["DEMO_WEBHOOK_SECRET"]
    ours = paced_calls(stack, count=CALLS, per_s=PER_S, company_id=DEMO_COMPANY_ID, key=key, also=one_of_theirs)
    return ours, theirs


def hubspot_requests(stack: LocalStack) -> int:
    return sum(stack.state("hubspot")["requests"].values())


def test_one_tenants_wrong_token_is_nobody_elses_trouble(local_stack: LocalStack, customer: DemoTenant) -> None:
    right_token = customer.secret_values[f"{TENANT}-hubspot-token"]
    with swept(local_stack, every_s=0.5):
        ours, theirs = both_tenants_call(local_stack, customer)
        usual = seconds_taken(local_stack, ours, tenant_id=local_stack.tenant_id, timeout_s=60)
        seconds_taken(local_stack, theirs, tenant_id=TENANT, timeout_s=60)

        set_token("not-a-token-of-hubspot")
        ours, theirs = both_tenants_call(local_stack, customer)
        disturbed = seconds_taken(local_stack, ours, tenant_id=local_stack.tenant_id, timeout_s=60)
        all_are_blocked(local_stack, theirs)
        asked, begun = hubspot_requests(local_stack), time.monotonic()
        wait_for(time.monotonic, lambda now: now > begun + 5 * PROBE_EVERY_S, what="five probes' time")
        probes = (time.monotonic() - begun) / PROBE_EVERY_S + 1
        probed = hubspot_requests(local_stack) - asked

        set_token(right_token)
        seconds_taken(local_stack, theirs, tenant_id=TENANT, timeout_s=60)
        ours, flowing = both_tenants_call(local_stack, customer)
        mended = seconds_taken(local_stack, ours, tenant_id=local_stack.tenant_id, timeout_s=60)
        seconds_taken(local_stack, flowing, tenant_id=TENANT, timeout_s=60)

    figures = f"usual {usual}, disturbed {disturbed}, mended {mended}"
    assert quickest(disturbed) <= max(quickest(usual), quickest(mended)) + QUARTILE_MARGIN_S, figures
    assert p95(disturbed) <= max(p95(usual), p95(mended)) + P95_MARGIN_S, figures
    assert 0 < probed <= REQUESTS_PER_PROBE * probes, "the vendor saw more than probes while the circuit was open"
    assert {held(local_stack, call.call_id).counts() for call in theirs} == {ONE_OF_EACH}
    assert pipeline("dead-letters", "list", "--tenant", TENANT, "--state", "open", "--json").document() == []


def quickest(seconds: list[float]) -> float:
    """What a quarter of them did not need longer than."""
    return quantiles(seconds, n=4)[0]


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
