"""The HubSpot stand-in searches as HubSpot does: numbers as dialled, limits, a late index (reference §1)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.hubspot_client import CONTACTS, TOKEN, Portal, eq, ids, running_portal


@pytest.fixture
def portal() -> Iterator[Portal]:
    with running_portal() as one:
        yield one


@pytest.mark.parametrize("written", ["(202) 555-0143", "+1 202-555-0143", "2025550143", "+44 20 2555 0143"])
def test_searchable_number_is_as_dialled_within_the_country(portal: Portal, written: str) -> None:
    record = portal.create(phone=written)

    found = portal.search([eq("hs_searchable_calculated_phone_number", "2025550143")])

    assert ids(found) == [record]


def test_the_written_number_itself_matches_only_literally(portal: Portal) -> None:
    portal.create(phone="(202) 555-0143")

    assert portal.search([eq("phone", "+12025550143")])["total"] == 0


def test_groups_are_alternatives_and_filters_conditions(portal: Portal) -> None:
    first = portal.create(firstname="Ann", city="Rome")
    portal.create(firstname="Ann", city="Oslo")
    third = portal.create(firstname="Bob")

    found = portal.search([eq("firstname", "ann"), eq("city", "Rome")], [eq("firstname", "B*", "CONTAINS_TOKEN")])

    assert ids(found) == [first, third]


def test_only_requested_properties_come_back_and_all_as_strings(portal: Portal) -> None:
    portal.create(firstname="Ann", phone="+12025550143")

    (record,) = portal.search(properties=["phone"])["results"]

    assert set(record["properties"]) == {"createdate", "hs_object_id", "lastmodifieddate", "phone"}
    assert all(isinstance(value, str) for value in record["properties"].values())


def test_sorting_and_paging(portal: Portal) -> None:
    made = [portal.create(firstname=name) for name in ("b", "c", "a")]
    body: dict[str, Any] = {"sorts": [{"propertyName": "firstname", "direction": "DESCENDING"}], "limit": 2}

    first = portal.search(**body)
    second = portal.search(**body, after=first["paging"]["next"]["after"])

    assert (ids(first), ids(second)) == ([made[1], made[0]], [made[2]])
    assert "paging" not in second


@pytest.mark.parametrize(
    "body",
    [
        {"filterGroups": [{"filters": [eq("phone", "1")]}] * 6},
        {"filterGroups": [{"filters": [eq("phone", "1")] * 7}]},
        {"filterGroups": [{"filters": [eq("phone", "1")] * 5}] * 4},
        {"limit": 201},
        {"filterGroups": [{"filters": [eq("phone", "1", "SOUNDS_LIKE")]}]},
        {"filterGroups": [{"filters": [eq("no_such_property", "1")]}]},
    ],
)
def test_search_limits(portal: Portal, body: dict[str, Any]) -> None:
    answer = portal.post(f"{CONTACTS}/search", **body)

    assert (answer.status_code, answer.json()["category"]) == (400, "VALIDATION_ERROR")


def test_the_index_runs_behind_by_searches(portal: Portal) -> None:
    portal.post("/_standin/lag", searches=2)
    record = portal.create(firstname="Ann")

    seen = [ids(portal.search()) for _ in range(3)]

    assert seen == [[], [], [record]]
    assert portal.http.get(f"{CONTACTS}/{record}").status_code == 200


def test_the_index_runs_behind_by_seconds_and_a_humans_contact_does_not(portal: Portal) -> None:
    portal.post("/_standin/lag", seconds=600)
    portal.create(firstname="Ann")
    seeded = portal.post("/_standin/contacts", token=TOKEN, properties={"firstname": "Bob"}).json()["id"]

    assert ids(portal.search()) == [seeded]
