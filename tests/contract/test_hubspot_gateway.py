"""The HubSpot gateway against the HubSpot stand-in, over HTTP: the common suite, then what is HubSpot's own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest

from infra.local.standins.faults import FaultRule
from schemas.calls import Marketing
from shared.errors import Deferred, PermanentFailure, PipelineError, TenantBlocked, Throttled, TransientFailure
from shared.gateways.hubspot import HubSpotGateway
from shared.gateways.hubspot_mapping import caller_key
from shared.gateways.hubspot_schema import PROPERTIES
from tests.contract.crm_suite import CrmSuite
from tests.support.crm_calls import CALL_ID, CALLER, STARTED_AT, call_analysis, call_details, crm_call
from tests.support.crm_harness import CrmHarness
from tests.support.hubspot_portal import NOW, TOKENS, HubSpotHarness


@pytest.fixture
def hubspot() -> Iterator[HubSpotHarness]:
    with ExitStack() as stack:
        yield HubSpotHarness(stack)


class TestHubSpot(CrmSuite):
    """The suite that every CRM runs."""

    @pytest.fixture
    def harness(self, hubspot: HubSpotHarness) -> CrmHarness:
        return hubspot


# --- what a sales person sees ---------------------------------------------------------------------


def test_call_carries_hubspots_own_fields_and_ours(hubspot: HubSpotHarness) -> None:
    hubspot.gateway().sync_call(crm_call())

    (call,) = hubspot.held("calls")
    expected = {
        "hs_timestamp": "2026-11-20T15:04:05.000Z",
        "hs_call_duration": "92000",
        "hs_call_direction": "INBOUND",
        "hs_call_status": "COMPLETED",
        "hs_call_from_number": CALLER,
        "hs_call_to_number": "+12025550100",
        "ext_lead_band": "qualified",
        "ext_call_intent": "new_lead",
        "ext_next_step": "Call back before noon.",
        "ext_source": "Google Ads",
    }
    assert expected.items() <= call["properties"].items()
    assert "hs_call_recording_url" not in call["properties"]


def test_a_contact_shows_its_latest_call_and_keeps_its_first_source(hubspot: HubSpotHarness) -> None:
    hubspot.gateway().sync_call(crm_call("CAL0a"))
    hubspot.gateway().sync_call(
        crm_call(
            "CAL0b",
            details=call_details(
                started_at=STARTED_AT + timedelta(hours=1), marketing=Marketing(source="Direct", campaign="none")
            ),
            analysis=call_analysis(lead_score=15, intent="complaint", qualified=False),
        )
    )

    (contact,) = hubspot.held("contacts")
    expected = {
        "ext_lead_score": "15",
        "ext_lead_band": "not qualified",
        "ext_last_call_intent": "complaint",
        "ext_source": "Google Ads",
        "ext_campaign": "heaters",
        "ext_caller_key": caller_key(CALLER),
    }
    assert expected.items() <= contact["properties"].items()


def test_an_older_call_that_comes_late_does_not_replace_the_latest(hubspot: HubSpotHarness) -> None:
    hubspot.gateway().sync_call(crm_call("CAL0b"))
    earlier = call_details(started_at=STARTED_AT - timedelta(days=2))
    hubspot.gateway().sync_call(crm_call("CAL0a", details=earlier, analysis=call_analysis(lead_score=1)))

    (contact,) = hubspot.held("contacts")
    assert contact["properties"]["ext_lead_score"] == "82"
    assert len(hubspot.held("calls")) == 2


def test_a_mobile_number_is_found_too(hubspot: HubSpotHarness) -> None:
    seeded = hubspot.seed_contact(mobilephone="202.555.0143", phone="(202) 555-0199", lastname="Example")

    assert hubspot.gateway().sync_call(crm_call()).person_id == seeded


def test_a_call_moved_to_another_contact_by_hand_stays_there(hubspot: HubSpotHarness) -> None:
    gateway = hubspot.gateway()
    record = gateway.sync_call(crm_call())
    husband = hubspot.seed_contact(phone="+12025550177", lastname="Example")
    links = f"/crm/objects/2026-09/calls/{record.activity_id}/associations"
    hubspot.as_human("DELETE", f"{links}/contacts/{record.person_id}")
    hubspot.as_human("PUT", f"{links}/default/contacts/{husband}")

    gateway.sync_call(crm_call(previous=record, title="tagged"))

    (call,) = hubspot.calls()
    assert (call.title, call.person_ids) == ("tagged", (husband,))


def test_unknown_start_is_now_at_first_and_unmoved_later(hubspot: HubSpotHarness) -> None:
    details = call_details(started_at=None)
    record = hubspot.gateway().sync_call(crm_call(details=details))
    later = HubSpotGateway(
        hubspot.client, secrets=hubspot.secrets, token_secret="own", clock=lambda: NOW + timedelta(days=1)
    )
    later.sync_call(crm_call(details=details, previous=record))

    (call,) = hubspot.held("calls")
    assert call["properties"]["hs_timestamp"] == "2026-11-23T18:30:00.000Z"


# --- how many requests ----------------------------------------------------------------------------


@pytest.mark.parametrize(("known", "most"), [("nobody", 5), ("by search", 4), ("by id", 3)])
def test_requests_per_call(hubspot: HubSpotHarness, known: str, most: int) -> None:
    """HubSpot bills by the request: 250,000 a day in the smallest account."""
    previous = hubspot.gateway().sync_call(crm_call()) if known == "by id" else None
    if known == "by search":
        hubspot.seed_person(phone=CALLER, name="Dana Example")
    before = sum(hubspot.state()["requests"].values())

    hubspot.gateway().sync_call(crm_call(previous=previous))

    assert sum(hubspot.state()["requests"].values()) - before == most


# --- answers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        (400, {"category": "VALIDATION_ERROR"}, PermanentFailure, "hubspot_refused"),
        (403, {"category": "MISSING_SCOPES"}, TenantBlocked, "hubspot_403"),
        (404, {"category": "OBJECT_NOT_FOUND"}, TransientFailure, "hubspot_record_vanished"),
        (409, {"category": "CONFLICT"}, PermanentFailure, "hubspot_conflict"),
        (422, {}, PermanentFailure, "hubspot_refused"),
        (423, {}, TransientFailure, "hubspot_locked"),
        (429, {"policyName": "SECONDLY"}, Throttled, "hubspot_throttled"),
        (429, {"policyName": "DAILY"}, Deferred, "hubspot_daily_quota"),
        (477, {}, TransientFailure, "hubspot_477"),
        (502, "<html>bad gateway</html>", TransientFailure, "hubspot_502"),
        (524, {}, TransientFailure, "hubspot_524"),
    ],
)
def test_each_answer_has_its_kind_of_error(
    hubspot: HubSpotHarness, status: int, body: Any, kind: type[PipelineError], code: str
) -> None:
    hubspot.plan.add(FaultRule(operation="calls.upsert", kind="status", status=status, body=body, times=50))

    with pytest.raises(kind) as caught:
        hubspot.bare_gateway(budget_s=1.5).sync_call(crm_call())

    assert caught.value.code == code
    assert f"answered {status} to" in caught.value.detail


def test_error_names_the_case_at_hubspot_but_no_value(hubspot: HubSpotHarness) -> None:
    message = (
        'Property values were not valid: [{"isValid":false,"message":"+12025550143 was not a valid phone",'
        '"error":"INVALID_PHONE_NUMBER","name":"phone"}]'
    )
    body = {"status": "error", "message": message, "correlationId": "c0ffee-1", "category": "VALIDATION_ERROR"}
    hubspot.plan.add(FaultRule(operation="contacts.upsert", kind="status", status=400, body=body))

    with pytest.raises(PermanentFailure) as caught:
        hubspot.gateway().sync_call(crm_call())

    assert "correlationId c0ffee-1" in caught.value.detail
    assert "phone INVALID_PHONE_NUMBER" in caught.value.detail
    assert "555" not in str(caught.value)


def test_portal_that_was_never_prepared_blocks_the_tenant_with_the_command_to_run(hubspot: HubSpotHarness) -> None:
    hubspot.secrets.write("third", "pat-third")
    hubspot.accept({**TOKENS, "pat-third": "third"})

    with pytest.raises(TenantBlocked) as caught:
        hubspot.bare_gateway("third").sync_call(crm_call())

    assert "pipeline tenant check" in caught.value.fix


def test_call_property_deleted_in_hubspot_blocks_the_tenant(hubspot: HubSpotHarness) -> None:
    body = {
        "status": "error",
        "category": "VALIDATION_ERROR",
        "errors": [{"code": "PROPERTY_DOESNT_EXIST", "context": {"propertyName": ["ext_next_step"]}, "message": "-"}],
    }
    hubspot.plan.add(FaultRule(operation="calls.upsert", kind="status", status=400, body=body))

    with pytest.raises(TenantBlocked) as caught:
        hubspot.gateway().sync_call(crm_call())

    assert "ext_next_step PROPERTY_DOESNT_EXIST" in caught.value.detail


def _conflict(key: str) -> dict[str, Any]:
    error = {"status": "error", "category": "CONFLICT", "message": f"{key} must be unique"}
    return {"status": "COMPLETE", "results": [], "numErrors": 1, "errors": [error]}


def test_losing_the_race_for_a_new_contact_ends_at_the_winners(hubspot: HubSpotHarness) -> None:
    hubspot.lag_search()
    winner = hubspot.gateway().sync_call(crm_call("CAL0a"))
    # The look by key comes too early as well, so that the upsert is what meets the winner.
    nobody = {"status": "COMPLETE", "results": [], "errors": [{"category": "OBJECT_NOT_FOUND"}]}
    hubspot.plan.add(FaultRule(operation="contacts.batch_read", kind="status", status=207, body=nobody))
    hubspot.fault("person", kind="status", status=207, body=_conflict("ext_caller_key"))

    loser = hubspot.gateway().sync_call(crm_call("CAL0b"))

    assert (loser.person_id, loser.person_created) == (winner.person_id, False)
    assert len(hubspot.held("contacts")) == 1


def test_losing_the_race_for_a_call_updates_the_winners(hubspot: HubSpotHarness) -> None:
    winner = hubspot.gateway().sync_call(crm_call())
    hubspot.fault("call", kind="status", status=207, body=_conflict("ext_call_id"))

    loser = hubspot.gateway().sync_call(crm_call(title="second"))

    assert loser.activity_id == winner.activity_id
    assert [call.title for call in hubspot.calls()] == ["second"]


def test_item_refused_inside_a_207_is_a_final_no(hubspot: HubSpotHarness) -> None:
    error = {"status": "error", "category": "VALIDATION_ERROR", "message": "a rule of the tenant"}
    body = {"status": "COMPLETE", "results": [], "numErrors": 1, "errors": [error]}
    hubspot.fault("call", kind="status", status=207, body=body)

    with pytest.raises(PermanentFailure):
        hubspot.gateway().sync_call(crm_call())


def test_answer_slower_than_our_patience_leaves_one_call(hubspot: HubSpotHarness) -> None:
    hubspot.fault("call", kind="stall", delay_s=1.0)

    hubspot.bare_gateway(request_timeout_s=0.4).sync_call(crm_call())

    assert hubspot.asked("calls.upsert") == 2
    assert [call.call_id for call in hubspot.calls()] == [CALL_ID]


def test_whole_sync_stays_within_its_budget(hubspot: HubSpotHarness) -> None:
    hubspot.plan.add(FaultRule(operation="*", kind="stall", delay_s=4, times=50))
    started = time.monotonic()

    with pytest.raises(TransientFailure):
        hubspot.bare_gateway(budget_s=1.0, request_timeout_s=5.0).sync_call(crm_call())

    assert time.monotonic() - started < 2.0


def test_secret_that_no_header_can_carry_blocks_the_tenant(hubspot: HubSpotHarness) -> None:
    hubspot.secrets.write("pasted", "pat-own\nsecond line")

    with pytest.raises(TenantBlocked) as caught:
        hubspot.bare_gateway("pasted").sync_call(crm_call())

    assert "second line" not in str(caught.value)


# --- onboarding -----------------------------------------------------------------------------------


def test_prepare_creates_what_is_missing_and_then_finds_it(hubspot: HubSpotHarness) -> None:
    hubspot.secrets.write("third", "pat-third")
    hubspot.accept({**TOKENS, "pat-third": "third"})
    gateway = hubspot.bare_gateway("third")
    before = hubspot.asked("properties.create")

    first, second = gateway.prepare(), gateway.prepare()

    assert {line.split(":")[0] for line in first} == {"created", "ok"}
    assert [line for line in first if line.startswith("ok")] == [
        "ok: contacts may be written",
        "ok: calls may be written",
    ]
    assert {line.split(":")[0] for line in second} == {"ok"}
    assert hubspot.held("contacts", "third") == hubspot.held("calls", "third") == []
    assert "created: calls.ext_call_id" in first
    assert hubspot.asked("properties.create") - before == 2, "all properties of an object type at once"
    assert gateway.sync_call(crm_call()).activity_id


@pytest.mark.parametrize("listed", [True, False])
def test_prepare_reports_a_key_that_does_not_enforce_unique_values(hubspot: HubSpotHarness, listed: bool) -> None:
    """Also when it was made between the listing and our creation (409, read back)."""
    headers = {"Authorization": "Bearer pat-third"}
    hubspot.secrets.write("third", "pat-third")
    hubspot.accept({**TOKENS, "pat-third": "third"})
    definition = {"name": "ext_call_id", "label": "x", "type": "string", "fieldType": "text", "groupName": "call"}
    hubspot.admin.post("/crm/properties/2026-09/calls", json=definition, headers=headers).raise_for_status()
    if not listed:
        hubspot.plan.add(
            FaultRule(operation="properties.list", kind="rubbish", skip=1, body={"results": []}),
        )

    lines = hubspot.bare_gateway("third").prepare()

    (missing,) = [line for line in lines if line.startswith("missing")]
    assert "calls.ext_call_id exists but does not enforce unique values" in missing


@pytest.mark.parametrize("refusal", [{"status": 400}, {"status": 404}])
def test_what_hubspot_does_not_take_at_once_is_made_one_by_one(
    hubspot: HubSpotHarness, refusal: dict[str, int]
) -> None:
    hubspot.secrets.write("third", "pat-third")
    hubspot.accept({**TOKENS, "pat-third": "third"})
    before = hubspot.asked("properties.create")
    hubspot.plan.add(FaultRule(operation="properties.create", kind="status", **refusal))

    lines = hubspot.bare_gateway("third").prepare()

    assert {line.split(":")[0] for line in lines} == {"created", "ok"}
    assert hubspot.asked("properties.create") - before == 1 + len(PROPERTIES["contacts"]) + 1


def test_an_inspection_says_what_would_be_created_and_creates_nothing(hubspot: HubSpotHarness) -> None:
    hubspot.secrets.write("third", "pat-third")
    hubspot.accept({**TOKENS, "pat-third": "third"})
    before = hubspot.asked("properties.create")

    lines = hubspot.bare_gateway("third").inspect()

    assert "would create: calls.ext_call_id" in lines
    assert "would create: group ext_call_insights of contacts" in lines
    assert {line.split(":")[0] for line in lines} == {"would create"}
    assert hubspot.asked("properties.create") == before


@pytest.mark.parametrize(
    ("scope", "where"),
    [
        ("crm.schemas.contacts.read", "raised"),
        ("crm.schemas.contacts.write", "raised"),
        ("crm.objects.contacts.write", "line"),
    ],
)
def test_a_missing_scope_is_named(hubspot: HubSpotHarness, scope: str, where: str) -> None:
    hubspot.secrets.write("third", "pat-third")
    document = {"tokens": {**TOKENS, "pat-third": "third"}, "lacks": {"pat-third": [scope]}}
    hubspot.admin.post("/_standin/tokens", json=document).raise_for_status()

    if where == "line":
        lines = hubspot.bare_gateway("third").prepare()
        (missing, _calls) = [line for line in lines if line.startswith("missing")]
        assert missing.startswith("missing: write access to contacts")
        assert f"scope {scope} is needed" in missing
        return
    with pytest.raises(TenantBlocked) as caught:
        hubspot.bare_gateway("third").prepare()
    assert f"scope {scope} is needed" in caught.value.detail


def test_a_property_of_the_wrong_type_is_named(hubspot: HubSpotHarness) -> None:
    headers = {"Authorization": "Bearer pat-third"}
    hubspot.secrets.write("third", "pat-third")
    hubspot.accept({**TOKENS, "pat-third": "third"})
    definition = {"name": "ext_lead_score", "label": "x", "type": "string", "fieldType": "text", "groupName": "call"}
    hubspot.admin.post("/crm/properties/2026-09/calls", json=definition, headers=headers).raise_for_status()

    lines = hubspot.bare_gateway("third").inspect()

    assert "missing: calls.ext_lead_score exists but is not of type number; archive it in HubSpot's settings" in lines
