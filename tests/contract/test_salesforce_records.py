"""What the Salesforce gateway writes: which person, which task, and what `prepare` says an org lacks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.crm_calls import CALL_ID, CALLER, STARTED_AT, call_analysis, call_details, crm_call
from tests.support.salesforce_org import (
    SalesforceOrgs,
    salesforce_orgs,
)

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.fixture
def orgs() -> Iterator[SalesforceOrgs]:
    with salesforce_orgs() as running:
        yield running


class TestPeople:
    def test_a_contact_goes_before_a_lead(self, orgs: SalesforceOrgs) -> None:
        orgs.seed_person(phone=CALLER, name="Older Lead")
        contact = orgs.seed("Contact", LastName="Customer", MobilePhone="202.555.0143")

        record = orgs.gateway().sync_call(crm_call())

        assert (record.person_id, record.person_type) == (contact, "contact")
        assert orgs.state()["contacts"][0]["Ext_Lead_Score__c"] == 82

    def test_the_oldest_is_told_by_its_date_not_by_its_place(self, orgs: SalesforceOrgs) -> None:
        orgs.seed("Contact", LastName="Later", Phone=CALLER, CreatedDate="2026-02-01T00:00:00.000+0000")
        oldest = orgs.seed("Contact", LastName="First", Phone=CALLER, CreatedDate="2025-02-01T00:00:00.000+0000")

        assert orgs.gateway().sync_call(crm_call()).person_id == oldest

    def test_new_callers_become_contacts_where_the_tenant_wants_it(self, orgs: SalesforceOrgs) -> None:
        record = orgs.gateway(person_type="contact").sync_call(crm_call())

        state = orgs.state()
        assert (len(state["leads"]), len(state["contacts"])) == (0, 1)
        assert (record.person_type, record.person_id) == ("contact", state["contacts"][0]["Id"])

    def test_new_lead_carries_name_score_rating_and_origin(self, orgs: SalesforceOrgs) -> None:
        orgs.gateway().sync_call(crm_call())

        (lead,) = orgs.state()["leads"]
        facts = {name: lead[name] for name in ("FirstName", "LastName", "Company", "Phone", "LeadSource", "Rating")}
        assert facts == {
            "FirstName": "Dana",
            "LastName": "Example",
            "Company": "[not provided]",
            "Phone": CALLER,
            "LeadSource": "Google Ads",
            "Rating": "Hot",
        }
        assert lead["Ext_Lead_Summary__c"] == "Wants a quote for a water heater."
        assert "Campaign: heaters" in lead["Description"]

    def test_a_restricted_lead_source_is_left_out(self, orgs: SalesforceOrgs) -> None:
        orgs.configure(field_changes={"Lead": {"LeadSource": {"restricted": True}}})

        orgs.gateway().sync_call(crm_call())

        (lead,) = orgs.state()["leads"]
        assert "LeadSource" not in lead
        assert "Source: Google Ads" in lead["Description"]

    def test_a_humans_rating_stays_and_an_empty_one_is_filled(self, orgs: SalesforceOrgs) -> None:
        rated = orgs.seed("Lead", LastName="Rated", Company="Example Ltd", Phone="+12025550111", Rating="Cold")
        unrated = orgs.seed("Lead", LastName="Unrated", Company="Example Ltd", Phone="+12025550122")
        gateway = orgs.gateway()
        gateway.sync_call(crm_call("CAL0a", details=call_details(caller_number="+12025550111")))
        gateway.sync_call(crm_call("CAL0b", details=call_details(caller_number="+12025550122")))

        assert {lead["Id"]: lead["Rating"] for lead in orgs.state()["leads"]} == {rated: "Cold", unrated: "Hot"}

    def test_an_older_call_synchronised_late_does_not_replace_the_newer_score(self, orgs: SalesforceOrgs) -> None:
        gateway = orgs.gateway()
        gateway.sync_call(crm_call("CAL0new"))
        older = call_details(started_at=STARTED_AT - timedelta(days=3))
        gateway.sync_call(crm_call("CAL0old", details=older, analysis=call_analysis(lead_score=5)))

        (lead,) = orgs.state()["leads"]
        assert lead["Ext_Lead_Score__c"] == 82
        assert {call.person_ids for call in orgs.calls()} == {(lead["Id"],)}

    def test_a_converted_lead_hands_the_call_to_its_contact(self, orgs: SalesforceOrgs) -> None:
        gateway = orgs.gateway()
        record = gateway.sync_call(crm_call())
        contact = orgs.convert(record.person_id)

        again = gateway.sync_call(crm_call(previous=record))
        other = gateway.sync_call(crm_call("CAL0next"))

        assert (again.person_id, other.person_id) == (contact, contact)
        assert {call.person_ids for call in orgs.calls()} == {(contact,)}

    def test_a_converted_lead_is_followed_before_the_index_shows_its_contact(self, orgs: SalesforceOrgs) -> None:
        orgs.lag_search()
        gateway = orgs.gateway()
        record = gateway.sync_call(crm_call("CAL0a"))
        contact = orgs.convert(record.person_id)

        assert gateway.sync_call(crm_call("CAL0b")).person_id == contact

    def test_without_the_caller_key_a_second_call_still_finds_its_lead(self, orgs: SalesforceOrgs) -> None:
        orgs.configure(removed_fields={"Lead": ["Ext_Caller_Key__c"]}, search_lag_s=3600)
        gateway = orgs.gateway()
        first = gateway.sync_call(crm_call("CAL0a"))

        assert gateway.sync_call(crm_call("CAL0b")).person_id == first.person_id

    @pytest.mark.parametrize("hidden", ["HomePhone", "OtherPhone"])
    def test_a_hidden_phone_field_is_done_without(self, orgs: SalesforceOrgs, hidden: str) -> None:
        orgs.configure(removed_fields={"Contact": [hidden]})

        orgs.gateway().sync_call(crm_call())

        assert len(orgs.calls()) == 1


class TestTask:
    def test_the_task_is_a_completed_call_and_stays_one(self, orgs: SalesforceOrgs) -> None:
        gateway = orgs.gateway()
        gateway.sync_call(crm_call())
        gateway.sync_call(crm_call(title="again"))

        (task,) = orgs.state()["tasks"]
        assert task | _expected_task() == task

    def test_a_task_moved_by_a_human_is_not_moved_back(self, orgs: SalesforceOrgs) -> None:
        colleague = orgs.seed("Contact", LastName="Colleague")
        gateway = orgs.gateway()
        record = gateway.sync_call(crm_call())
        orgs.delete("Task", record.activity_id)
        moved = orgs.seed("Task", Ext_Call_Id__c=CALL_ID, WhoId=colleague)

        again = gateway.sync_call(crm_call(title="again"))

        assert [(call.title, call.person_ids) for call in orgs.calls()] == [("again", (colleague,))]
        assert (again.activity_id, again.person_id) == (moved, colleague)

    def test_a_task_deleted_by_a_human_comes_back_as_a_call(self, orgs: SalesforceOrgs) -> None:
        gateway = orgs.gateway()
        record = gateway.sync_call(crm_call())
        orgs.delete("Task", record.activity_id)

        again = gateway.sync_call(crm_call(previous=record))

        (task,) = orgs.state()["tasks"]
        assert (task["Id"], task["TaskSubtype"], task["WhoId"]) == (again.activity_id, "Call", record.person_id)
        assert again.person_id == record.person_id


class TestPrepare:
    def test_a_ready_org_misses_nothing(self, orgs: SalesforceOrgs) -> None:
        lines = orgs.gateway().prepare()

        assert [line for line in lines if line.startswith("missing")] == []
        assert "ok: Task.Ext_Call_Id__c" in lines
        assert any("15000" in line for line in lines)

    def test_what_is_missing_is_spelled_out(self, orgs: SalesforceOrgs) -> None:
        orgs.configure(
            removed_fields={"Task": ["Ext_Next_Step__c", "CallType"], "Lead": ["Ext_Lead_Score__c"]},
            field_changes={
                "Task": {"Ext_Call_Id__c": {"unique": False}, "Status": {"values": ("Open", "Done")}},
                "Lead": {"Ext_Caller_Key__c": {"external_id": False}, "Company": {"updateable": False}},
            },
        )

        report = "\n".join(orgs.gateway().prepare())

        assert "missing: Task.Ext_Next_Step__c: create it on Activity as Text(255)" in report
        assert "missing: Task.CallType: give the integration user Read and Edit access" in report
        assert "missing: Lead.Ext_Lead_Score__c: create it on Lead as Number(3, 0)" in report
        assert "ok: Task.Ext_Call_Id__c, but not Unique" in report
        assert "missing: Lead.Ext_Caller_Key__c: tick External ID" in report
        assert "missing: Task.Status: the picklist has no value 'Completed'" in report
        assert "missing: Lead.Company: give the integration user" in report

    def test_fields_made_after_a_check_are_used_at_once(self, orgs: SalesforceOrgs) -> None:
        orgs.configure(removed_fields={"Lead": ["Ext_Caller_Key__c"]})
        gateway = orgs.gateway()
        gateway.sync_call(crm_call("CAL0a", details=call_details(caller_number="+12025550111")))
        orgs.configure()
        gateway.prepare()

        gateway.sync_call(crm_call("CAL0b"))

        assert [lead.get("Ext_Caller_Key__c") for lead in orgs.state()["leads"]] == [None, CALLER]

    def test_a_field_that_cannot_hold_what_we_write_is_named_with_what_to_do(self, orgs: SalesforceOrgs) -> None:
        orgs.configure(
            field_changes={
                "Task": {"Ext_Lead_Score__c": {"type": "string"}, "Ext_Next_Step__c": {"length": 80}},
                "Lead": {"Ext_Caller_Key__c": {"type": "textarea"}},
            },
            object_rights={"Lead": {"createable": False}},
        )

        report = "\n".join(orgs.gateway().prepare())

        assert "missing: Task.Ext_Lead_Score__c: exists with type string, but must be Number(3, 0): delete it" in report
        assert "missing: Task.Ext_Next_Step__c: holds 80 characters; change its length to 255" in report
        assert "missing: Lead.Ext_Caller_Key__c: exists with type textarea" in report
        assert "missing: Lead: give the integration user Create and Edit on the object" in report


def _expected_task() -> dict[str, object]:
    return {
        "Subject": "again",
        "Status": "Completed",
        "TaskSubtype": "Call",
        "ActivityDate": "2026-11-20",
        "CallDurationInSeconds": 92,
        "CallType": "Inbound",
        "CallObject": CALL_ID,
        "CallDisposition": "Answered",
        "Ext_Call_Id__c": CALL_ID,
        "Ext_Lead_Score__c": 82,
        "Ext_Intent__c": "new_lead",
        "Ext_Next_Step__c": "Call back before noon.",
    }
