"""The Salesforce gateway against its stand-in: the common suite, one transaction a call, what each refusal means."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from shared.errors import Deferred, PermanentFailure, TenantBlocked
from shared.gateways.salesforce_errors import ERROR_TABLE
from tests.contract.crm_suite import CrmSuite
from tests.support.crm_calls import CALL_ID, CALLER, call_details, crm_call
from tests.support.crm_harness import CrmHarness
from tests.support.salesforce_org import (
    SalesforceOrgs,
    salesforce_orgs,
)

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


class TestSalesforce(CrmSuite):
    @pytest.fixture
    def harness(self) -> Iterator[CrmHarness]:
        with salesforce_orgs() as orgs:
            yield orgs


@pytest.fixture
def orgs() -> Iterator[SalesforceOrgs]:
    with salesforce_orgs() as running:
        yield running


class TestOneTransaction:
    def test_a_refused_task_takes_its_new_lead_back(self, orgs: SalesforceOrgs) -> None:
        orgs.refuse("task.upsert", "FIELD_CUSTOM_VALIDATION_EXCEPTION", times=50)

        with pytest.raises(PermanentFailure):
            orgs.gateway().sync_call(crm_call())

        assert (orgs.count("lead.upsert"), orgs.persons(), orgs.calls()) == (1, [], [])

    def test_a_known_caller_costs_one_search_and_one_composite_call(self, orgs: SalesforceOrgs) -> None:
        orgs.seed_person(phone=CALLER, name="Dana Q. Humanly-Entered")
        gateway = orgs.gateway()
        gateway.sync_call(crm_call("CAL0a"))
        before = orgs.state()["api_calls"]

        gateway.sync_call(crm_call("CAL0b"))

        assert orgs.state()["api_calls"] - before == 2

    def test_two_tasks_with_one_call_id_update_the_oldest_and_name_the_rest(self, orgs: SalesforceOrgs) -> None:
        orgs.configure(field_changes={"Task": {"Ext_Call_Id__c": {"unique": False}}})
        newer = orgs.seed("Task", Ext_Call_Id__c=CALL_ID, Subject="second", CreatedDate="2026-11-20T15:10:00.000+0000")
        oldest = orgs.seed("Task", Ext_Call_Id__c=CALL_ID, Subject="first", CreatedDate="2026-11-20T15:05:00.000+0000")

        with capture_logs() as logs:
            record = orgs.gateway().sync_call(crm_call(title="synchronised"))

        subjects = {task["Id"]: task["Subject"] for task in orgs.state()["tasks"]}
        assert subjects == {oldest: "synchronised", newer: "second"}
        assert record.activity_id == oldest
        assert [(log["event"], log["kept"], log["others"]) for log in logs] == [
            ("salesforce_tasks_share_call_id", oldest, [newer])
        ]

    @pytest.mark.parametrize("call_id", ["t1:call/1", "a b%2F?#&+", "x' OR Subject != '", "ü\\'"])
    def test_a_call_id_of_any_letters_stays_one_task(self, orgs: SalesforceOrgs, call_id: str) -> None:
        gateway = orgs.gateway()
        gateway.sync_call(crm_call("CAL0other", title="another call"))
        gateway.sync_call(crm_call(call_id))
        gateway.sync_call(crm_call(call_id, title="again"))

        assert [(call.call_id, call.title) for call in orgs.calls()] == [
            ("CAL0other", "another call"),
            (call_id, "again"),
        ]

    def test_a_number_with_a_search_command_in_it_finds_nobody_else(self, orgs: SalesforceOrgs) -> None:
        stranger = orgs.seed_person(phone="+1 202 555 0199", name="Somebody Else")
        number = "2025550143} IN ALL FIELDS RETURNING Lead(Id) LIMIT 1 {"

        record = orgs.gateway().sync_call(crm_call(details=call_details(caller_number=number)))

        assert record.person_id != stranger
        assert [call.person_ids for call in orgs.calls()] != [(stranger,)]


class TestErrorTable:
    @pytest.mark.parametrize("code", sorted(ERROR_TABLE))
    def test_every_code_has_its_consequence(self, orgs: SalesforceOrgs, code: str) -> None:
        expected = ERROR_TABLE[code]
        orgs.refuse("task.upsert", code, f"secret words about {CALLER}", times=50)

        with pytest.raises(expected.error) as caught:
            orgs.gateway(clock=lambda: NOON).sync_call(crm_call())

        assert caught.value.code == f"salesforce_{code.lower()}"
        assert CALLER not in str(caught.value)
        assert bool(caught.value.fix) == bool(expected.fix)
        assert (orgs.persons(), orgs.calls()) == ([], [])

    @pytest.mark.parametrize("code", ["UNABLE_TO_LOCK_ROW", "UNKNOWN_EXCEPTION", "QUERY_TIMEOUT", "SERVER_UNAVAILABLE"])
    def test_a_passing_refusal_is_ridden_out(self, orgs: SalesforceOrgs, code: str) -> None:
        orgs.refuse("task.upsert", code)

        orgs.gateway().sync_call(crm_call())

        assert (len(orgs.persons()), len(orgs.calls())) == (1, 1)

    @pytest.mark.parametrize(
        ("operation", "field"), [("task.upsert", "Ext_Call_Id__c"), ("lead.upsert", "Ext_Caller_Key__c")]
    )
    def test_losing_a_race_for_our_key_becomes_an_update(
        self, orgs: SalesforceOrgs, operation: str, field: str
    ) -> None:
        message = f"duplicate value found: {field} duplicates value on record with id: 00T000000000001"
        orgs.refuse(operation, "DUPLICATE_VALUE", message)

        orgs.gateway().sync_call(crm_call())

        assert (len(orgs.persons()), len(orgs.calls())) == (1, 1)

    def test_an_unknown_code_of_a_client_error_is_final(self, orgs: SalesforceOrgs) -> None:
        orgs.refuse("task.upsert", "NEVER_HEARD_OF", times=50)

        with pytest.raises(PermanentFailure):
            orgs.gateway().sync_call(crm_call())

    def test_used_up_daily_allowance_waits_an_hour(self, orgs: SalesforceOrgs) -> None:
        orgs.configure(daily_limit=0)

        with pytest.raises(Deferred) as caught:
            orgs.gateway(clock=lambda: NOON).sync_call(crm_call())

        assert caught.value.until == NOON + timedelta(hours=1)

    def test_too_many_requests_at_once_are_tried_again(self, orgs: SalesforceOrgs) -> None:
        orgs.refuse("search", "REQUEST_LIMIT_EXCEEDED", "ConcurrentRequests Limit exceeded.", status=403)

        orgs.gateway().sync_call(crm_call())

        assert len(orgs.calls()) == 1

    @pytest.mark.parametrize(
        ("object_name", "field"),
        [("Task", "Ext_Intent__c"), ("Task", "Ext_Call_Id__c"), ("Lead", "Ext_Lead_Summary__c")],
    )
    def test_a_missing_field_is_named(self, orgs: SalesforceOrgs, object_name: str, field: str) -> None:
        orgs.configure(removed_fields={object_name: [field]})

        with pytest.raises(TenantBlocked) as caught:
            orgs.gateway().sync_call(crm_call())

        assert field in caught.value.detail
        assert "pipeline tenant check" in caught.value.fix
        assert (orgs.persons(), orgs.calls()) == ([], [])


class TestDuplicateRules:
    def test_an_alert_does_not_lose_the_caller(self, orgs: SalesforceOrgs) -> None:
        orgs.configure(duplicate_rule="alert", search_lag_s=3600)
        orgs.seed_person(phone="(202) 555-0143", name="Not Yet Indexed")

        orgs.gateway().sync_call(crm_call())

        assert (len(orgs.persons()), len(orgs.calls())) == (2, 1)

    def test_a_blocking_rule_is_a_final_no_that_says_what_to_do(self, orgs: SalesforceOrgs) -> None:
        orgs.configure(duplicate_rule="block", search_lag_s=3600)
        orgs.seed_person(phone="(202) 555-0143", name="Not Yet Indexed")

        with pytest.raises(PermanentFailure) as caught:
            orgs.gateway().sync_call(crm_call())

        assert "duplicate rule" in caught.value.fix
        assert orgs.calls() == []
