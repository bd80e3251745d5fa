"""The Salesforce stand-in's composite requests, all or none, and the making of fields and permission sets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.salesforce_client import (
    DATA,
    configure,
    create_lead,
    fault,
    log_in,
    own_org,
    state,
)


@pytest.fixture
def org() -> Iterator[httpx.Client]:
    with own_org() as client:
        yield client


class TestComposite:
    def test_later_subrequests_use_earlier_ids(self, org: httpx.Client) -> None:
        results = _composite(org, _lead_part(), _task_part("@{person.id}"))

        (task,) = state(org)["tasks"]
        assert [result["httpStatusCode"] for result in results] == [201, 201]
        assert task["WhoId"] == results[0]["body"]["id"] == state(org)["leads"][0]["Id"]

    def test_all_or_none_takes_everything_back_and_still_answers_200(self, org: httpx.Client) -> None:
        results = _composite(org, _lead_part(), _task_part("nobody"))

        codes = [(result["httpStatusCode"], result["body"][0]["errorCode"]) for result in results]
        assert codes == [(400, "PROCESSING_HALTED"), (400, "MALFORMED_ID")]
        assert (state(org)["leads"], state(org)["tasks"]) == ([], [])

    def test_without_all_or_none_the_rest_stays(self, org: httpx.Client) -> None:
        results = _composite(
            org, _lead_part(LastName=""), _task_part("@{person.id}"), _lead_part("second"), every=False
        )

        assert [result["httpStatusCode"] for result in results] == [400, 400, 201]
        assert (len(state(org)["leads"]), state(org)["tasks"]) == (1, [])

    def test_it_counts_as_one_api_request_and_takes_25_parts(self, org: httpx.Client) -> None:
        before = state(org)["api_calls"]

        assert len(_composite(org, *(_lead_part(f"part{number}") for number in range(25)))) == 25
        assert state(org)["api_calls"] - before == 1
        too_many = {"compositeRequest": [_lead_part(f"part{number}") for number in range(26)]}
        assert org.post(f"{DATA}/composite", json=too_many).status_code == 400

    def test_headers_go_with_the_subrequest(self, org: httpx.Client) -> None:
        create_lead(org, Phone="+12025550143")
        configure(org, duplicate_rule="alert")
        header = {"Sforce-Duplicate-Rule-Header": "allowSave=true"}
        plain = {"allOrNone": True, "compositeRequest": [_lead_part(Phone="+12025550143")]}
        inside = {"allOrNone": True, "compositeRequest": [_lead_part(Phone="+12025550143") | {"httpHeaders": header}]}

        outer = org.post(f"{DATA}/composite", json=plain, headers=header).json()["compositeResponse"]
        inner = org.post(f"{DATA}/composite", json=inside).json()["compositeResponse"]

        assert outer[0]["body"][0]["errorCode"] == "DUPLICATES_DETECTED"
        assert inner[0]["httpStatusCode"] == 201

    def test_a_fault_in_one_part_rolls_back_and_a_lost_answer_does_not(self, org: httpx.Client) -> None:
        fault(org, operation="task.upsert", kind="status", status=500, body=[{"errorCode": "UNKNOWN_EXCEPTION"}])
        _composite(org, _lead_part(), _task_part("@{person.id}"))
        assert state(org)["leads"] == []

        fault(org, operation="task.upsert", kind="drop_after")
        with pytest.raises(httpx.TransportError):
            _composite(org, _lead_part(), _task_part("@{person.id}"))
        assert (len(state(org)["leads"]), len(state(org)["tasks"])) == (1, 1)


def _lead_part(reference: str = "person", **fields: Any) -> dict[str, Any]:
    body = {"LastName": "Example", "Company": "Example Ltd", **fields}
    return {"method": "POST", "url": f"{DATA}/sobjects/Lead", "referenceId": reference, "body": body}


def _task_part(who: str) -> dict[str, Any]:
    url = f"{DATA}/sobjects/Task/Ext_Call_Id__c/CAL1"
    return {"method": "PATCH", "url": url, "referenceId": "task", "body": {"WhoId": who}}


def _composite(client: httpx.Client, *parts: dict[str, Any], every: bool = True) -> list[dict[str, Any]]:
    response = client.post(f"{DATA}/composite", json={"allOrNone": every, "compositeRequest": list(parts)})
    assert response.status_code == 200
    return list(response.json()["compositeResponse"])


FIELD: dict[str, Any] = {"FullName": "Activity.Extra__c", "Metadata": {"label": "Extra", "type": "Text", "length": 80}}


def _code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()[0]["errorCode"]


def _fields_of_task(org: httpx.Client) -> set[str]:
    return {field["name"] for field in org.get(f"{DATA}/sobjects/Task/describe").json()["fields"]}


def test_only_an_administrator_makes_fields_and_reads_permission_sets(org: httpx.Client) -> None:
    query = {"q": "SELECT Id FROM PermissionSet WHERE Name = 'x'"}

    assert _code(org.post(f"{DATA}/tooling/sobjects/CustomField", json=FIELD)) == (
        400,
        "INSUFFICIENT_ACCESS_OR_READONLY",
    )
    assert _code(org.get(f"{DATA}/query/", params=query)) == (400, "INVALID_TYPE")


def test_a_made_field_is_seen_once_an_assigned_permission_set_grants_it(org: httpx.Client) -> None:
    configure(org, customize_application=True, manage_permissions=True)
    made = org.post(f"{DATA}/tooling/sobjects/CustomField", json=FIELD)
    assert (made.status_code, made.json()["success"], made.json()["id"][:3]) == (201, True, "00N")
    assert "Extra__c" not in _fields_of_task(org)

    def create(name: str, **values: Any) -> str:
        return str(org.post(f"{DATA}/sobjects/{name}", json=values).raise_for_status().json()["id"])

    user_id = log_in(org, "own").json()["id"].rpartition("/")[2]
    set_id = create("PermissionSet", Name="Ours", Label="Ours")
    grant = {"ParentId": set_id, "SobjectType": "Task", "PermissionsRead": True, "PermissionsEdit": True}
    create("FieldPermissions", Field="Task.Extra__c", **grant)
    assert "Extra__c" not in _fields_of_task(org)
    create("PermissionSetAssignment", AssigneeId=user_id, PermissionSetId=set_id)

    assert "Extra__c" in _fields_of_task(org)
    assert _code(org.post(f"{DATA}/sobjects/FieldPermissions", json={**grant, "Field": "Task.None__c"})) == (
        400,
        "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
    )


@pytest.mark.parametrize(
    ("document", "code"),
    [
        (FIELD | {"FullName": "Activity.Ext_Call_Id__c"}, "DUPLICATE_DEVELOPER_NAME"),
        (FIELD | {"FullName": "Extra__c"}, "FIELD_INTEGRITY_EXCEPTION"),
        (FIELD | {"Metadata": {"label": "Extra", "type": "Text"}}, "FIELD_INTEGRITY_EXCEPTION"),
        (FIELD | {"Metadata": {"label": "Extra", "type": "Colour"}}, "FIELD_INTEGRITY_EXCEPTION"),
        (FIELD | {"Metadata": {**FIELD["Metadata"], "unique": True}}, "FIELD_INTEGRITY_EXCEPTION"),
    ],
    ids=["exists", "no object", "no length", "no such type", "unique on an activity"],
)
def test_a_definition_that_salesforce_would_not_take_is_refused(
    org: httpx.Client, document: dict[str, Any], code: str
) -> None:
    configure(org, customize_application=True, activity_unique=False)

    assert _code(org.post(f"{DATA}/tooling/sobjects/CustomField", json=document)) == (400, code)
