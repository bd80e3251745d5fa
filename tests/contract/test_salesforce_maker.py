"""Fields are made through the Tooling API where the user may, and spelled out where he may not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.crm_calls import CALL_ID, crm_call
from tests.support.salesforce_org import SalesforceOrgs, salesforce_orgs

MISSING = {"Task": ["Ext_Call_Id__c", "Ext_Intent__c"], "Lead": ["Ext_Lead_Summary__c", "Ext_Last_Call_At__c"]}
ADMIN: dict[str, Any] = {"customize_application": True, "manage_permissions": True}


@pytest.fixture
def orgs() -> Iterator[SalesforceOrgs]:
    with salesforce_orgs() as running:
        yield running


def test_what_an_org_lacks_is_made_granted_and_usable(orgs: SalesforceOrgs) -> None:
    orgs.configure(removed_fields=MISSING, **ADMIN)
    gateway = orgs.gateway()

    first, second = gateway.prepare(), gateway.prepare()

    assert {line for line in first if line.startswith("created")} == {
        f"created: {name}.{field}" for name, fields in MISSING.items() for field in fields
    }
    assert [line for line in second if not line.startswith(("ok", "note"))] == []
    assert orgs.count("customfield.create") == 4
    assert (orgs.count("permissionset.create"), orgs.count("permissionsetassignment.create")) == (1, 1)
    gateway.sync_call(crm_call())
    (task,) = orgs.state()["tasks"]
    assert task["Ext_Call_Id__c"] == CALL_ID


def test_an_inspection_says_what_would_be_made_and_makes_nothing(orgs: SalesforceOrgs) -> None:
    orgs.configure(removed_fields=MISSING, **ADMIN)

    lines = orgs.gateway().inspect()

    assert "would create: Task.Ext_Intent__c on Activity as Text(80)" in lines
    assert sum(line.startswith("would create") for line in lines) == 4
    assert orgs.count("customfield.create") == 0


def test_a_user_without_the_right_gets_the_clicks(orgs: SalesforceOrgs) -> None:
    orgs.configure(removed_fields=MISSING)

    report = "\n".join(orgs.gateway().prepare())

    assert "missing: Task.Ext_Intent__c: create it on Activity as Text(80)" in report
    assert "Object Manager → Activity → Fields & Relationships → New" in report
    assert "by API: INSUFFICIENT_ACCESS_OR_READONLY" in report


def test_a_field_that_nobody_may_grant_is_left_to_a_person(orgs: SalesforceOrgs) -> None:
    orgs.configure(removed_fields={"Task": ["Ext_Intent__c"]}, hidden_fields={"Lead": ["Ext_Lead_Score__c"]})
    orgs.configure(
        removed_fields={"Task": ["Ext_Intent__c"]},
        hidden_fields={"Lead": ["Ext_Lead_Score__c"]},
        customize_application=True,
    )

    report = "\n".join(orgs.gateway().prepare())

    assert "missing: Task.Ext_Intent__c: made now, but the integration user does not see it: tick Read" in report
    assert "missing: Lead.Ext_Lead_Score__c: it is there, but the integration user does not see it" in report


def test_a_field_that_is_hidden_only_is_granted(orgs: SalesforceOrgs) -> None:
    orgs.configure(hidden_fields={"Lead": ["Ext_Lead_Score__c"]}, **ADMIN)

    assert "ok: Lead.Ext_Lead_Score__c" in orgs.gateway().prepare()


def test_where_unique_is_not_offered_the_key_is_made_without(orgs: SalesforceOrgs) -> None:
    orgs.configure(removed_fields={"Task": ["Ext_Call_Id__c"]}, activity_unique=False, **ADMIN)

    lines = orgs.gateway().prepare()

    assert any(line.startswith("created: Task.Ext_Call_Id__c, but not Unique") for line in lines)


def test_an_interrupted_preparation_goes_on_and_makes_nothing_twice(orgs: SalesforceOrgs) -> None:
    orgs.configure(removed_fields=MISSING, **ADMIN)
    orgs.refuse("customfield.create", "API_DISABLED_FOR_ORG", skip=2)
    gateway = orgs.gateway()
    first = gateway.prepare()

    second = gateway.prepare()

    assert [line for line in first if line.startswith("missing")]
    assert [line for line in second if line.startswith("missing")] == []
    assert sum(line.startswith("created") for line in [*first, *second]) == 4


def test_a_busy_salesforce_is_asked_again(orgs: SalesforceOrgs) -> None:
    orgs.configure(removed_fields=MISSING, **ADMIN)
    orgs.refuse("customfield.create", "SERVER_UNAVAILABLE", status=503, skip=1)

    lines = orgs.gateway().prepare()

    assert [line for line in lines if line.startswith("missing")] == []
