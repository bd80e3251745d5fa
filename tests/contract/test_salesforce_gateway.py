"""The Salesforce gateway against its stand-in: the common suite, then what only Salesforce does."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from structlog.testing import capture_logs

from shared.errors import Deferred, PermanentFailure, TenantBlocked, TransientFailure
from shared.gateways.salesforce_errors import ERROR_TABLE
from shared.gateways.salesforce_session import Deadline, SalesforceSession
from tests.contract.crm_suite import CrmHarness, CrmSuite
from tests.support.crm_calls import CALL_ID, CALLER, STARTED_AT, call_analysis, call_details, crm_call
from tests.support.salesforce_org import (
    FIRST_SECRET,
    KEYS,
    SECRET_NAMES,
    SalesforceOrgs,
    client_credentials,
    salesforce_orgs,
    utc_now,
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


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class TestSession:
    def test_expired_session_is_renewed_once_and_the_call_arrives(self, orgs: SalesforceOrgs) -> None:
        gateway = orgs.gateway()
        gateway.sync_call(crm_call("CAL0a"))
        orgs.expire_sessions()

        gateway.sync_call(crm_call("CAL0b"))

        assert len(orgs.calls()) == 2
        assert orgs.count("oauth.token") == 2

    def test_a_session_that_is_refused_at_once_ends_after_one_renewal(self, orgs: SalesforceOrgs) -> None:
        orgs.refuse("search", "INVALID_SESSION_ID", status=401, times=1000)

        with pytest.raises(TenantBlocked) as caught:
            orgs.gateway().sync_call(crm_call())

        assert caught.value.code == "salesforce_session_refused"
        assert (orgs.count("oauth.token"), orgs.count("search")) == (2, 2)

    def test_workers_that_meet_an_expired_session_share_one_login(self, orgs: SalesforceOrgs) -> None:
        gateway = orgs.gateway()
        gateway.sync_call(crm_call())
        orgs.expire_sessions()

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda number: gateway.sync_call(crm_call(f"CAL0{number}")), range(6)))

        assert orgs.count("oauth.token") == 2
        assert len(orgs.calls()) == 7

    def test_credentials_that_say_nothing_block_the_tenant_without_being_quoted(self, orgs: SalesforceOrgs) -> None:
        orgs.secrets.write(
            SECRET_NAMES["own"], '{"flow": "client_credentials", "consumer_key": "k3y", "extra": "s3cret"}'
        )

        with pytest.raises(TenantBlocked) as caught:
            orgs.gateway().sync_call(crm_call())

        assert "consumer_secret" in caught.value.detail
        assert "s3cret" not in str(caught.value)
        assert "salesforce-setup.md" in caught.value.fix

    @pytest.mark.parametrize("status", [500, 503])
    def test_one_failed_login_is_ridden_out(self, orgs: SalesforceOrgs, status: int) -> None:
        orgs.fault_on("oauth.token", kind="status", status=status, body="<html>later</html>")

        orgs.gateway().sync_call(crm_call())

        assert len(orgs.calls()) == 1

    def test_too_many_logins_wait_an_hour(self, orgs: SalesforceOrgs) -> None:
        body = {"error": "invalid_grant", "error_description": "login rate exceeded"}
        orgs.fault_on("oauth.token", kind="status", status=400, body=body, times=50)

        with pytest.raises(Deferred) as caught:
            orgs.gateway(clock=lambda: NOON).sync_call(crm_call())

        assert caught.value.until == NOON + timedelta(hours=1)

    def test_a_stalled_answer_ends_with_the_deadline(self, orgs: SalesforceOrgs) -> None:
        orgs.fault_on("search", kind="stall", delay_s=3)
        session = SalesforceSession(
            secret_name=SECRET_NAMES["own"], secrets=orgs.secrets, clock=utc_now, login_url_override=orgs.url
        )
        began = time.monotonic()

        with pytest.raises(TransientFailure):
            session.request("GET", "/services/data/v66.0/search/", deadline=Deadline.after(0.4))

        session.close()
        assert time.monotonic() - began < 2.5


class TestJwtBearer:
    def test_signed_assertion_opens_a_session(self, orgs: SalesforceOrgs, key: rsa.RSAPrivateKey) -> None:
        orgs.configure(public_key_pem=_public_pem(key))
        orgs.secrets.write(SECRET_NAMES["own"], _jwt_document(_private_pem(key)))

        orgs.gateway().sync_call(crm_call())

        assert len(orgs.calls()) == 1

    def test_a_key_the_org_does_not_know_blocks_the_tenant(self, orgs: SalesforceOrgs, key: rsa.RSAPrivateKey) -> None:
        stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        orgs.configure(public_key_pem=_public_pem(key))
        orgs.secrets.write(SECRET_NAMES["own"], _jwt_document(_private_pem(stranger)))

        with pytest.raises(TenantBlocked) as caught:
            orgs.gateway().sync_call(crm_call())

        assert caught.value.code == "salesforce_login_refused"
        assert orgs.calls() == []

    def test_a_key_that_is_none_is_not_quoted(self, orgs: SalesforceOrgs) -> None:
        orgs.secrets.write(SECRET_NAMES["own"], _jwt_document("-----BEGIN s3cret-----"))

        with pytest.raises(TenantBlocked) as caught:
            orgs.gateway().sync_call(crm_call())

        assert caught.value.code == "salesforce_bad_private_key"
        assert "s3cret" not in str(caught.value)


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


def _jwt_document(private_key_pem: str) -> str:
    return json.dumps(
        {
            "flow": "jwt_bearer",
            "consumer_key": KEYS["own"],
            "username": "integration@example.com",
            "private_key_pem": private_key_pem,
            "audience": "https://login.salesforce.com",
        }
    )


def _private_pem(key: rsa.RSAPrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def _public_pem(key: rsa.RSAPrivateKey) -> str:
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


def test_secret_of_one_tenant_opens_no_other_org(orgs: SalesforceOrgs) -> None:
    orgs.configure("other", consumer_secret="theirs")
    orgs.secrets.write(SECRET_NAMES["own"], client_credentials(KEYS["other"], FIRST_SECRET))

    with pytest.raises(TenantBlocked):
        orgs.gateway().sync_call(crm_call())

    assert orgs.calls("other") == []
