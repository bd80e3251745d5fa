"""The Salesforce stand-in keeps Salesforce's rules, so that what passes against it has a chance at the real one."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from infra.local.standins.salesforce import create_app
from infra.local.standins.serving import serve_in_thread

DATA = "/services/data/v66.0"
SECRET = "a-consumer-secret"


@pytest.fixture
def url() -> Iterator[str]:
    with serve_in_thread(create_app()) as address:
        yield address


@pytest.fixture
def org(url: str) -> Iterator[httpx.Client]:
    """A client logged in to org `own`."""
    with _logged_in(url, "own") as client:
        yield client


@contextmanager
def _logged_in(url: str, consumer_key: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, trust_env=False) as client:
        token = _log_in(client, consumer_key).json()["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        yield client


def _log_in(client: httpx.Client, consumer_key: str, secret: str = SECRET) -> httpx.Response:
    form = {"grant_type": "client_credentials", "client_id": consumer_key, "client_secret": secret}
    return client.post("/services/oauth2/token", data=form)


def _state(client: httpx.Client, consumer_key: str = "own") -> dict[str, Any]:
    return dict(client.get("/_standin/state").json()["orgs"][consumer_key])


def _configure(client: httpx.Client, **settings: Any) -> None:
    client.post("/_standin/orgs", json={"consumer_key": "own", **settings}).raise_for_status()


def _seed(client: httpx.Client, object_name: str, **fields: Any) -> str:
    document = {"consumer_key": "own", "object": object_name, "fields": fields}
    return str(client.post("/_standin/persons", json=document).raise_for_status().json()["id"])


def _create_lead(client: httpx.Client, **fields: Any) -> httpx.Response:
    return client.post(f"{DATA}/sobjects/Lead", json={"LastName": "Example", "Company": "Example Ltd", **fields})


def _error(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()[0]["errorCode"]


def _search(client: httpx.Client, sosl: str) -> httpx.Response:
    return client.get(f"{DATA}/search/", params={"q": sosl})


def _query(client: httpx.Client, soql: str) -> httpx.Response:
    return client.get(f"{DATA}/query/", params={"q": soql})


class TestLogin:
    def test_no_session_no_answer(self, url: str) -> None:
        with httpx.Client(base_url=url, trust_env=False) as client:
            assert _error(_query(client, "SELECT Id FROM Lead")) == (401, "INVALID_SESSION_ID")

    def test_a_registered_secret_is_checked(self, org: httpx.Client) -> None:
        _configure(org, consumer_secret=SECRET)

        assert _log_in(org, "own", "wrong").json()["error"] == "invalid_client"
        assert _log_in(org, "own").status_code == 200

    def test_expired_sessions_are_refused(self, org: httpx.Client) -> None:
        org.post("/_standin/sessions/expire", json={"consumer_key": "own"})

        assert _error(_query(org, "SELECT Id FROM Lead")) == (401, "INVALID_SESSION_ID")

    @pytest.mark.parametrize(
        ("changes", "description"),
        [
            ({"exp": datetime.now(UTC) + timedelta(hours=2)}, "expiration too far in the future"),
            ({"exp": datetime.now(UTC) - timedelta(minutes=5)}, "expired authorization code"),
            ({"aud": "login"}, "audience is invalid"),
            ({"sub": None}, "invalid assertion"),
        ],
    )
    def test_assertions_are_checked_in_structure(
        self, org: httpx.Client, changes: dict[str, Any], description: str
    ) -> None:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        claims = {
            "iss": "own",
            "sub": "integration@example.com",
            "aud": "https://login.salesforce.com",
            "exp": datetime.now(UTC) + timedelta(minutes=3),
        }
        good = org.post("/services/oauth2/token", data=_assertion(claims, key))
        bad = org.post("/services/oauth2/token", data=_assertion(claims | changes, key))

        assert good.status_code == 200
        assert (bad.status_code, bad.json()["error_description"]) == (400, description)

    def test_an_org_never_sees_anothers_records_and_state_holds_no_secrets(self, url: str, org: httpx.Client) -> None:
        lead_id = _create_lead(org, Phone="+12025550143").json()["id"]
        with _logged_in(url, "other") as other:
            assert _query(other, "SELECT Id FROM Lead").json()["records"] == []
            assert _error(other.get(f"{DATA}/sobjects/Lead/{lead_id}")) == (404, "NOT_FOUND")
            assert other.get(f"{DATA}/sobjects/Lead/{lead_id}").status_code == 404
            token = other.headers["Authorization"].removeprefix("Bearer ")

        text = org.get("/_standin/state").text
        assert SECRET not in text
        assert token not in text


class TestSearch:
    FIND = "FIND {2025550143} IN PHONE FIELDS RETURNING Contact(Id, Phone), Lead(Id, Phone WHERE IsConverted = false)"

    def test_formatting_does_not_matter_and_converted_leads_stay_out(self, org: httpx.Client) -> None:
        lead = _seed(org, "Lead", LastName="A", Phone="(202) 555-0143")
        contact = _seed(org, "Contact", LastName="B", MobilePhone="+1 202 555 0143")
        _seed(org, "Lead", LastName="C", Phone="2025550143", IsConverted=True)
        _seed(org, "Lead", LastName="D", Phone="2025550144")

        assert [record["Id"] for record in _search(org, self.FIND).json()["searchRecords"]] == [contact, lead]

    def test_new_records_show_up_when_the_index_has_caught_up(self, org: httpx.Client) -> None:
        _configure(org, search_lag_s=3600)
        _create_lead(org, Phone="2025550143")

        assert _search(org, self.FIND).json()["searchRecords"] == []
        assert _query(org, "SELECT Id FROM Lead").json()["totalSize"] == 1
        _configure(org)
        assert len(_search(org, self.FIND).json()["searchRecords"]) == 1

    @pytest.mark.parametrize(
        "term", ["202-555", "(202", "2025550143 OR *", "+1202", "a:b", "it's", "{x", "20255501?3", "202\\", '"202"', ""]
    )
    def test_unescaped_input_is_refused(self, org: httpx.Client, term: str) -> None:
        response = _search(org, f"FIND {{{term}}} IN PHONE FIELDS RETURNING Lead(Id)")

        assert response.status_code == 400
        assert response.json()[0]["errorCode"] in {"MALFORMED_SEARCH", "INVALID_SEARCH"}

    def test_input_that_closes_the_brace_does_not_become_a_command(self, org: httpx.Client) -> None:
        term = "2025550143} IN ALL FIELDS RETURNING Contact(Id) LIMIT 1 {"

        assert _error(_search(org, f"FIND {{{term}}} IN PHONE FIELDS RETURNING Lead(Id)")) == (400, "MALFORMED_SEARCH")

    def test_escaped_input_is_text(self, org: httpx.Client) -> None:
        lead = _seed(org, "Lead", LastName="A", Phone="202-555-0143")

        found = _search(org, r"FIND {202\-555\-0143} IN PHONE FIELDS RETURNING Lead(Id)").json()["searchRecords"]

        assert [record["Id"] for record in found] == [lead]


class TestQuery:
    def test_conditions_order_and_limit(self, org: httpx.Client) -> None:
        for name, rating in (("B", "Hot"), ("a", "Warm"), ("C", "Hot")):
            _seed(org, "Lead", LastName=name, Rating=rating)

        def names(rest: str) -> list[str]:
            return [record["LastName"] for record in _query(org, f"SELECT LastName FROM Lead {rest}").json()["records"]]

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
        assert _error(_query(org, soql)) == (400, code)


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
        lead_id = _create_lead(org).json()["id"]

        assert _error(_create_lead(org, **fields)) == (400, code)
        assert _error(org.patch(f"{DATA}/sobjects/Lead/{lead_id}", json=fields)) == (400, code)
        assert len(_state(org)["leads"]) == 1

    def test_created_read_changed_deleted(self, org: httpx.Client) -> None:
        lead_id = _create_lead(org).json()["id"]
        path = f"{DATA}/sobjects/Lead/{lead_id}"

        assert org.patch(path, json={"Rating": "Hot"}).status_code == 204
        assert org.get(path).json()["Rating"] == "Hot"
        assert org.delete(path).status_code == 204
        assert _error(org.get(path)) == (404, "ENTITY_IS_DELETED")

    def test_upsert_creates_then_updates_then_offers_a_choice(self, org: httpx.Client) -> None:
        path = f"{DATA}/sobjects/Task/Ext_Call_Id__c/t1%3Acall%2F1"
        first = org.patch(path, json={"Subject": "one"})
        second = org.patch(path, json={"Subject": "two"})
        _seed(org, "Task", Ext_Call_Id__c="t1:call/1")
        third = org.patch(path, json={"Subject": "three"})

        assert (first.status_code, first.json()["created"]) == (201, True)
        assert (second.status_code, second.json()["id"], second.json()["created"]) == (200, first.json()["id"], False)
        assert (third.status_code, len(third.json())) == (300, 2)
        assert [task["Subject"] for task in _state(org)["tasks"] if "Subject" in task] == ["two"]

    def test_upsert_needs_an_external_id_field_and_not_twice(self, org: httpx.Client) -> None:
        assert _error(org.patch(f"{DATA}/sobjects/Lead/Company/x", json={})) == (404, "NOT_FOUND")
        body = {"Ext_Call_Id__c": "x"}
        assert _error(org.patch(f"{DATA}/sobjects/Task/Ext_Call_Id__c/x", json=body)) == (400, "INVALID_FIELD")

    def test_unique_field_refuses_a_second_record(self, org: httpx.Client) -> None:
        _create_lead(org, Ext_Caller_Key__c="+12025550143")

        assert _error(_create_lead(org, Ext_Caller_Key__c="+12025550143")) == (400, "DUPLICATE_VALUE")

    def test_task_subtype_is_for_creation_only(self, org: httpx.Client) -> None:
        path = f"{DATA}/sobjects/Task/Ext_Call_Id__c/x"
        org.patch(path, json={"TaskSubtype": "Call"})

        response = org.patch(path, json={"TaskSubtype": "Call"})

        assert _error(response) == (400, "INVALID_FIELD_FOR_INSERT_UPDATE")
        assert response.json()[0]["fields"] == ["TaskSubtype"]

    def test_restricted_picklist_refuses_a_foreign_value(self, org: httpx.Client) -> None:
        response = org.post(f"{DATA}/sobjects/Task", json={"CallType": "Sideways"})

        assert _error(response) == (400, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST")

    def test_a_task_hangs_only_on_a_living_person(self, org: httpx.Client) -> None:
        deleted, converted = _seed(org, "Lead", LastName="A"), _seed(org, "Lead", LastName="B", IsConverted=True)
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

        _configure(org, duplicate_rule="alert")
        assert _error(org.post(path, json=body)) == (400, "DUPLICATES_DETECTED")
        assert org.post(path, json=body, headers=header).status_code == 201
        _configure(org, duplicate_rule="block")
        assert _error(org.post(path, json=body, headers=header)) == (400, "DUPLICATES_DETECTED")

    def test_describe_shows_the_orgs_own_fields(self, org: httpx.Client) -> None:
        _configure(
            org,
            removed_fields={"Task": ["Ext_Intent__c"]},
            field_changes={"Task": {"Ext_Call_Id__c": {"unique": False}}},
        )

        fields = {field["name"]: field for field in org.get(f"{DATA}/sobjects/Task/describe").json()["fields"]}

        assert "Ext_Intent__c" not in fields
        assert (fields["Ext_Call_Id__c"]["externalId"], fields["Ext_Call_Id__c"]["unique"]) == (True, False)
        assert (fields["TaskSubtype"]["createable"], fields["TaskSubtype"]["updateable"]) == (True, False)


class TestComposite:
    def test_later_subrequests_use_earlier_ids(self, org: httpx.Client) -> None:
        results = _composite(org, _lead_part(), _task_part("@{person.id}"))

        (task,) = _state(org)["tasks"]
        assert [result["httpStatusCode"] for result in results] == [201, 201]
        assert task["WhoId"] == results[0]["body"]["id"] == _state(org)["leads"][0]["Id"]

    def test_all_or_none_takes_everything_back_and_still_answers_200(self, org: httpx.Client) -> None:
        results = _composite(org, _lead_part(), _task_part("nobody"))

        codes = [(result["httpStatusCode"], result["body"][0]["errorCode"]) for result in results]
        assert codes == [(400, "PROCESSING_HALTED"), (400, "MALFORMED_ID")]
        assert (_state(org)["leads"], _state(org)["tasks"]) == ([], [])

    def test_without_all_or_none_the_rest_stays(self, org: httpx.Client) -> None:
        results = _composite(
            org, _lead_part(LastName=""), _task_part("@{person.id}"), _lead_part("second"), every=False
        )

        assert [result["httpStatusCode"] for result in results] == [400, 400, 201]
        assert (len(_state(org)["leads"]), _state(org)["tasks"]) == (1, [])

    def test_it_counts_as_one_api_request_and_takes_25_parts(self, org: httpx.Client) -> None:
        before = _state(org)["api_calls"]

        assert len(_composite(org, *(_lead_part(f"part{number}") for number in range(25)))) == 25
        assert _state(org)["api_calls"] - before == 1
        too_many = {"compositeRequest": [_lead_part(f"part{number}") for number in range(26)]}
        assert org.post(f"{DATA}/composite", json=too_many).status_code == 400

    def test_headers_go_with_the_subrequest(self, org: httpx.Client) -> None:
        _create_lead(org, Phone="+12025550143")
        _configure(org, duplicate_rule="alert")
        header = {"Sforce-Duplicate-Rule-Header": "allowSave=true"}
        plain = {"allOrNone": True, "compositeRequest": [_lead_part(Phone="+12025550143")]}
        inside = {"allOrNone": True, "compositeRequest": [_lead_part(Phone="+12025550143") | {"httpHeaders": header}]}

        outer = org.post(f"{DATA}/composite", json=plain, headers=header).json()["compositeResponse"]
        inner = org.post(f"{DATA}/composite", json=inside).json()["compositeResponse"]

        assert outer[0]["body"][0]["errorCode"] == "DUPLICATES_DETECTED"
        assert inner[0]["httpStatusCode"] == 201

    def test_a_fault_in_one_part_rolls_back_and_a_lost_answer_does_not(self, org: httpx.Client) -> None:
        _fault(org, operation="task.upsert", kind="status", status=500, body=[{"errorCode": "UNKNOWN_EXCEPTION"}])
        _composite(org, _lead_part(), _task_part("@{person.id}"))
        assert _state(org)["leads"] == []

        _fault(org, operation="task.upsert", kind="drop_after")
        with pytest.raises(httpx.TransportError):
            _composite(org, _lead_part(), _task_part("@{person.id}"))
        assert (len(_state(org)["leads"]), len(_state(org)["tasks"])) == (1, 1)


class TestLimits:
    def test_every_answer_says_how_much_is_used(self, org: httpx.Client) -> None:
        _configure(org, daily_limit=2)

        answers = [_query(org, "SELECT Id FROM Lead") for _ in range(3)]

        assert [answer.headers["Sforce-Limit-Info"] for answer in answers] == [
            f"api-usage={used}/2" for used in (1, 2, 3)
        ]
        assert _error(answers[2]) == (403, "REQUEST_LIMIT_EXCEEDED")

    @pytest.mark.parametrize("path", ["/services/data/v30.0/query/", "/services/data/v69.0/query/", f"{DATA}/nothing"])
    def test_unknown_versions_and_resources_are_not_found(self, org: httpx.Client, path: str) -> None:
        assert _error(org.get(path)) == (404, "NOT_FOUND")

    def test_reset_forgets_everything(self, org: httpx.Client) -> None:
        _create_lead(org)
        org.post("/_standin/reset")

        assert org.get("/_standin/state").json() == {"orgs": {}}


def test_it_runs_as_a_process_of_its_own(unused_port: int) -> None:
    command = [sys.executable, "-m", "infra.local.standins.salesforce", "--port", str(unused_port)]
    with subprocess.Popen(command) as process:
        try:
            assert _answers(f"http://127.0.0.1:{unused_port}/_standin/health")
        finally:
            process.terminate()


@pytest.fixture
def unused_port() -> int:
    with serve_in_thread(create_app()) as url:
        return int(url.rpartition(":")[2])


def _answers(url: str) -> bool:
    """Whether the address answers within twenty seconds."""
    transport = httpx.HTTPTransport(retries=0)
    deadline = time.monotonic() + 20
    with httpx.Client(transport=transport) as client:
        while time.monotonic() < deadline:
            try:
                return client.get(url).status_code == 200
            except httpx.ConnectError:
                continue
    return False


def _fault(client: httpx.Client, **rule: Any) -> None:
    client.post("/_standin/faults", json=[rule]).raise_for_status()


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


def _assertion(claims: dict[str, Any], key: rsa.RSAPrivateKey) -> dict[str, str]:
    present = {name: value for name, value in claims.items() if value is not None}
    grant = "urn:ietf:params:oauth:grant-type:jwt-bearer"
    return {"grant_type": grant, "assertion": jwt.encode(present, key, algorithm="RS256")}


# --- the set-up -----------------------------------------------------------------------------------

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
    _configure(org, customize_application=True, manage_permissions=True)
    made = org.post(f"{DATA}/tooling/sobjects/CustomField", json=FIELD)
    assert (made.status_code, made.json()["success"], made.json()["id"][:3]) == (201, True, "00N")
    assert "Extra__c" not in _fields_of_task(org)

    def create(name: str, **values: Any) -> str:
        return str(org.post(f"{DATA}/sobjects/{name}", json=values).raise_for_status().json()["id"])

    user_id = _log_in(org, "own").json()["id"].rpartition("/")[2]
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
    _configure(org, customize_application=True, activity_unique=False)

    assert _code(org.post(f"{DATA}/tooling/sobjects/CustomField", json=document)) == (400, code)
