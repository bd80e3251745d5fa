"""The Salesforce stand-in finds and keeps records as Salesforce does: SOSL, SOQL, fields, keys, duplicate rules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.salesforce_client import (
    DATA,
    configure,
    create_lead,
    error,
    own_org,
    query,
    search,
    seed,
    state,
)


@pytest.fixture
def org() -> Iterator[httpx.Client]:
    with own_org() as client:
        yield client


class TestSearch:
    FIND = "FIND {2025550143} IN PHONE FIELDS RETURNING Contact(Id, Phone), Lead(Id, Phone WHERE IsConverted = false)"

    def test_formatting_does_not_matter_and_converted_leads_stay_out(self, org: httpx.Client) -> None:
        lead = seed(org, "Lead", LastName="A", Phone="(202) 555-0143")
        contact = seed(org, "Contact", LastName="B", MobilePhone="+1 202 555 0143")
        seed(org, "Lead", LastName="C", Phone="2025550143", IsConverted=True)
        seed(org, "Lead", LastName="D", Phone="2025550144")

        assert [record["Id"] for record in search(org, self.FIND).json()["searchRecords"]] == [contact, lead]

    def test_new_records_show_up_when_the_index_has_caught_up(self, org: httpx.Client) -> None:
        configure(org, search_lag_s=3600)
        create_lead(org, Phone="2025550143")

        assert search(org, self.FIND).json()["searchRecords"] == []
        assert query(org, "SELECT Id FROM Lead").json()["totalSize"] == 1
        configure(org)
        assert len(search(org, self.FIND).json()["searchRecords"]) == 1

    @pytest.mark.parametrize(
        "term", ["202-555", "(202", "2025550143 OR *", "+1202", "a:b", "it's", "{x", "20255501?3", "202\\", '"202"', ""]
    )
    def test_unescaped_input_is_refused(self, org: httpx.Client, term: str) -> None:
        response = search(org, f"FIND {{{term}}} IN PHONE FIELDS RETURNING Lead(Id)")

        assert response.status_code == 400
        assert response.json()[0]["errorCode"] in {"MALFORMED_SEARCH", "INVALID_SEARCH"}

    def test_input_that_closes_the_brace_does_not_become_a_command(self, org: httpx.Client) -> None:
        term = "2025550143} IN ALL FIELDS RETURNING Contact(Id) LIMIT 1 {"

        assert error(search(org, f"FIND {{{term}}} IN PHONE FIELDS RETURNING Lead(Id)")) == (400, "MALFORMED_SEARCH")

    def test_escaped_input_is_text(self, org: httpx.Client) -> None:
        lead = seed(org, "Lead", LastName="A", Phone="202-555-0143")

        found = search(org, r"FIND {202\-555\-0143} IN PHONE FIELDS RETURNING Lead(Id)").json()["searchRecords"]

        assert [record["Id"] for record in found] == [lead]


class TestQuery:
    def test_conditions_order_and_limit(self, org: httpx.Client) -> None:
        for name, rating in (("B", "Hot"), ("a", "Warm"), ("C", "Hot")):
            seed(org, "Lead", LastName=name, Rating=rating)

        def names(rest: str) -> list[str]:
            return [record["LastName"] for record in query(org, f"SELECT LastName FROM Lead {rest}").json()["records"]]

        assert names("WHERE Rating = 'hot' ORDER BY LastName DESC") == ["C", "B"]
        assert names("WHERE LastName IN ('A', 'B') AND IsConverted = false") == ["B", "a"]
        assert names("WHERE Rating != 'Hot' OR LastName = 'C'") == ["a", "C"]
        assert names("ORDER BY LastName LIMIT 1") == ["B"]
        assert names("WHERE Phone = null AND LastName = 'it\\'s'") == []

    @pytest.mark.parametrize(
        ("soql", "code"),
        [
            ("SELECT Id FROM Lead WHERE LastName = 'it's'", "MALFORMED_QUERY"),
            ("SELECT Id FROM Lead WHERE LastName = 'a\\x'", "MALFORMED_QUERY"),
            ("SELECT Id FROM Lead WHERE LastName = 'a' AND Id = 'b' OR Id = 'c'", "MALFORMED_QUERY"),
            ("SELECT Id FROM Lead; DELETE", "MALFORMED_QUERY"),
            ("SELECT Nothing__c FROM Lead", "INVALID_FIELD"),
            ("SELECT Id FROM Lead WHERE Nothing__c = 'a'", "INVALID_FIELD"),
            ("SELECT Id FROM Nothing", "INVALID_TYPE"),
        ],
    )
    def test_what_is_not_soql_is_refused(self, org: httpx.Client, soql: str, code: str) -> None:
        assert error(query(org, soql)) == (400, code)


class TestRecords:
    @pytest.mark.parametrize(
        ("fields", "code"),
        [
            ({"LastName": "x" * 81}, "STRING_TOO_LONG"),
            ({"LastName": ""}, "REQUIRED_FIELD_MISSING"),
            ({"Nothing__c": "a"}, "INVALID_FIELD"),
            ({"IsConverted": True}, "INVALID_FIELD_FOR_INSERT_UPDATE"),
            ({"Ext_Lead_Score__c": "82"}, "JSON_PARSER_ERROR"),
        ],
    )
    def test_a_bad_field_is_refused_on_creation_and_update(
        self, org: httpx.Client, fields: dict[str, Any], code: str
    ) -> None:
        lead_id = create_lead(org).json()["id"]

        assert error(create_lead(org, **fields)) == (400, code)
        assert error(org.patch(f"{DATA}/sobjects/Lead/{lead_id}", json=fields)) == (400, code)
        assert len(state(org)["leads"]) == 1

    def test_created_read_changed_deleted(self, org: httpx.Client) -> None:
        lead_id = create_lead(org).json()["id"]
        path = f"{DATA}/sobjects/Lead/{lead_id}"

        assert org.patch(path, json={"Rating": "Hot"}).status_code == 204
        assert org.get(path).json()["Rating"] == "Hot"
        assert org.delete(path).status_code == 204
        assert error(org.get(path)) == (404, "ENTITY_IS_DELETED")

    def test_upsert_creates_then_updates_then_offers_a_choice(self, org: httpx.Client) -> None:
        path = f"{DATA}/sobjects/Task/Ext_Call_Id__c/t1%3Acall%2F1"
        first = org.patch(path, json={"Subject": "one"})
        second = org.patch(path, json={"Subject": "two"})
        seed(org, "Task", Ext_Call_Id__c="t1:call/1")
        third = org.patch(path, json={"Subject": "three"})

        assert (first.status_code, first.json()["created"]) == (201, True)
        assert (second.status_code, second.json()["id"], second.json()["created"]) == (200, first.json()["id"], False)
        assert (third.status_code, len(third.json())) == (300, 2)
        assert [task["Subject"] for task in state(org)["tasks"] if "Subject" in task] == ["two"]

    def test_upsert_needs_an_external_id_field_and_not_twice(self, org: httpx.Client) -> None:
        assert error(org.patch(f"{DATA}/sobjects/Lead/Company/x", json={})) == (404, "NOT_FOUND")
        body = {"Ext_Call_Id__c": "x"}
        assert error(org.patch(f"{DATA}/sobjects/Task/Ext_Call_Id__c/x", json=body)) == (400, "INVALID_FIELD")

    def test_unique_field_refuses_a_second_record(self, org: httpx.Client) -> None:
        create_lead(org, Ext_Caller_Key__c="+12025550143")

        assert error(create_lead(org, Ext_Caller_Key__c="+12025550143")) == (400, "DUPLICATE_VALUE")

    def test_task_subtype_is_for_creation_only(self, org: httpx.Client) -> None:
        path = f"{DATA}/sobjects/Task/Ext_Call_Id__c/x"
        org.patch(path, json={"TaskSubtype": "Call"})

        response = org.patch(path, json={"TaskSubtype": "Call"})

        assert error(response) == (400, "INVALID_FIELD_FOR_INSERT_UPDATE")
        assert response.json()[0]["fields"] == ["TaskSubtype"]

    def test_restricted_picklist_refuses_a_foreign_value(self, org: httpx.Client) -> None:
        response = org.post(f"{DATA}/sobjects/Task", json={"CallType": "Sideways"})

        assert error(response) == (400, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST")

    def test_a_task_hangs_only_on_a_living_person(self, org: httpx.Client) -> None:
        deleted, converted = seed(org, "Lead", LastName="A"), seed(org, "Lead", LastName="B", IsConverted=True)
        org.request("DELETE", "/_standin/persons", json={"consumer_key": "own", "id": deleted})
        cases = {
            "nobody": "MALFORMED_ID",
            "00Q000000000000": "INVALID_CROSS_REFERENCE_KEY",
            deleted: "ENTITY_IS_DELETED",
            converted: "CANNOT_UPDATE_CONVERTED_LEAD",
        }

        answers = {who: org.post(f"{DATA}/sobjects/Task", json={"WhoId": who}) for who in cases}

        assert {who: response.json()[0]["errorCode"] for who, response in answers.items()} == cases

    def test_duplicate_rule_gives_way_to_the_header_only_when_it_is_an_alert(self, org: httpx.Client) -> None:
        header = {"Sforce-Duplicate-Rule-Header": "allowSave=true"}
        body = {"LastName": "Example", "Company": "Example Ltd", "Phone": "+12025550143"}
        path = f"{DATA}/sobjects/Lead"
        org.post(path, json=body)

        configure(org, duplicate_rule="alert")
        assert error(org.post(path, json=body)) == (400, "DUPLICATES_DETECTED")
        assert org.post(path, json=body, headers=header).status_code == 201
        configure(org, duplicate_rule="block")
        assert error(org.post(path, json=body, headers=header)) == (400, "DUPLICATES_DETECTED")

    def test_describe_shows_the_orgs_own_fields(self, org: httpx.Client) -> None:
        configure(
            org,
            removed_fields={"Task": ["Ext_Intent__c"]},
            field_changes={"Task": {"Ext_Call_Id__c": {"unique": False}}},
        )

        fields = {field["name"]: field for field in org.get(f"{DATA}/sobjects/Task/describe").json()["fields"]}

        assert "Ext_Intent__c" not in fields
        assert (fields["Ext_Call_Id__c"]["externalId"], fields["Ext_Call_Id__c"]["unique"]) == (True, False)
        assert (fields["TaskSubtype"]["createable"], fields["TaskSubtype"]["updateable"]) == (True, False)
