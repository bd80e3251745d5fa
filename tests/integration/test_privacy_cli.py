"""People ask to be forgotten or to see what is held; a customer leaves. Afterwards nothing of them can be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shared.deliveries import Delivery
from shared.errors import AlreadyThere, ConfigurationError, PermanentFailure
from shared.gateways.objects import GcsObjectStore
from shared.gateways.run_store import SpannerRunStore
from tests.support.callers import NAME, NUMBER, OURS, THEIRS, WORDS, claim, finish, store, stored
from tests.support.desk_bench import DeskBench
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

__all__ = ["objects", "pipeline", "storage_url", "store"]

pytestmark = pytest.mark.emulators


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
