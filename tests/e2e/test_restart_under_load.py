"""A deployment under load: workers end by SIGTERM and begin anew, and no call waits for a dead worker's lease."""

from __future__ import annotations

import threading

import pytest

from infra.local.demo_tenant import DEMO_COMPANY_ID
from shared.pipeline import load_pipeline
from shared.shutdown import GIVE_BACK_AFTER_S
from tests.e2e.calls import ONE_OF_EACH, accepted, held, missed_call
from tests.support.load import paced_calls, seconds_taken
from tests.support.stack import LocalStack, wait_for

pytestmark = pytest.mark.emulators

FAR_BELOW_A_LEASE_S = 60.0
RESTARTED = ("download", "crm_sync", "download", "crm_sync")


def restart_one_after_the_other(stack: LocalStack) -> None:
    for name in RESTARTED:
        stack.restart(name)


def test_no_call_waits_for_a_lease_because_workers_are_replaced(local_stack: LocalStack) -> None:
    """The shortest lease of the two is 180 s."""
    assert all(load_pipeline().services[name].ack_deadline_s > 2 * FAR_BELOW_A_LEASE_S for name in RESTARTED)
    local_stack.tell("hubspot", "faults", [{"kind": "stall", "delay_s": 0.5, "times": 200}])  # work is always in hand
    replacing = threading.Thread(target=restart_one_after_the_other, args=(local_stack,))
    replacing.start()
    try:
        key = local_stack.env["DEMO_WEBHOOK_SECRET"]
        calls = paced_calls(local_stack, count=30, per_s=3.0, company_id=DEMO_COMPANY_ID, key=key)
    finally:
        replacing.join()
        local_stack.heal("hubspot")

    taken = seconds_taken(local_stack, calls, tenant_id=local_stack.tenant_id, timeout_s=FAR_BELOW_A_LEASE_S)
    assert max(taken) < FAR_BELOW_A_LEASE_S
    assert {held(local_stack, call.call_id).counts() for call in calls} == {ONE_OF_EACH}


def test_work_that_outlasts_the_shutdown_gives_its_claim_back(local_stack: LocalStack) -> None:
    local_stack.tell("hubspot", "faults", [{"kind": "stall", "delay_s": GIVE_BACK_AFTER_S + 6}])
    call = accepted(local_stack, missed_call(number="+13035550177"))
    wait_for(
        lambda: {(line.stage, line.state) for line in local_stack.story(call.call_id)},
        lambda seen: ("crm_sync", "running") in seen,
        what="the sync in hand",
    )

    local_stack.restart("crm_sync")

    (taken,) = seconds_taken(local_stack, [call], tenant_id=local_stack.tenant_id, timeout_s=FAR_BELOW_A_LEASE_S)
    assert GIVE_BACK_AFTER_S < taken < FAR_BELOW_A_LEASE_S
    assert held(local_stack, call.call_id).counts() == ONE_OF_EACH
