"""The HubSpot stand-in's doors: tokens, portals apart, and misbehaviour on demand (reference §1)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from infra.local.standins.faults import FaultPlan, FaultRule
from infra.local.standins.hubspot import create_app
from infra.local.standins.hubspot_hub import portal_name
from infra.local.standins.serving import serve_in_thread
from tests.support.hubspot_client import CONTACTS, PROPERTIES, TOKEN, Portal


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
