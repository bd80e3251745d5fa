"""On request a caller is erased in the tenant's CRMs too, before our own pointers go; others' records stay."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime

import pytest
from google.cloud.spanner_v1 import COMMIT_TIMESTAMP, JsonObject

from infra.local.standins.secret_manager import serve_secret_manager
from schemas.calls import CrmRecord
from shared.errors import TenantBlocked
from shared.gateways.objects import GcsObjectStore
from shared.gateways.run_store import SpannerRunStore
from shared.gateways.secrets import SecretManagerSecrets
from tests.support.callers import NAME, NUMBER, OURS, store
from tests.support.crm_calls import call_details, crm_call
from tests.support.emulators import TEST_PROJECT
from tests.support.hubspot_portal import HubSpotHarness
from tests.support.pipeline_database import OUR_TENANT, PipelineDatabase
from tests.support.privacy import (
    STRANGER,
    Pipeline,
    call_of,
    hold,
    names,
    objects,
    pipeline,
    reads,
    received,
    storage_url,
)
from tests.support.salesforce_org import FIRST_SECRET, KEYS, SalesforceOrgs, client_credentials, salesforce_orgs

__all__ = ["objects", "pipeline", "storage_url", "store"]

pytestmark = pytest.mark.emulators

CONNECTIONS = {"hubspot": {"token_secret": "hubspot-token"}, "salesforce": {"credentials_secret": "salesforce-login"}}


@pytest.fixture
def portal() -> Iterator[HubSpotHarness]:
    with ExitStack() as stack:
        yield HubSpotHarness(stack)


@pytest.fixture
def orgs() -> Iterator[SalesforceOrgs]:
    with salesforce_orgs() as orgs:
        yield orgs


@contextmanager
def connected_to(
    database: PipelineDatabase, monkeypatch: pytest.MonkeyPatch, *crms: HubSpotHarness | SalesforceOrgs
) -> Iterator[None]:
    """The tenant has these CRMs: its configuration, their credentials in Secret Manager, where they are."""
    config = json.loads(OUR_TENANT.config.model_dump_json())
    config["crm_config"] = {crm.provider: CONNECTIONS[crm.provider] for crm in crms}
    with database.database.batch() as batch:
        batch.update(table="tenants", columns=("tenant_id", "config"), values=[(OURS, JsonObject(config))])
    with serve_secret_manager() as standin:
        secrets = SecretManagerSecrets(project=TEST_PROJECT, local_address=standin.address)
        secrets.write("hubspot-token", "pat-own-1")
        secrets.write("salesforce-login", client_credentials(KEYS["own"], FIRST_SECRET))
        monkeypatch.setenv("PIPELINE_LOCAL_SECRET_MANAGER", standin.address)
        for crm in crms:
            monkeypatch.setenv(f"PIPELINE_LOCAL_{crm.provider.upper()}_URL", crm.url)
        yield


@pytest.fixture
def connected(
    pipeline: Pipeline, pipeline_database: PipelineDatabase, portal: HubSpotHarness, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Pipeline]:
    """The command, with the tenant's HubSpot behind it."""
    with connected_to(pipeline_database, monkeypatch, portal):
        yield pipeline


def synced(database: PipelineDatabase, crm: HubSpotHarness | SalesforceOrgs, number: int) -> CrmRecord:
    """The call as it stands in the CRM, and our pointer to it."""
    details = call_details(caller_number=NUMBER, caller_name=NAME)
    record = crm.gateway().sync_call(crm_call(call_of(number), details=details))
    row = {
        "tenant_id": OURS,
        "call_id": call_of(number),
        "provider": crm.provider,
        **record.model_dump(include={"person_id", "person_type", "person_created", "activity_id", "activity_type"}),
        "synced_at": datetime.now(UTC),
        "updated_at": COMMIT_TIMESTAMP,
    }
    with database.database.batch() as batch:
        batch.insert("crm_syncs", tuple(row), [tuple(row.values())])
    return record


def test_on_request_the_crms_records_go_too_and_the_certificate_says_what_remains(
    connected: Pipeline,
    pipeline_database: PipelineDatabase,
    portal: HubSpotHarness,
    store: SpannerRunStore,
    objects: GcsObjectStore,
) -> None:
    hold(store, objects, received(1))
    record = synced(pipeline_database, portal, 1)
    portal.gateway("other").sync_call(crm_call(call_of(1), details=call_details(caller_number=NUMBER)))

    printed = connected("privacy", "erase", "--tenant", OURS, "--phone", NUMBER, "--crm")

    certificate = json.loads(printed)
    assert certificate["crm_erased"] == [
        {"provider": "hubspot", "activity_ids": [record.activity_id], "person_ids": [record.person_id]}
    ]
    assert any("restorable" in line for line in certificate["remains"])
    assert any("CallRail" in line for line in certificate["remains"])
    assert NUMBER not in printed
    assert NAME not in printed
    assert (portal.persons(), portal.calls()) == ([], [])
    assert len(portal.calls("other")) == 1
    ((detail,),) = pipeline_database.rows("SELECT detail FROM audit_log WHERE action = 'privacy.erase_in_crm'")
    assert detail["activities"] == record.activity_id
    again = json.loads(connected("privacy", "erase", "--tenant", OURS, "--call", call_of(1), "--crm"))
    assert again["crm_erased"] == [{"provider": "hubspot", "activity_ids": [], "person_ids": []}]


def test_when_a_crm_refuses_nothing_is_erased_yet(
    connected: Pipeline,
    pipeline_database: PipelineDatabase,
    portal: HubSpotHarness,
    store: SpannerRunStore,
    objects: GcsObjectStore,
) -> None:
    hold(store, objects, received(1))
    synced(pipeline_database, portal, 1)
    portal.revoke_secret()

    with pytest.raises(TenantBlocked):
        connected("privacy", "erase", "--tenant", OURS, "--phone", NUMBER, "--crm")

    assert reads(pipeline_database, OURS, 1) is not None
    assert len(names(objects)) == 3


def test_without_being_asked_the_crms_are_left_alone(
    connected: Pipeline,
    pipeline_database: PipelineDatabase,
    portal: HubSpotHarness,
    store: SpannerRunStore,
    objects: GcsObjectStore,
) -> None:
    hold(store, objects, received(1))
    synced(pipeline_database, portal, 1)

    certificate = json.loads(connected("privacy", "erase", "--tenant", OURS, "--phone", NUMBER))

    assert certificate["crm_erased"] == []
    assert any("--crm" in line for line in certificate["remains"])
    assert len(portal.calls()) == 1


@pytest.mark.parametrize("which", [("salesforce",), ("hubspot", "salesforce")], ids=" and ".join)
def test_every_crm_of_the_tenant_forgets_the_caller_and_others_records_stay(
    *,
    pipeline: Pipeline,
    pipeline_database: PipelineDatabase,
    portal: HubSpotHarness,
    orgs: SalesforceOrgs,
    store: SpannerRunStore,
    objects: GcsObjectStore,
    monkeypatch: pytest.MonkeyPatch,
    which: tuple[str, ...],
) -> None:
    hold(store, objects, received(1), received(3, customer_phone_number=STRANGER))
    crms = [crm for crm in (portal, orgs) if crm.provider in which]
    records = [synced(pipeline_database, crm, 1) for crm in crms]
    for crm in crms:
        stranger = call_details(caller_number=STRANGER, caller_name="Somebody Else")
        crm.gateway().sync_call(crm_call(call_of(3), details=stranger))
        crm.gateway("other").sync_call(crm_call(call_of(1), details=call_details(caller_number=NUMBER)))

    with connected_to(pipeline_database, monkeypatch, *crms):
        printed = pipeline("privacy", "erase", "--tenant", OURS, "--phone", NUMBER, "--crm")
        again = json.loads(pipeline("privacy", "erase", "--tenant", OURS, "--call", call_of(1), "--crm"))

    certificate = json.loads(printed)
    assert certificate["crm_erased"] == [
        {"provider": crm.provider, "activity_ids": [record.activity_id], "person_ids": [record.person_id]}
        for crm, record in zip(crms, records, strict=True)
    ]
    for crm in crms:
        assert [call.call_id for call in crm.calls()] == [call_of(3)]
        assert [person.phone for person in crm.persons()] == [STRANGER]
        assert [call.call_id for call in crm.calls("other")] == [call_of(1)]
        assert len(crm.persons("other")) == 1
        assert any(line.lower().startswith(f"{crm.provider}:") for line in certificate["remains"])
    assert reads(pipeline_database, OURS, 1) is None
    assert again["crm_erased"] == [{"provider": crm.provider, "activity_ids": [], "person_ids": []} for crm in crms]
    if "salesforce" in which:
        kept = json.dumps(orgs.state())
        assert not [word for word in (NUMBER, NAME, *NAME.split()) if word in kept], "the recycle bin too"


def test_when_the_second_crm_refuses_our_pointers_stay_and_the_next_run_finishes(
    *,
    pipeline: Pipeline,
    pipeline_database: PipelineDatabase,
    portal: HubSpotHarness,
    orgs: SalesforceOrgs,
    store: SpannerRunStore,
    objects: GcsObjectStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hold(store, objects, received(1))
    for crm in (portal, orgs):
        synced(pipeline_database, crm, 1)

    with connected_to(pipeline_database, monkeypatch, portal, orgs):
        orgs.revoke_secret()
        with pytest.raises(TenantBlocked):
            pipeline("privacy", "erase", "--tenant", OURS, "--phone", NUMBER, "--crm")
        assert (len(portal.calls()), len(orgs.calls())) == (0, 1)
        assert reads(pipeline_database, OURS, 1) is not None
        assert pipeline_database.value("SELECT COUNT(*) FROM crm_syncs") == 2
        orgs.configure("own", consumer_secret=FIRST_SECRET)

        certificate = json.loads(pipeline("privacy", "erase", "--tenant", OURS, "--phone", NUMBER, "--crm"))

    assert {one["provider"]: len(one["person_ids"]) for one in certificate["crm_erased"]} == {
        "hubspot": 0,
        "salesforce": 1,
    }
    assert (orgs.persons(), orgs.calls(), portal.persons()) == ([], [], [])
    assert pipeline_database.rows("SELECT * FROM crm_syncs") == []
