"""Each tenant's calls are kept as long as the tenant says, from the first write and after a change of mind."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.cloud.spanner_v1 import JsonObject

from schemas.calls import CallDetails
from schemas.tenant import Tenant
from shared.call_merge import Merged
from shared.errors import PermanentFailure
from shared.gateways.call_merger import SpannerCallMerger
from shared.gateways.kept_objects import GcsKeptObjects
from shared.gateways.objects import GcsObjectStore
from shared.gateways.queries import SQL_DIR
from shared.gateways.retention_store import SpannerRetention
from shared.retention import LIFE_CYCLE_GRACE, TABLES, RetentionDesk, custom_time
from tests.support.gcs import fresh_store
from tests.support.pipeline_database import OTHER_TENANT, OUR_TENANT, PipelineDatabase
from tests.support.trouble import CALL, Trouble, raising

pytestmark = pytest.mark.emulators
DAY = timedelta(days=1)


def keeping(tenant: Tenant, **days: int) -> Tenant:
    privacy = tenant.config.privacy.model_copy(update=days)
    return tenant.model_copy(update={"config": tenant.config.model_copy(update={"privacy": privacy})})


def store_settings(database: PipelineDatabase, tenant: Tenant) -> None:
    with database.database.batch() as batch:
        batch.update(
            table="tenants",
            columns=("tenant_id", "config"),
            values=[(tenant.tenant_id, JsonObject(json.loads(tenant.config.model_dump_json())))],
        )


@pytest.fixture
def objects(gcs_server: str) -> GcsObjectStore:
    return fresh_store(gcs_server)


def desk(database: PipelineDatabase, objects: GcsObjectStore, *, now: datetime | None = None) -> RetentionDesk:
    moment = now or datetime.now(UTC)
    return RetentionDesk(SpannerRetention(database.open), GcsKeptObjects(objects), lambda: moment)


def days_left(
    database: PipelineDatabase, table: str, column: str = "expires_at", *, of: str = OUR_TENANT.tenant_id
) -> set[int]:
    rows = database.rows(f"SELECT {column} FROM {table} WHERE tenant_id = '{of}'")
    return {round((moment - datetime.now(UTC)) / DAY) for (moment,) in rows}


def fail_a_call(database: PipelineDatabase, tenant: Tenant) -> None:
    """A call with its request, runs and a dead letter."""
    store_settings(database, tenant)
    trouble = Trouble(database, tenant=tenant)
    trouble.reach("crm_sync", raising(PermanentFailure("hubspot_400", "refused")))
    trouble.record_letters()


# --- new rows -------------------------------------------------------------------------------------------


def test_a_calls_rows_carry_the_tenants_time_from_the_start(pipeline_database: PipelineDatabase) -> None:
    fail_a_call(pipeline_database, keeping(OUR_TENANT, retention_days=90))

    assert days_left(pipeline_database, "call_records") == {90}
    assert days_left(pipeline_database, "processing_requests") == {90}
    assert days_left(pipeline_database, "dead_letters", "kept_until") == {90}


def test_a_dead_letter_is_kept_400_days_where_calls_are_kept_longer(pipeline_database: PipelineDatabase) -> None:
    fail_a_call(pipeline_database, OUR_TENANT)

    assert days_left(pipeline_database, "call_records") == {760}
    assert days_left(pipeline_database, "dead_letters", "kept_until") == {400}


def test_a_call_that_a_side_webhook_makes_known_has_the_tenants_time_too(pipeline_database: PipelineDatabase) -> None:
    store_settings(pipeline_database, keeping(OUR_TENANT, retention_days=60))
    merger = SpannerCallMerger(pipeline_database.open, pipeline_database.vault)

    merger.merge(OUR_TENANT.tenant_id, Merged(CallDetails(call_id=CALL), {}), now=datetime.now(UTC))

    assert days_left(pipeline_database, "call_records") == {60}


# --- a changed setting ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("before", "after"), [(760, 45), (45, 300)])
def test_a_changed_setting_reaches_what_is_stored(
    pipeline_database: PipelineDatabase, objects: GcsObjectStore, before: int, after: int
) -> None:
    fail_a_call(pipeline_database, keeping(OUR_TENANT, retention_days=before))
    name = f"recordings/{OUR_TENANT.tenant_id}/{CALL}.mp3"
    stored_at = datetime.now(UTC)
    until = custom_time(stored_at, audio_days=min(before, 365))
    objects.create(name, iter([b"audio"]), content_type="audio/mpeg", custom_time=until)
    tenant = keeping(OUR_TENANT, retention_days=after)

    changed = desk(pipeline_database, objects).restamp(tenant, actor="ann")
    again = desk(pipeline_database, objects).restamp(tenant, actor="ann")

    assert changed == {
        "call_records": 1,
        "processing_requests": 1,
        "dead_letters": int(after < min(before, 400)),
        "recordings": 1,
    }
    assert set(again.values()) == {0}
    assert days_left(pipeline_database, "call_records") == {after}
    (kept,) = GcsKeptObjects(objects).kept("recordings/")
    assert kept.custom_time is not None
    assert abs(kept.custom_time + LIFE_CYCLE_GRACE - stored_at - after * DAY) < timedelta(minutes=1)
    assert objects.read(name, max_bytes=10) == b"audio"
    assert pipeline_database.rows("SELECT actor FROM audit_log WHERE action = 'privacy.retention'") == [["ann"]]


def test_a_stopped_change_goes_on_where_it_was(pipeline_database: PipelineDatabase) -> None:
    store = SpannerRetention(pipeline_database.open)
    tenant_id = OUR_TENANT.tenant_id
    fill(pipeline_database, tenant_id, calls=5)
    fill(pipeline_database, OTHER_TENANT.tenant_id, calls=2)

    pieces = [store.restamp(tenant_id, "call_records", days=100, limit=2) for _ in range(4)]

    assert pieces == [2, 2, 1, 0]
    assert days_left(pipeline_database, "call_records") == {100}
    assert days_left(pipeline_database, "call_records", of=OTHER_TENANT.tenant_id) == {760}


def fill(database: PipelineDatabase, tenant_id: str, *, calls: int) -> None:
    rows = ", ".join(
        f"('{tenant_id}', 'CAL{n}', '{{}}', PENDING_COMMIT_TIMESTAMP(), PENDING_COMMIT_TIMESTAMP())"
        for n in range(calls)
    )
    columns = "tenant_id, call_id, details, created_at, updated_at"
    database.database.run_in_transaction(
        lambda transaction: transaction.execute_update(f"INSERT INTO call_records ({columns}) VALUES {rows}")
    )


# --- the sweep: what Google's own does, where nothing does it -------------------------------------------


def test_the_sweep_removes_what_is_past_its_time_with_all_that_hangs_on_it(
    pipeline_database: PipelineDatabase, objects: GcsObjectStore
) -> None:
    tenant = keeping(OUR_TENANT, retention_days=90, audio_retention_days=30)
    fail_a_call(pipeline_database, tenant)
    fill(pipeline_database, OTHER_TENANT.tenant_id, calls=1)
    now = datetime.now(UTC)
    for owner in (tenant, OTHER_TENANT):
        until = custom_time(now, audio_days=owner.config.privacy.audio_days)
        name = f"recordings/{owner.tenant_id}/{CALL}.mp3"
        objects.create(name, iter([b"audio"]), content_type="audio/mpeg", custom_time=until)

    early = desk(pipeline_database, objects, now=now + 29 * DAY).sweep(tenant, actor="ann")
    audio = desk(pipeline_database, objects, now=now + 31 * DAY).sweep(tenant, actor="ann")
    rest = desk(pipeline_database, objects, now=now + 91 * DAY).sweep(tenant, actor="ann")

    assert set(early.values()) == {0}
    assert audio == {**dict.fromkeys(TABLES, 0), "recordings": 1}
    assert rest == {**dict.fromkeys(TABLES, 1), "recordings": 0}
    for table in ("call_records", "crm_syncs", "processing_requests", "stage_runs", "usage_ledger", "dead_letters"):
        assert pipeline_database.rows(f"SELECT 1 FROM {table} WHERE tenant_id = '{tenant.tenant_id}'") == [], table
    assert len(pipeline_database.rows("SELECT 1 FROM call_records")) == 1
    assert objects.list_names("recordings/") == [f"recordings/{OTHER_TENANT.tenant_id}/{CALL}.mp3"]


# --- the rules ------------------------------------------------------------------------------------------


def life_cycle() -> dict[str, Any]:
    document: dict[str, Any] = json.loads((SQL_DIR.parent / "infra" / "retention.json").read_text(encoding="utf-8"))
    return document


def test_the_buckets_rules_and_the_code_agree() -> None:
    rules = life_cycle()
    custom = [rule for rule in rules["rules"] if "days_since_custom_time" in rule]

    assert timedelta(days=rules["days_since_custom_time"]) == LIFE_CYCLE_GRACE
    assert [rule["days_since_custom_time"] for rule in custom] == [rules["days_since_custom_time"]]
    assert custom[0]["matches_prefix"] == ["recordings/"]
    folders = {prefix for rule in rules["rules"] for prefix in rule["matches_prefix"]}
    assert folders == {"recordings/", "transcripts/", "inbox/"}, "every folder that the pipeline writes"
