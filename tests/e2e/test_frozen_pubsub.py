"""Pub/Sub stands still under load: every sender is answered in time, nothing that was promised is lost.

`pipeline chaos --drill frozen-pubsub` does the same for 15 seconds and at any load.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from infra.local.chaos.drills import DrillLoad, Outage, outage_of, sweep_over_http
from infra.local.demo_tenant import DEMO_COMPANY_ID
from infra.local.state import StateDir
from shared.inbox import PREFIX
from shared.settings import load_settings
from tests.support.stack import LocalStack, wait_for

pytestmark = pytest.mark.emulators

FREEZE_S = 5.0
PER_S = 10.0
LONGEST_ANSWER_S = 2.0
LONGEST_REFUSAL_S = 5.0
"""Publish and inbox are tried one after the other before a sender is told that neither took the webhook."""


def freeze(stack: LocalStack, *services: str, freeze_s: float = FREEZE_S) -> Outage:
    """What happens to senders while these services stand still."""
    from handlers import wiring

    state = StateDir(stack.state_dir).running()
    objects = wiring.objects(load_settings())
    load = DrillLoad(stack.env["WEBHOOK_URL"], DEMO_COMPANY_ID, stack.env["DEMO_WEBHOOK_SECRET"], per_s=PER_S)
    return outage_of(
        {name: state.service(name).pid for name in services},
        load,
        pubsub_address=stack.env["PUBSUB_EMULATOR_HOST"],
        freeze_s=freeze_s,
        inbox=lambda: objects.list_names(PREFIX),
        sweep=lambda: sweep_over_http(stack.env["OPERATOR_URL"]),
    )


def ends_of(stack: LocalStack, promised: Mapping[str, str]) -> dict[str, list[tuple[str, str]]]:
    """Request and state of every run that a call left: one of each, or a double was not absorbed."""
    return {call_id: [(line.request_id, line.request_state) for line in stack.story(call_id)] for call_id in promised}


def arrive(stack: LocalStack, promised: Mapping[str, str]) -> None:
    """Wait until every promised request is done, once."""
    wait_for(
        lambda: ends_of(stack, promised),
        lambda ends: ends == {call_id: [(request_id, "done")] for call_id, request_id in promised.items()},
        what="every promised request done",
    )


def test_with_pubsub_frozen_every_sender_is_answered_in_time_and_nothing_promised_is_lost(
    local_stack: LocalStack,
) -> None:
    # Long enough that a sweep of all the session's tenants, on a machine that others load, is not most of it.
    outage = freeze(local_stack, "pubsub", freeze_s=2 * FREEZE_S)

    assert set(outage.statuses()) == {202}, outage.line()
    assert outage.slowest_s < LONGEST_ANSWER_S, outage.line()
    assert outage.inbox_at_the_end > 0, "the outage was not felt"
    assert outage.inbox_empty_after_s < outage.lasted_s, outage.line()
    arrive(local_stack, outage.promised)


def test_with_storage_frozen_too_senders_hear_that_nothing_was_kept(local_stack: LocalStack) -> None:
    outage = freeze(local_stack, "pubsub", "storage")

    refused = [one for one in outage.told if one.status != 202]
    assert {one.status for one in refused} == {503}, outage.line()
    assert {one.message for one in refused} == {"nothing was kept; send the same request again"}
    assert outage.slowest_s < LONGEST_REFUSAL_S, outage.line()
    arrive(local_stack, outage.promised)
