"""What is stored of a caller is sealed for its place, and nobody opens it elsewhere, later, or with another's keys."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from schemas.calls import CallDetails
from schemas.events import CallReceived
from shared.call_merge import Merged
from shared.errors import ConfigurationError, InvalidEvent, PermanentFailure, TenantBlocked
from shared.gateways.call_merger import SpannerCallMerger
from shared.gateways.calls import SpannerCalls
from shared.gateways.keyset_store import KeysetStore
from shared.gateways.run_store import SpannerRunStore
from shared.gateways.sweep_store import SpannerSweepStore
from shared.gateways.tenant_keys import SEALED, Place
from shared.gateways.vault import Vault
from tests.support.callers import NAME, NOON, NUMBER, OURS, THEIRS, WORDS, claim, finish, store, stored
from tests.support.desk_bench import DeskBench
from tests.support.keys import key_maker
from tests.support.pipeline_database import PipelineDatabase

__all__ = ["store"]

pytestmark = pytest.mark.emulators

CALL, NEIGHBOUR = "CAL019aa0c4d1f07b2e9c3d5a6f70819203", "CAL019aa0c4d1f07b2e9c3d5a6f70819204"


def received(tenant_id: str = OURS, call_id: str = CALL) -> CallReceived:
    return CallReceived(
        tenant_id=tenant_id,
        request_id="r-0123456789abcdef" if call_id == CALL else "r-fedcba9876543210",
        call_id=call_id,
        kind="post_call",
        received_at=NOON,
        payload={"resource_id": call_id, "duration": "30", "customer_phone_number": NUMBER, "customer_name": NAME},
    )


def change(database: PipelineDatabase, sql: str) -> None:
    assert database.database.run_in_transaction(lambda transaction: transaction.execute_update(sql)) >= 1


def details_of(database: PipelineDatabase, tenant_id: str = OURS, call_id: str = CALL) -> CallDetails:
    call = SpannerCalls(database.open, Vault(database.open, key_maker())).get(tenant_id, call_id)
    assert call is not None
    return call.details


# --- at rest --------------------------------------------------------------------------------------------


def test_no_row_shows_who_called_or_what_was_said(pipeline_database: PipelineDatabase, store: SpannerRunStore) -> None:
    event = received()
    finish(store, claim(store, event), event)

    rows = stored(pipeline_database)
    for secret in (NUMBER, NUMBER[2:], "3035550142", NAME, "Quillfeather", WORDS, "Xanadu"):
        assert secret not in rows

    call = SpannerCalls(pipeline_database.open, pipeline_database.vault).get(OURS, CALL)
    assert call is not None
    assert call.transcript is not None
    assert (call.details.caller_number, call.details.caller_name) == (NUMBER, NAME)
    assert call.transcript.turns[0].text == WORDS


def test_a_stored_event_shows_its_ids_and_not_its_payload(
    pipeline_database: PipelineDatabase, store: SpannerRunStore
) -> None:
    event = received()
    key = claim(store, event)

    document = json.loads(pipeline_database.value("SELECT event FROM stage_runs"))
    assert document["call_id"] == CALL
    assert document["payload"].startswith(SEALED)
    run = store.read(key)
    assert run is not None
    assert CallReceived.model_validate_json(run.event) == event


def test_the_sweeper_sends_what_was_received(pipeline_database: PipelineDatabase, store: SpannerRunStore) -> None:
    event = received()
    claim(store, event)

    sweep = SpannerSweepStore(pipeline_database.open, Vault(pipeline_database.open, key_maker()))
    (run,) = sweep.overdue(OURS, now=datetime.now(UTC), stale_before=NOON, limit=10)
    assert CallReceived.model_validate_json(run.event) == event


def test_a_dead_letter_is_sealed_as_a_whole_and_replays_as_it_was(pipeline_database: PipelineDatabase) -> None:
    bench = DeskBench(pipeline_database)
    (letter,) = bench.fail("download", PermanentFailure("no_such_thing", "a final no"), received())

    assert str(pipeline_database.value("SELECT event FROM dead_letters")).startswith(SEALED)
    assert NUMBER not in stored(pipeline_database)
    bench.replay(letter.dead_letter_id)
    (sent,) = bench.queue.events("call-received")
    assert sent == received()


def test_rows_from_before_encryption_are_read_as_they_are(pipeline_database: PipelineDatabase) -> None:
    plain = CallDetails(call_id=CALL, caller_number=NUMBER).model_dump_json()
    change(
        pipeline_database,
        "INSERT INTO call_records (tenant_id, call_id, details, created_at, updated_at)"
        f" VALUES ('{OURS}', '{CALL}', '{plain}', PENDING_COMMIT_TIMESTAMP(), PENDING_COMMIT_TIMESTAMP())",
    )

    assert details_of(pipeline_database).caller_number == NUMBER
    merger = SpannerCallMerger(pipeline_database.open, pipeline_database.vault)
    news = Merged(CallDetails(call_id=CALL, caller_name=NAME), {"caller_name": (1, NOON.isoformat())})
    merger.merge(OURS, news, now=NOON)
    assert NUMBER not in stored(pipeline_database), "the first change seals the row"


# --- copied, forged, swapped ----------------------------------------------------------------------------


def _details_of(tenant_id: str, call_id: str) -> str:
    return f"(SELECT details FROM call_records WHERE tenant_id = '{tenant_id}' AND call_id = '{call_id}')"


PUT_THERE = {
    "from another call": _details_of(OURS, NEIGHBOUR),
    "from another tenant": _details_of(THEIRS, CALL),
    "from another column": "transcript",
    "cut short": "SUBSTR(details, 1, 60)",
    "not base64": "'sealed:1:***'",
}


@pytest.mark.parametrize("how", PUT_THERE)
def test_a_value_put_elsewhere_does_not_open(
    pipeline_database: PipelineDatabase, store: SpannerRunStore, how: str
) -> None:
    for event in (received(), received(call_id=NEIGHBOUR), received(THEIRS)):
        finish(store, claim(store, event), event)
    where = f"WHERE tenant_id = '{OURS}' AND call_id = '{CALL}'"
    change(pipeline_database, f"UPDATE call_records SET details = {PUT_THERE[how]} {where}")

    with pytest.raises(PermanentFailure, match="personal_data_unreadable") as caught:
        details_of(pipeline_database)
    assert NUMBER not in str(caught.value)
    assert details_of(pipeline_database, THEIRS).caller_number == NUMBER, "the others are read as before"


def test_an_event_of_another_request_does_not_open(pipeline_database: PipelineDatabase, store: SpannerRunStore) -> None:
    key = claim(store, received())
    other = claim(store, received(call_id=NEIGHBOUR))
    change(
        pipeline_database,
        f"UPDATE stage_runs SET event = (SELECT event FROM stage_runs WHERE request_id = '{other.request_id}')"
        f" WHERE request_id = '{key.request_id}'",
    )

    with pytest.raises(PermanentFailure, match="personal_data_unreadable"):
        store.read(key)


def test_a_keyset_in_another_tenants_row_does_not_unwrap(pipeline_database: PipelineDatabase) -> None:
    change(
        pipeline_database,
        "UPDATE tenant_keysets AS t SET wrapped = (SELECT s.wrapped FROM tenant_keysets AS s"
        f" WHERE s.tenant_id = '{THEIRS}' AND s.purpose = t.purpose) WHERE t.tenant_id = '{OURS}'",
    )

    with pytest.raises(TenantBlocked, match="keyset_unreadable"):
        pipeline_database.vault.keys(OURS)
    pipeline_database.vault.keys(THEIRS)


# --- finding a caller -----------------------------------------------------------------------------------


def test_a_caller_is_found_by_a_hash_that_says_nothing_to_another_tenant(
    pipeline_database: PipelineDatabase, store: SpannerRunStore
) -> None:
    for event in (received(), received(call_id=NEIGHBOUR), received(THEIRS)):
        claim(store, event)
    ours, theirs = (pipeline_database.vault.of(tenant_id).phone_hash(NUMBER) for tenant_id in (OURS, THEIRS))

    rows = pipeline_database.rows("SELECT tenant_id, caller_hash FROM call_records ORDER BY tenant_id")
    assert rows == [[OURS, ours], [OURS, ours], [THEIRS, theirs]]
    assert ours != theirs
    assert pipeline_database.vault.of(OURS).phone_hash("+13035550143") != ours
    assert pipeline_database.vault.of(OURS).phone_hashes(NUMBER) == [ours]
    assert pipeline_database.vault.of(OURS).phone_hash("") is None, "withheld numbers are not one person"


# --- keys over time -------------------------------------------------------------------------------------


def test_a_rotated_keyset_opens_the_old_and_seals_with_the_new(
    pipeline_database: PipelineDatabase, store: SpannerRunStore
) -> None:
    claim(store, received())
    number_hash = pipeline_database.vault.of(OURS).phone_hash(NUMBER)
    (data, lookup) = pipeline_database.keysets.show(OURS)

    rotated = pipeline_database.keysets.rotate(OURS, actor="test")

    assert rotated.key_ids[1:] == data.key_ids
    assert pipeline_database.keysets.show(OURS)[1].key_ids == lookup.key_ids
    assert details_of(pipeline_database).caller_number == NUMBER
    fresh = Vault(pipeline_database.open, key_maker())
    assert fresh.of(OURS).phone_hash(NUMBER) == number_hash, "calls from before are still found"
    assert pipeline_database.value("SELECT COUNT(*) FROM audit_log WHERE action = 'keys.rotate'") == 1


def test_a_process_with_the_old_keys_reads_what_another_sealed_with_the_new(
    pipeline_database: PipelineDatabase,
) -> None:
    now = [0.0]
    old = Vault(pipeline_database.open, key_maker(), monotonic=lambda: now[0])
    old.of(OURS).warm()
    pipeline_database.keysets.rotate(OURS, actor="test")
    sealed = Vault(pipeline_database.open, key_maker()).of(OURS).seal(CALL, "details", "{}")
    now[0] = 10

    assert old.of(OURS).open(CALL, "details", sealed) == "{}"


def test_forgeries_do_not_make_a_process_ask_for_keys_again_and_again(
    pipeline_database: PipelineDatabase,
) -> None:
    loads: list[int] = []
    now = [0.0]

    def counted_key() -> Any:
        loads.append(1)
        return key_maker()()

    vault = Vault(pipeline_database.open, counted_key, monotonic=lambda: now[0])
    foreign = vault.of(THEIRS).seal(CALL, "details", "{}")
    for second in range(10):
        now[0] = second
        with pytest.raises(PermanentFailure):
            vault.of(OURS).open(CALL, "details", foreign)

    assert len(loads) <= 4, "one for each tenant, and one each five seconds"


def test_of_two_rotations_at_once_one_is_told_so(pipeline_database: PipelineDatabase) -> None:
    store = pipeline_database.keysets

    def while_another_rotates() -> Any:
        store.rotate(OURS, actor="first")
        return key_maker()()

    late = KeysetStore(pipeline_database.open, while_another_rotates)

    with pytest.raises(ConfigurationError, match="keyset_changed"):
        late.rotate(OURS, actor="second")
    assert len(store.show(OURS)[0].key_ids) == 2


def test_a_destroyed_keyset_is_not_made_again(pipeline_database: PipelineDatabase, store: SpannerRunStore) -> None:
    claim(store, received())
    assert pipeline_database.keysets.destroy(OURS, actor="test") == 2
    assert pipeline_database.keysets.destroy(OURS, actor="test") == 0, "nothing is left to destroy"

    with pytest.raises(TenantBlocked, match="keyset_destroyed"):
        details_of(pipeline_database)
    assert pipeline_database.keysets.create(OURS, actor="test") is False
    with pytest.raises(ConfigurationError, match="no_keyset"):
        pipeline_database.keysets.rotate(OURS, actor="test")
    assert pipeline_database.value("SELECT COUNT(*) FROM tenant_keysets WHERE wrapped IS NULL") == 2


def test_a_cached_key_dies_with_its_time(pipeline_database: PipelineDatabase) -> None:
    now = [0.0]
    vault = Vault(pipeline_database.open, key_maker(), ttl_s=600, monotonic=lambda: now[0])
    sealed = vault.of(OURS).seal(CALL, "details", "{}")
    pipeline_database.keysets.destroy(OURS, actor="test")

    assert vault.of(OURS).open(CALL, "details", sealed) == "{}"
    now[0] = 601
    with pytest.raises(TenantBlocked, match="keyset_destroyed"):
        vault.of(OURS).open(CALL, "details", sealed)


def test_a_letter_of_a_shredded_tenant_keeps_no_content(pipeline_database: PipelineDatabase) -> None:
    bench = DeskBench(pipeline_database)
    pipeline_database.keysets.destroy(OURS, actor="test")
    bench.queue.publish(
        "dead-letters",
        received().model_dump_json().encode(),
        {**received().attributes(), "dl_reason": "no", "dl_stage": "download"},
    )
    bench.work()

    assert pipeline_database.rows("SELECT tenant_id, event FROM dead_letters") == [[OURS, ""]]


@pytest.mark.parametrize(
    ("missing", "expected"), [(OURS, TenantBlocked), ("nobody-here", TenantBlocked)], ids=["old tenant", "no tenant"]
)
def test_without_a_keyset_nothing_is_stored_in_the_clear(
    pipeline_database: PipelineDatabase, store: SpannerRunStore, missing: str, expected: type[Exception]
) -> None:
    if missing == OURS:
        change(pipeline_database, f"DELETE FROM tenant_keysets WHERE tenant_id = '{OURS}'")

    with pytest.raises(expected, match="keyset_missing"):
        claim(store, received(missing))
    assert pipeline_database.rows("SELECT event FROM stage_runs") == []


def test_keysets_need_their_tenant(pipeline_database: PipelineDatabase) -> None:
    with pytest.raises(InvalidEvent):
        pipeline_database.keysets.create("nobody-here", actor="test")


def test_a_place_names_version_tenant_call_and_field() -> None:
    assert Place(OURS, CALL, "details").associated_data == f"1|{OURS}|{CALL}|details".encode()


@pytest.mark.parametrize("show", [repr, str])
def test_keys_show_nothing_of_themselves(pipeline_database: PipelineDatabase, show: Callable[[object], str]) -> None:
    assert show(pipeline_database.vault.keys(OURS)) == "TenantKeys(version=1)"
