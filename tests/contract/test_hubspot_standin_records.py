"""The HubSpot stand-in keeps records as HubSpot does: values checked, keys unique, batches (reference §1)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.hubspot_client import CALLS, CONTACTS, PROPERTIES, Portal, ids, running_portal


@pytest.fixture
def portal() -> Iterator[Portal]:
    with running_portal() as one:
        yield one


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

    assert (answer.status_code, ids(answer.json())) == (207, [record])
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
