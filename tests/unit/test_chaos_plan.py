"""A chaos run is planned before it starts: the same seed plans the same, and every kind of trouble is in it."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from handlers.signature import callrail_signature
from infra.local.chaos import faults
from infra.local.chaos.calls import COMPANIES
from infra.local.chaos.faults import REBORN, RESTARTED, LostNotices, ProcessFault, VendorFault
from infra.local.chaos.plan import make_plan
from infra.local.chaos.saboteur import STANDINS
from infra.local.standins.faults import FaultRule
from schemas.webhooks import infer_kind, parse_webhook
from shared.crash_points import POINTS, parse_deaths

MINUTE = make_plan(seed=7, calls=200, duration_s=60)


def test_the_same_seed_plans_the_same_and_another_one_does_not() -> None:
    assert make_plan(seed=7, calls=200, duration_s=60) == MINUTE
    assert make_plan(seed=8, calls=200, duration_s=60).digest != MINUTE.digest


def test_one_more_call_leaves_the_faults_as_they_are() -> None:
    more = make_plan(seed=7, calls=201, duration_s=60)

    assert (more.faults, more.deaths) == (MINUTE.faults, MINUTE.deaths)


def test_every_call_ends_with_a_webhook_and_every_webhook_is_what_it_says() -> None:
    for call in MINUTE.calls:
        assert "post_call" in [post.kind for post in call.posts]
        for post in call.posts:
            assert infer_kind(post.body) == post.kind
            assert parse_webhook(post.body).call_id == call.call_id
            assert post.body["company_resource_id"] == COMPANIES[call.tenant]


def test_webhooks_come_in_any_order_and_again() -> None:
    kinds = [[post.kind for post in call.posts] for call in MINUTE.calls]

    assert any(order[0] == "call_modified" for order in kinds)
    assert any(order.index("post_call") < order.index("pre_call") for order in kinds if "pre_call" in order)
    assert any(order.count("post_call") > 1 for order in kinds)
    assert {call.shape for call in MINUTE.calls} == {"answered", "missed", "voicemail", "late_audio"}


def test_a_repeated_webhook_is_the_same_to_the_byte() -> None:
    """CallRail signs what it sends; a body that differed would be another webhook."""
    for call in MINUTE.calls:
        bodies = [post.body for post in call.posts if post.kind == "post_call"]
        assert len({callrail_signature("key", json.dumps(body).encode()) for body in bodies}) == 1


def test_numbers_belong_to_nobody() -> None:
    assert all(call.caller[5:10] == "55501" for call in MINUTE.calls)


@pytest.mark.parametrize("deed", ["kill", "freeze", "restart"])
def test_every_deed_happens(deed: str) -> None:
    assert any(isinstance(fault, ProcessFault) and fault.deed == deed for fault in MINUTE.faults)


def test_a_vendor_is_killed_and_started_again() -> None:
    killed = {fault.target for fault in MINUTE.faults if isinstance(fault, ProcessFault) and fault.deed == "kill"}
    assert set(REBORN) < killed


def test_every_other_vendor_is_ended_several_times_and_comes_back_after_a_while() -> None:
    restarts = [fault for fault in MINUTE.faults if isinstance(fault, ProcessFault) and _is_vendors_restart(fault)]

    assert {*REBORN, *RESTARTED} == set(STANDINS)
    assert Counter(fault.target for fault in restarts) == dict.fromkeys(RESTARTED, 3)
    assert all(0.5 <= fault.at_s <= 60 and 0 <= fault.for_s <= 3 for fault in restarts)
    assert len({fault.at_s for fault in restarts}) > len(RESTARTED)


def test_one_more_restart_of_a_vendor_leaves_every_other_fault_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "_RESTART_EACH_S", 15)

    more = faults.plan_faults(7, over_s=60)

    assert len(more) == len(MINUTE.faults) + len(RESTARTED)
    assert [fault for fault in more if not _is_vendors_restart(fault)] == [
        fault for fault in MINUTE.faults if not _is_vendors_restart(fault)
    ]


def _is_vendors_restart(fault: faults.Fault) -> bool:
    return isinstance(fault, ProcessFault) and fault.deed == "restart" and fault.target in RESTARTED


def test_every_rule_is_one_that_a_stand_in_takes() -> None:
    rules = [FaultRule.model_validate(fault.rule) for fault in MINUTE.faults if isinstance(fault, VendorFault)]

    assert {rule.kind for rule in rules} == {"status", "stall", "drop", "drop_after", "rubbish"}
    assert any(isinstance(fault, LostNotices) for fault in MINUTE.faults)


def test_every_death_is_one_that_a_process_can_die() -> None:
    deaths = MINUTE.deaths

    assert parse_deaths(",".join(str(death) for death in deaths)) == deaths
    assert {death.point for death in deaths} <= POINTS.keys()
    assert {death.service for death in deaths} >= {"webhook", "dead_letter", "operator"}
