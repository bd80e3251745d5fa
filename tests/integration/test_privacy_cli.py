"""People ask to be forgotten or to see what is held; a customer leaves. Afterwards nothing of them can be read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from google.cloud.spanner_v1 import COMMIT_TIMESTAMP, JsonObject
from typer.testing import CliRunner

from handlers.cli.main import app
from infra.local import gcs
from infra.local.standins.secret_manager import serve_secret_manager
from schemas.calls import CrmRecord
from schemas.events import CallReceived
from shared.deliveries import Delivery
from shared.errors import AlreadyThere, ConfigurationError, PermanentFailure, TenantBlocked
from shared.gateways.calls import SpannerCalls
from shared.gateways.objects import GcsObjectStore
from shared.gateways.run_store import SpannerRunStore
from shared.gateways.secrets import SecretManagerSecrets
from shared.gateways.vault import Vault
from shared.names import first_request_id
from tests.integration.test_personal_data import NAME, NUMBER, OURS, THEIRS, WORDS, claim, finish, stored
from tests.support.crm_calls import call_details, crm_call
from tests.support.desk_bench import DeskBench
from tests.support.emulators import TEST_INSTANCE, TEST_PROJECT
from tests.support.hubspot_portal import HubSpotHarness
from tests.support.keys import key_maker
from tests.support.pipeline_database import OUR_TENANT, PipelineDatabase
from tests.support.salesforce_org import FIRST_SECRET, KEYS, SalesforceOrgs, client_credentials, salesforce_orgs

pytestmark = pytest.mark.emulators

BUCKET = "privacy-audio"
STRANGER = "+13035550199"
CONNECTIONS = {"hubspot": {"token_secret": "hubspot-token"}, "salesforce": {"credentials_secret": "salesforce-login"}}
Pipeline = Callable[..., str]


def call_of(number: int) -> str:
    return f"CAL{number:032d}"


def received(number: int, tenant_id: str = OURS, **payload: Any) -> CallReceived:
    call_id = call_of(number)
    return CallReceived(
        tenant_id=tenant_id,
        request_id=first_request_id(tenant_id, call_id),
        call_id=call_id,
        kind="post_call",
        received_at=datetime.now(UTC),
        payload={"resource_id": call_id, "customer_phone_number": NUMBER, "customer_name": NAME, **payload},
    )


@pytest.fixture(scope="module")
def storage_url() -> Iterator[str]:
    with gcs.serve(bucket=BUCKET) as url:
        yield url


@pytest.fixture
def objects(storage_url: str) -> GcsObjectStore:
    store = GcsObjectStore(BUCKET, project_id=TEST_PROJECT, endpoint=storage_url)
    for name in names(store):  # of an earlier test
        store.delete(name)
    return store


@pytest.fixture
def pipeline(
    pipeline_database: PipelineDatabase, objects: GcsObjectStore, storage_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Pipeline]:
    for name, value in {
        "PIPELINE_ENVIRONMENT": "local",
        "GOOGLE_CLOUD_PROJECT": TEST_PROJECT,
        "PIPELINE_SPANNER_INSTANCE": TEST_INSTANCE,
        "PIPELINE_SPANNER_DATABASE": pipeline_database.database.database_id,
        "PIPELINE_AUDIO_BUCKET": objects.bucket,
        "STORAGE_EMULATOR_HOST": storage_url,
    }.items():
        monkeypatch.setenv(name, value)
    printed: list[str] = []

    def run(*arguments: str) -> str:
        output = CliRunner().invoke(app, list(arguments), catch_exceptions=False).stdout
        printed.append(output)
        return output

    yield run
    for text in printed:
        assert not [secret for secret in (NUMBER, NUMBER[2:], NAME, WORDS) if secret in text]


@pytest.fixture
def store(pipeline_database: PipelineDatabase) -> SpannerRunStore:
    return SpannerRunStore(pipeline_database.open, pipeline_database.vault)


def hold(store: SpannerRunStore, objects: GcsObjectStore, *events: CallReceived) -> None:
    """Calls that went through the first stage, with audio and Speech's output."""
    for event in events:
        finish(store, claim(store, event), event)
        for name in (
            f"recordings/{event.tenant_id}/{event.call_id}.mp3",
            f"transcripts/{event.tenant_id}/{event.request_id}/out.json",
            f"inbox/{event.tenant_id}/{event.request_id}-abc.json",
        ):
            objects.create(name, iter([b"audio"]), content_type="audio/mpeg")


def reads(database: PipelineDatabase, tenant_id: str, number: int) -> Any:
    return SpannerCalls(database.open, Vault(database.open, key_maker())).get(tenant_id, call_of(number))


def names(objects: GcsObjectStore) -> list[str]:
    return [name for folder in ("recordings/", "transcripts/", "inbox/") for name in objects.list_names(folder)]


# --- erasure --------------------------------------------------------------------------------------------


def test_a_callers_calls_are_erased_and_nobody_elses(
    pipeline: Pipeline, pipeline_database: PipelineDatabase, store: SpannerRunStore, objects: GcsObjectStore
) -> None:
    others = (received(3, customer_phone_number=STRANGER), received(1, THEIRS))
    hold(store, objects, received(1), received(2), *others)

    certificate = json.loads(pipeline("privacy", "erase", "--tenant", OURS, "--phone", "(303) 555-0142"))

    assert [(call["call_id"], call["call_rows"], call["events"]) for call in certificate["calls"]] == [
        (call_of(1), 1, 1),
        (call_of(2), 1, 1),
    ]
    assert certificate["objects_deleted"] == 6
    assert reads(pipeline_database, OURS, 1) is None
    assert reads(pipeline_database, OURS, 2) is None
    assert reads(pipeline_database, OURS, 3).details.caller_number == STRANGER
    assert reads(pipeline_database, THEIRS, 1).details.caller_number == NUMBER
    assert len(names(objects)) == 6
    assert not [name for name in names(objects) if f"{OURS}/{call_of(1)}" in name or f"{OURS}/{call_of(2)}" in name]
    row = pipeline_database.rows(
        "SELECT recording, transcript, analysis, caller_hash, lead_score FROM call_records"
        f" WHERE tenant_id = '{OURS}' AND call_id = '{call_of(1)}'"
    )
    assert row == [[None] * 5]


def test_erasing_twice_changes_nothing_and_says_so(
    pipeline: Pipeline, pipeline_database: PipelineDatabase, store: SpannerRunStore, objects: GcsObjectStore
) -> None:
    hold(store, objects, received(1))
    pipeline("privacy", "erase", "--tenant", OURS, "--call", call_of(1))

    (again,) = json.loads(pipeline("privacy", "erase", "--tenant", OURS, "--call", call_of(1)))["calls"]

    assert (again["call_rows"], again["events"], again["dead_letters"], again["objects"]) == (0, 0, 0, [])
    by_phone = json.loads(pipeline("privacy", "erase", "--tenant", OURS, "--phone", NUMBER))
    assert by_phone["calls"] == []
    assert by_phone["subject"].startswith("caller ")
    assert pipeline_database.value("SELECT COUNT(*) FROM audit_log WHERE action = 'privacy.erase'") == 2


def test_dead_letters_and_texts_of_the_caller_go_too(pipeline: Pipeline, pipeline_database: PipelineDatabase) -> None:
    bench = DeskBench(pipeline_database)
    text = received(5).model_copy(update={"kind": "text_message", "call_id": "MSG1", "request_id": "w-00000000000005"})
    bench.fail("download", PermanentFailure("no_such_thing", "a final no"), received(4), text)
    assert pipeline_database.value("SELECT COUNT(*) FROM dead_letters") == 2

    certificate = json.loads(pipeline("privacy", "erase", "--tenant", OURS, "--phone", NUMBER))

    assert sum(call["dead_letters"] for call in certificate["calls"]) == 2
    assert pipeline_database.rows("SELECT dead_letter_id FROM dead_letters") == []
    events = [json.loads(row[0])["payload"] for row in pipeline_database.rows("SELECT event FROM stage_runs")]
    assert events == [{}, {}]


def test_a_late_webhook_does_not_bring_the_call_back(pipeline: Pipeline, pipeline_database: PipelineDatabase) -> None:
    bench = DeskBench(pipeline_database)
    bench.receive(received(1))
    pipeline("privacy", "erase", "--tenant", OURS, "--phone", NUMBER)
    bench.queue.sent.clear()

    bench.receive(received(1, recording="https://app.callrail.com/late"))

    assert reads(pipeline_database, OURS, 1) is None
    assert [message.topic for message in bench.queue.sent] == ["call-received"], "nothing followed from it"
    assert NAME not in stored(pipeline_database)


def test_a_worker_in_the_middle_of_the_call_cannot_write_it_back(
    pipeline: Pipeline, pipeline_database: PipelineDatabase, store: SpannerRunStore
) -> None:
    key = claim(store, received(1))
    pipeline("privacy", "erase", "--tenant", OURS, "--call", call_of(1))

    with pytest.raises(AlreadyThere):
        finish(store, key, received(1))
    assert pipeline_database.value("SELECT transcript FROM call_records") is None


def test_the_certificate_names_what_the_crms_still_hold(
    pipeline: Pipeline, pipeline_database: PipelineDatabase, store: SpannerRunStore, objects: GcsObjectStore
) -> None:
    hold(store, objects, received(1))
    pipeline_database.database.run_in_transaction(
        lambda transaction: transaction.execute_update(
            "INSERT INTO crm_syncs (tenant_id, call_id, provider, person_id, person_type, person_created, activity_id,"
            f" activity_type, synced_at, updated_at) VALUES ('{OURS}', '{call_of(1)}', 'hubspot', '77', 'contact',"
            " TRUE, '88', 'call', CURRENT_TIMESTAMP(), PENDING_COMMIT_TIMESTAMP())"
        )
    )

    (call,) = json.loads(pipeline("privacy", "erase", "--tenant", OURS, "--phone", NUMBER))["calls"]

    assert [(one["provider"], one["person_id"], one["activity_id"]) for one in call["crm_records"]] == [
        ("hubspot", "77", "88")
    ]
    assert pipeline_database.rows("SELECT * FROM crm_syncs") == []


# --- export ---------------------------------------------------------------------------------------------


def test_an_export_holds_everything_and_is_for_its_owner_only(
    pipeline: Pipeline, store: SpannerRunStore, objects: GcsObjectStore, tmp_path: Path
) -> None:
    hold(store, objects, received(1), received(2, customer_phone_number=STRANGER))
    out = tmp_path / "export.json"

    assert "1 calls written" in pipeline("privacy", "export", "--tenant", OURS, "--phone", NUMBER, "--out", str(out))

    (call,) = json.loads(out.read_text())
    assert call["call"]["details"]["caller_name"] == NAME
    assert call["call"]["transcript"]["turns"][0]["text"] == WORDS
    assert call["events"][0]["payload"]["customer_phone_number"] == NUMBER
    assert len(call["objects"]) == 3
    assert out.stat().st_mode & 0o077 == 0
    with pytest.raises(ConfigurationError, match="File exists"):
        pipeline("privacy", "export", "--tenant", OURS, "--phone", NUMBER, "--out", str(out))


@pytest.mark.parametrize("command", ["erase", "export"])
@pytest.mark.parametrize(
    ("subject", "complaint"),
    [((), "say whose"), (("--call", "CAL1", "--phone", NUMBER), "say whose"), (("--phone", "nobody"), "no telephone")],
)
def test_whose_data_must_be_clear(
    pipeline: Pipeline, tmp_path: Path, command: str, subject: tuple[str, ...], complaint: str
) -> None:
    out = ("--out", str(tmp_path / "export.json")) if command == "export" else ()
    with pytest.raises(ConfigurationError, match=complaint):
        pipeline("privacy", command, "--tenant", OURS, *subject, *out)


def test_another_tenants_calls_are_out_of_reach(
    pipeline: Pipeline, pipeline_database: PipelineDatabase, store: SpannerRunStore, objects: GcsObjectStore
) -> None:
    hold(store, objects, received(1, THEIRS))

    certificate = json.loads(pipeline("privacy", "erase", "--tenant", OURS, "--call", call_of(1)))

    assert certificate["calls"][0]["call_rows"] == 0
    assert reads(pipeline_database, THEIRS, 1).details.caller_number == NUMBER
    assert len(names(objects)) == 3


# --- offboarding ----------------------------------------------------------------------------------------


def test_an_offboarded_tenants_data_cannot_be_read_any_more(
    pipeline: Pipeline, pipeline_database: PipelineDatabase, store: SpannerRunStore, objects: GcsObjectStore
) -> None:
    hold(store, objects, received(1), received(1, THEIRS))
    with pytest.raises(ConfigurationError, match="destroys its data"):
        pipeline("tenant", "offboard", OURS)
    assert reads(pipeline_database, OURS, 1) is not None

    report = json.loads(pipeline("tenant", "offboard", OURS, "--yes"))

    assert (report["keysets_destroyed"], report["objects_deleted"]) == (2, 3)
    assert report["unreadable_rows"] == {"calls": 1, "dead letters": 0, "stage runs": 1}
    with pytest.raises(Exception, match="keyset_destroyed"):
        reads(pipeline_database, OURS, 1)
    assert reads(pipeline_database, THEIRS, 1).details.caller_number == NUMBER
    assert len(names(objects)) == 3
    again = json.loads(pipeline("tenant", "offboard", OURS, "--yes"))
    assert (again["keysets_destroyed"], again["objects_deleted"]) == (0, 0)


def test_a_late_message_of_an_offboarded_tenant_is_dropped_and_not_stored(
    pipeline: Pipeline, pipeline_database: PipelineDatabase
) -> None:
    pipeline("tenant", "offboard", OURS, "--yes")
    gone = OUR_TENANT.model_copy(update={"status": "offboarded"})
    bench = DeskBench(pipeline_database, tenants=(gone,))
    event = received(1)
    delivery = Delivery("m-1", event.model_dump_json().encode(), event.attributes(), "s")

    assert bench.runner("download").handle(delivery, event).status == 204
    assert pipeline_database.rows("SELECT * FROM stage_runs") == []
    assert bench.queue.sent == []


# --- in the CRMs ----------------------------------------------------------------------------------------


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
