"""The HubSpot stand-in says what HubSpot says: uniqueness, limits, late search, tenants apart (reference §1)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from infra.local.standins.faults import FaultPlan, FaultRule
from infra.local.standins.hubspot import create_app
from infra.local.standins.hubspot_hub import portal_name
from infra.local.standins.serving import serve_in_thread

CONTACTS = "/crm/objects/2026-09/contacts"
CALLS = "/crm/objects/2026-09/calls"
PROPERTIES = "/crm/properties/2026-09"
TOKEN = "pat-na1-example"


class Portal:
    """A client with a token."""

    def __init__(self, url: str, token: str) -> None:
        self.http = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, trust_env=False)

    def post(self, path: str, **document: Any) -> httpx.Response:
        return self.http.post(path, json=document)

    def create(self, **properties: str) -> str:
        return str(self.post(CONTACTS, properties=properties).raise_for_status().json()["id"])

    def search(self, *groups: list[dict[str, Any]], **body: Any) -> dict[str, Any]:
        body["filterGroups"] = [{"filters": filters} for filters in groups]
        return dict(self.post(f"{CONTACTS}/search", **body).raise_for_status().json())

    def upsert(self, path: str, key: str, *values: str, **properties: str) -> httpx.Response:
        inputs = [{"id": value, "idProperty": key, "properties": properties} for value in values]
        return self.post(f"{path}/batch/upsert", inputs=inputs)

    def unique(self, object_type: str, name: str) -> None:
        group = "contactinformation" if object_type == "contacts" else "call"
        definition = {"name": name, "label": name, "type": "string", "fieldType": "text", "groupName": group}
        self.post(f"{PROPERTIES}/{object_type}", hasUniqueValue=True, **definition).raise_for_status()


@pytest.fixture
def plan() -> FaultPlan:
    return FaultPlan()


@pytest.fixture
def url(plan: FaultPlan) -> Iterator[str]:
    with serve_in_thread(create_app(plan=plan)) as address:
        yield address


@pytest.fixture
def portal(url: str) -> Iterator[Portal]:
    one = Portal(url, TOKEN)
    with one.http:
        yield one


def _eq(name: str, value: str, operator: str = "EQ") -> dict[str, Any]:
    return {"propertyName": name, "operator": operator, "value": value}


def _ids(answer: dict[str, Any]) -> list[str]:
    return [record["id"] for record in answer["results"]]


# --- who may enter --------------------------------------------------------------------------------


@pytest.mark.parametrize("header", ["Bearer xyz", "pat-na1-example", ""])
def test_unknown_token_is_a_401_with_a_correlation_id(portal: Portal, header: str) -> None:
    answer = portal.http.get(f"{CONTACTS}/1", headers={"Authorization": header})

    assert answer.status_code == 401
    assert answer.json()["category"] == "INVALID_AUTHENTICATION"
    assert answer.json()["correlationId"]


def test_portals_do_not_see_each_other(url: str, portal: Portal) -> None:
    record = portal.create(phone="+12025550143")
    other = Portal(url, "pat-somebody-else")

    with other.http:
        assert other.http.get(f"{CONTACTS}/{record}").status_code == 404
        assert other.search()["total"] == 0


def test_state_groups_by_portal_and_shows_no_token(portal: Portal) -> None:
    portal.create(phone="+12025550143")

    answer = portal.http.get("/_standin/state")

    (contact,) = answer.json()["contacts"]
    assert contact["portal"] == portal_name(TOKEN)
    assert answer.json()["requests"] == {"contacts.create": 1}
    assert TOKEN not in answer.text


def test_reset_empties_and_forgets_tokens_and_lag(portal: Portal) -> None:
    portal.create(phone="+12025550143")
    portal.post("/_standin/lag", searches=9)
    portal.post("/_standin/tokens", tokens={})
    portal.post("/_standin/reset")

    assert portal.http.get("/_standin/state").json()["contacts"] == []
    portal.create(phone="+12025550143")
    assert portal.search()["total"] == 1


# --- search ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("written", ["(202) 555-0143", "+1 202-555-0143", "2025550143", "+44 20 2555 0143"])
def test_searchable_number_is_as_dialled_within_the_country(portal: Portal, written: str) -> None:
    record = portal.create(phone=written)

    found = portal.search([_eq("hs_searchable_calculated_phone_number", "2025550143")])

    assert _ids(found) == [record]


def test_the_written_number_itself_matches_only_literally(portal: Portal) -> None:
    portal.create(phone="(202) 555-0143")

    assert portal.search([_eq("phone", "+12025550143")])["total"] == 0


def test_groups_are_alternatives_and_filters_conditions(portal: Portal) -> None:
    first = portal.create(firstname="Ann", city="Rome")
    portal.create(firstname="Ann", city="Oslo")
    third = portal.create(firstname="Bob")

    found = portal.search([_eq("firstname", "ann"), _eq("city", "Rome")], [_eq("firstname", "B*", "CONTAINS_TOKEN")])

    assert _ids(found) == [first, third]


def test_only_requested_properties_come_back_and_all_as_strings(portal: Portal) -> None:
    portal.create(firstname="Ann", phone="+12025550143")

    (record,) = portal.search(properties=["phone"])["results"]

    assert set(record["properties"]) == {"createdate", "hs_object_id", "lastmodifieddate", "phone"}
    assert all(isinstance(value, str) for value in record["properties"].values())


def test_sorting_and_paging(portal: Portal) -> None:
    ids = [portal.create(firstname=name) for name in ("b", "c", "a")]
    body: dict[str, Any] = {"sorts": [{"propertyName": "firstname", "direction": "DESCENDING"}], "limit": 2}

    first = portal.search(**body)
    second = portal.search(**body, after=first["paging"]["next"]["after"])

    assert (_ids(first), _ids(second)) == ([ids[1], ids[0]], [ids[2]])
    assert "paging" not in second


@pytest.mark.parametrize(
    "body",
    [
        {"filterGroups": [{"filters": [_eq("phone", "1")]}] * 6},
        {"filterGroups": [{"filters": [_eq("phone", "1")] * 7}]},
        {"filterGroups": [{"filters": [_eq("phone", "1")] * 5}] * 4},
        {"limit": 201},
        {"filterGroups": [{"filters": [_eq("phone", "1", "SOUNDS_LIKE")]}]},
        {"filterGroups": [{"filters": [_eq("no_such_property", "1")]}]},
    ],
)
def test_search_limits(portal: Portal, body: dict[str, Any]) -> None:
    answer = portal.post(f"{CONTACTS}/search", **body)

    assert (answer.status_code, answer.json()["category"]) == (400, "VALIDATION_ERROR")


def test_the_index_runs_behind_by_searches(portal: Portal) -> None:
    portal.post("/_standin/lag", searches=2)
    record = portal.create(firstname="Ann")

    seen = [_ids(portal.search()) for _ in range(3)]

    assert seen == [[], [], [record]]
    assert portal.http.get(f"{CONTACTS}/{record}").status_code == 200


def test_the_index_runs_behind_by_seconds_and_a_humans_contact_does_not(portal: Portal) -> None:
    portal.post("/_standin/lag", seconds=600)
    portal.create(firstname="Ann")
    seeded = portal.post("/_standin/contacts", token=TOKEN, properties={"firstname": "Bob"}).json()["id"]

    assert _ids(portal.search()) == [seeded]


# --- writing --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("properties", "code"),
    [
        ({"no_such": "1"}, "PROPERTY_DOESNT_EXIST"),
        ({"createdate": "2026-01-01T00:00:00Z"}, "READ_ONLY_VALUE"),
        ({"firstname": 5}, "INVALID_TYPE"),
        ({"firstname": "x" * 65_537}, "INVALID_LENGTH"),
    ],
)
def test_contact_values_are_checked(portal: Portal, properties: dict[str, Any], code: str) -> None:
    answer = portal.post(CONTACTS, properties=properties)

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["code"] == code
    assert f'"error": "{code}", "name": "{next(iter(properties))}"' in answer.json()["message"]


@pytest.mark.parametrize(
    ("properties", "accepted"),
    [
        ({"hs_timestamp": "1763651045000", "hs_call_duration": "92000", "hs_call_direction": "INBOUND"}, True),
        ({"hs_timestamp": "2026-11-20T15:04:05Z", "hs_call_status": "NO_ANSWER"}, True),
        ({}, False),
        ({"hs_timestamp": "yesterday"}, False),
        ({"hs_timestamp": "1763651045000", "hs_call_duration": "long"}, False),
        ({"hs_timestamp": "1763651045000", "hs_call_direction": "inbound"}, False),
    ],
)
def test_call_values_are_checked(portal: Portal, properties: dict[str, str], accepted: bool) -> None:
    assert portal.post(CALLS, properties=properties).is_success is accepted


def test_a_second_contact_with_the_same_email_is_a_409_naming_the_first(portal: Portal) -> None:
    first = portal.create(email="dana@example.com")

    answer = portal.post(CONTACTS, properties={"email": "Dana@example.com"})

    assert answer.status_code == 409
    assert answer.json()["message"] == f"Contact already exists. Existing ID: {first}"


def test_reading_and_updating_by_a_unique_property(portal: Portal) -> None:
    record = portal.create(email="dana@example.com")
    by_email = f"{CONTACTS}/dana@example.com"

    portal.http.patch(by_email, params={"idProperty": "email"}, json={"properties": {"city": "Oslo"}})
    answer = portal.http.get(by_email, params={"idProperty": "email", "properties": "city"})

    assert (answer.json()["id"], answer.json()["properties"]["city"]) == (record, "Oslo")
    assert portal.http.get(by_email, params={"idProperty": "city"}).status_code == 400


def test_deleted_contact_is_gone_from_everywhere(portal: Portal) -> None:
    record = portal.create(phone="+12025550143")

    assert portal.http.delete(f"{CONTACTS}/{record}").status_code == 204

    assert portal.http.get(f"{CONTACTS}/{record}").status_code == 404
    assert portal.search()["total"] == 0


# --- batches --------------------------------------------------------------------------------------


def test_upsert_creates_then_updates(portal: Portal) -> None:
    portal.unique("calls", "ext_call_id")

    created = portal.upsert(CALLS, "ext_call_id", "CAL1", hs_timestamp="1763651045000")
    updated = portal.upsert(CALLS, "ext_call_id", "CAL1", hs_call_title="later")

    assert (created.status_code, updated.status_code) == (201, 200)
    (one,), (two,) = created.json()["results"], updated.json()["results"]
    assert (one["id"], one["new"], two["new"]) == (two["id"], True, False)
    (call,) = portal.http.get("/_standin/state").json()["calls"]
    assert call["properties"]["ext_call_id"] == "CAL1"
    assert call["properties"]["hs_timestamp"] == "2025-11-20T15:04:05.000Z"


def test_upsert_reports_item_by_item(portal: Portal) -> None:
    portal.unique("contacts", "ext_a")
    portal.unique("contacts", "ext_b")

    answer = portal.upsert(CONTACTS, "ext_a", "first", "second", ext_b="only one may have it")

    assert (answer.status_code, answer.json()["numErrors"]) == (207, 1)
    (error,) = answer.json()["errors"]
    assert error["errors"][0]["code"] == "CONFLICTING_UNIQUE_VALUE"
    assert "correlationId" not in error
    assert len(answer.json()["results"]) == 1


@pytest.mark.parametrize("key", ["phone", "no_such_property"])
def test_upsert_wants_a_unique_key(portal: Portal, key: str) -> None:
    assert portal.upsert(CONTACTS, key, "x").status_code == 400


def test_upsert_wants_one_key_for_all_and_at_most_a_hundred(portal: Portal) -> None:
    mixed = [{"id": "1", "idProperty": "email", "properties": {}}, {"id": "2", "idProperty": "x", "properties": {}}]

    assert portal.post(f"{CONTACTS}/batch/upsert", inputs=mixed).status_code == 400
    assert portal.upsert(CONTACTS, "email", *[f"{n}@example.com" for n in range(101)]).status_code == 400
    assert portal.upsert(CONTACTS, "email", *[f"{n}@example.com" for n in range(100)]).status_code == 201


def test_batch_read_finds_what_the_index_does_not_show_yet(portal: Portal) -> None:
    portal.post("/_standin/lag", searches=99)
    record = portal.create(email="dana@example.com")

    inputs = [{"id": "dana@example.com"}, {"id": "nobody@example.com"}]
    answer = portal.post(f"{CONTACTS}/batch/read", idProperty="email", properties=["phone"], inputs=inputs)

    assert (answer.status_code, _ids(answer.json())) == (207, [record])
    assert answer.json()["errors"][0]["category"] == "OBJECT_NOT_FOUND"


# --- associations and schema ----------------------------------------------------------------------


def test_association_twice_is_one_and_is_seen_from_both_ends(portal: Portal) -> None:
    contact = portal.create(phone="+12025550143")
    call = portal.post(CALLS, properties={"hs_timestamp": "1763651045000"}).json()["id"]
    path = f"{CALLS}/{call}/associations/default/contacts/{contact}"

    assert [portal.http.put(path).status_code for _ in range(2)] == [200, 200]

    there = portal.http.get(f"{CALLS}/{call}/associations/contacts").json()["results"]
    back = portal.http.get(f"{CONTACTS}/{contact}/associations/calls").json()["results"]
    assert [item["toObjectId"] for item in there + back] == [contact, call]
    assert there[0]["associationTypes"][0]["typeId"] == 194
    assert portal.http.put(f"{CALLS}/{call}/associations/default/contacts/999").status_code == 404


def test_property_exists_once_and_says_whether_it_is_unique(portal: Portal) -> None:
    portal.unique("calls", "ext_call_id")
    definition = {"name": "ext_call_id", "label": "x", "type": "string", "fieldType": "text", "groupName": "call"}

    assert portal.post(f"{PROPERTIES}/calls", **definition).status_code == 409
    assert portal.http.get(f"{PROPERTIES}/calls/ext_call_id").json()["hasUniqueValue"] is True
    assert portal.http.get(f"{PROPERTIES}/calls/hs_call_title").json()["hasUniqueValue"] is False
    assert portal.http.get(f"{PROPERTIES}/calls/ext_none").status_code == 404


@pytest.mark.parametrize(
    "change", [{"groupName": "no_such_group"}, {"type": "number"}, {"label": ""}, {"type": "poem"}]
)
def test_property_definitions_are_checked(portal: Portal, change: dict[str, str]) -> None:
    definition = {"name": "ext_x", "label": "x", "type": "string", "fieldType": "text", "groupName": "call"}

    assert portal.post(f"{PROPERTIES}/calls", **definition).status_code == 201
    assert portal.post(f"{PROPERTIES}/calls", **{**definition, "name": "ext_y", **change}).status_code == 400


def test_property_group_exists_once(portal: Portal) -> None:
    answers = [portal.post(f"{PROPERTIES}/calls/groups", name="ours", label="Ours").status_code for _ in range(2)]

    assert answers == [201, 409]
    names = [group["name"] for group in portal.http.get(f"{PROPERTIES}/calls/groups").json()["results"]]
    assert names == ["call", "ours"]


def test_rate_limit_headers_come_with_everything_but_searches(portal: Portal) -> None:
    listed = portal.http.get(f"{PROPERTIES}/calls")
    searched = portal.post(f"{CONTACTS}/search")

    assert listed.headers["X-HubSpot-RateLimit-Interval-Milliseconds"] == "10000"
    assert not [name for name in searched.headers if "ratelimit" in name]


# --- misbehaviour ---------------------------------------------------------------------------------


def test_throttling_names_its_policy(portal: Portal, plan: FaultPlan) -> None:
    plan.add(FaultRule(operation="contacts.search", kind="status", status=429))

    answer = portal.post(f"{CONTACTS}/search")

    assert answer.status_code == 429
    assert answer.json()["policyName"] == "TEN_SECONDLY_ROLLING"
    assert portal.post(f"{CONTACTS}/search").status_code == 200


@pytest.mark.parametrize(("kind", "held"), [("drop", 0), ("drop_after", 1)])
def test_connection_lost_before_or_after_the_work(portal: Portal, plan: FaultPlan, kind: Any, held: int) -> None:
    plan.add(FaultRule(operation="contacts.create", kind=kind))

    with pytest.raises(httpx.TransportError):
        portal.create(phone="+12025550143")

    assert len(portal.http.get("/_standin/state").json()["contacts"]) == held


@pytest.mark.parametrize("path", ["/crm/objects/v3/contacts/1", "/crm/objects/2026-09/poems/1", "/crm/v3/objects/x"])
def test_paths_that_do_not_exist_are_refused_as_json(portal: Portal, path: str) -> None:
    answer = portal.http.get(path)

    assert answer.status_code in {400, 404}
    assert answer.json()["status"] == "error"


def test_a_scope_that_a_token_lacks_is_asked_for_before_the_record(portal: Portal) -> None:
    lacks = {TOKEN: ["crm.objects.contacts.write"]}
    portal.post("/_standin/tokens", tokens=None, lacks=lacks).raise_for_status()

    refused = portal.http.patch(f"{CONTACTS}/404404", json={"properties": {"city": "x"}})

    assert (refused.status_code, refused.json()["category"]) == (403, "MISSING_SCOPES")
    context = refused.json()["errors"][0]["context"]
    assert context["requiredGranularScopes"] == ["crm.objects.contacts.write"]
    assert portal.http.get(f"{PROPERTIES}/contacts").status_code == 200
