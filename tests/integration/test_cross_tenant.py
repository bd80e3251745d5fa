"""A second tenant, with every id of the first in hand, tries every method there is: it reads nothing, changes nothing.

The methods are found by reflection, so a new one is attacked without being listed here; what an attack cannot be made
of fails the test (`NoSample`).
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from schemas.events import CallAnalyzed, CallReceived, Event
from shared.claims import RunKey
from shared.deliveries import Delivery, decode_event
from shared.errors import InvalidEvent, PermanentFailure, PipelineError
from shared.gateways.tenants import SpannerTenantDirectory
from shared.inbox import Inbox
from shared.names import (
    first_request_id,
    incomplete_request_id,
    owner_of_transcript,
    recording_object,
    transcript_prefix,
)
from tests.architecture.service_sql import ways
from tests.architecture.test_repository_tenants import ALL_STORES, WITHOUT_A_TENANT, methods
from tests.support.pipeline_database import OTHER_TENANT, OUR_TENANT, PipelineDatabase
from tests.support.ports import NOON, MemoryObjects, MemoryPublisher
from tests.support.samples import arguments_of
from tests.support.trouble import CALL, Trouble, raising

VICTIM, ATTACKER = OUR_TENANT.tenant_id, OTHER_TENANT.tenant_id
MARK = "MARKED-SECRET-OF-THE-VICTIM"
ATTACKS = [name for name in methods() if name not in WITHOUT_A_TENANT and not name.startswith("TenantStore.")]
TABLES = (
    "call_records", "crm_syncs", "crm_integrations", "processing_requests", "stage_runs", "usage_ledger",
    "dead_letters", "dead_letter_failures", "vendor_circuits", "replay_jobs", "replay_items", "audit_log",
    "tenant_routes", "reconciliation_reports", "backfill_days",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Scene:
    """The victim's call, failed at the CRM, with a letter; everything about it carries `MARK`."""

    database: PipelineDatabase
    request_id: str
    letter_id: str

    def victims_rows(self) -> dict[str, list[list[Any]]]:
        return {
            table: self.database.rows(f"SELECT * FROM {table} WHERE tenant_id = '{VICTIM}' ORDER BY 1, 2")
            for table in TABLES
        }

    def forged(self, value: Any, name: str = "") -> Any:
        """The same value as the attacker would send it: its own tenant, the victim's ids."""
        known = {
            "tenant_id": ATTACKER,
            "owner": ATTACKER,
            "call_id": CALL,
            "request_id": self.request_id,
            "current_request_id": self.request_id,
            "dead_letter_id": self.letter_id,
            "target": self.letter_id,
            "stage": "crm_sync",
        }
        if name in known:
            return known[name]
        if name == "tenants":
            return (ATTACKER,)
        if name in {"call_ids", "request_ids", "ids"}:
            return [CALL, self.request_id, self.letter_id]
        if isinstance(value, RunKey):
            return RunKey(ATTACKER, self.request_id, "crm_sync")
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = [field.name for field in dataclasses.fields(value) if field.init]
            return dataclasses.replace(value, **{one: self.forged(getattr(value, one), one) for one in fields})
        if isinstance(value, list):
            return [self.forged(item) for item in value]
        return value


@pytest.fixture
def scene(pipeline_database: PipelineDatabase) -> Scene:
    trouble = Trouble(pipeline_database)
    trouble.reach("crm_sync", raising(PermanentFailure("hubspot_400", f"refused {MARK}", fix=MARK)))
    trouble.record_letters()
    ((letter_id, request_id),) = pipeline_database.rows("SELECT dead_letter_id, request_id FROM dead_letters")
    return Scene(pipeline_database, request_id, letter_id)


@pytest.mark.emulators
def test_no_method_reads_or_changes_anything_of_the_victims(scene: Scene) -> None:
    before = scene.victims_rows()
    assert MARK in str(before)
    assert {table for table, rows in before.items() if rows} >= {"call_records", "stage_runs", "dead_letters"}
    for name in ATTACKS:
        store, method = name.split(".")
        for _, made, given in ways(ALL_STORES[store], method):
            bring_to(scene, made)
            bound = getattr(made, method)
            arguments = {key: scene.forged(value, key) for key, value in arguments_of(bound, **given).items()}
            try:
                answer = bound(**arguments)
            except PipelineError as error:
                answer = f"{error} {error.detail} {error.fix}"
            except Exception as error:
                answer = repr(error)

            assert MARK not in str(answer), name
        assert scene.victims_rows() == before, f"{name} changed the victim's rows"


@pytest.mark.emulators
def test_the_same_methods_do_answer_the_victim(scene: Scene) -> None:
    """The attack above is real: with the victim's own tenant id the same calls find the mark."""
    seen = set()
    for name in ATTACKS:
        store, method = name.split(".")
        if method not in {"tell", "recent", "read", "list_letters", "group_letters", "failures", "runs", "story"}:
            continue
        for _, made, given in ways(ALL_STORES[store], method):
            bring_to(scene, made)
            bound = getattr(made, method)
            arguments = {key: scene.forged(value, key) for key, value in arguments_of(bound, **given).items()}
            if "key" in arguments:
                arguments["key"] = RunKey(VICTIM, scene.request_id, "crm_sync")
            if "tenant_id" in arguments:
                arguments["tenant_id"] = VICTIM
            if MARK in str(bound(**arguments)):
                seen.add(name)

    assert seen >= {
        "SpannerCalls.story",
        "SpannerDeadLetters.failures",
        "SpannerDeadLetters.read",
        "SpannerDeadLetters.runs",
        "SpannerRunStore.read",
        "SpannerStories.recent",
        "SpannerStories.tell",
    }


# -- the cache ----------------------------------------------------------------------------------------


@pytest.mark.emulators
def test_a_cached_tenant_never_answers_for_another(pipeline_database: PipelineDatabase) -> None:
    directory = SpannerTenantDirectory(pipeline_database.open, ttl_s=60, negative_ttl_s=60)

    for _ in range(2):  # from Spanner, then from the cache
        for tenant in (OUR_TENANT, OTHER_TENANT):
            found = directory.by_id(tenant.tenant_id)
            assert found is not None
            assert found.tenant_id == tenant.tenant_id
            assert directory.by_company(tenant.tenant_id) is None, "an id is no company"
            assert directory.by_webhook_token(tenant.tenant_id) is None, "an id is no token"
        assert directory.by_id(f"{VICTIM}x") is None
        assert directory.by_id(f"{VICTIM}\n") is None
        assert directory.by_id(VICTIM.upper()) is None


# -- events and object names --------------------------------------------------------------------------


def _delivery(**changes: str) -> Delivery:
    event = CallAnalyzed(tenant_id=ATTACKER, request_id="r-00000001", call_id=CALL)
    return Delivery("m", event.model_dump_json().encode(), {**event.attributes(), **changes}, "projects/p/s/x")


@pytest.mark.parametrize(
    "changes",
    [
        {"tenant_id": VICTIM},
        {"tenant_id": ""},
        {"tenant_id": ATTACKER.upper()},
        {"tenant_id": f"{ATTACKER} "},
        {"request_id": "r-00000002"},
        {"call_id": "CAL-of-the-victim"},
        {"type": "call_received"},
        {"version": "2"},
    ],
)
def test_an_event_whose_attributes_and_body_disagree_is_refused(changes: dict[str, str]) -> None:
    assert decode_event(_delivery()).tenant_id == ATTACKER

    with pytest.raises(InvalidEvent):
        decode_event(_delivery(**changes))


def test_an_event_without_its_tenant_attribute_is_refused() -> None:
    delivery = _delivery()
    attributes = {name: value for name, value in delivery.attributes.items() if name != "tenant_id"}

    with pytest.raises(InvalidEvent):
        decode_event(dataclasses.replace(delivery, attributes=attributes))


@pytest.mark.parametrize("body", [{"tenant_id": [VICTIM]}, {"tenant_id": f"../{VICTIM}"}, {"tenant_id": None}])
def test_an_event_with_a_tenant_that_is_none_is_refused(body: dict[str, Any]) -> None:
    delivery = _delivery()
    data = json.dumps({**json.loads(delivery.data), **body}).encode()

    with pytest.raises(InvalidEvent):
        decode_event(dataclasses.replace(delivery, data=data))


@pytest.mark.parametrize(
    "name",
    [
        f"transcripts/{ATTACKER}/../{VICTIM}/r-00000001/x.json",
        f"transcripts/{ATTACKER}/../../recordings/{VICTIM}/x.json",
        f"transcripts//{VICTIM}/r-00000001/x.json",
        f"/transcripts/{VICTIM}/r-00000001/x.json",
        f"transcripts/{VICTIM}%2fr-00000001/x.json",
        f"transcripts/{VICTIM}/",
        f"recordings/{VICTIM}/x.mp3",
        f"inbox/{VICTIM}/x.json",
        f"transcripts/{VICTIM.upper()}/r-00000001/x.json",
    ],
)
def test_an_object_name_that_is_not_plain_has_no_owner(name: str) -> None:
    with pytest.raises(InvalidEvent):
        owner_of_transcript(name)


@pytest.mark.parametrize(
    "call_id",
    ["CAL1", f"../{VICTIM}/CAL1", f"..%2f{VICTIM}", "a/b", "a\\b", ".", "..", "a\x00b", "\u202e", "x" * 500, ""],
)
def test_whatever_a_call_is_called_its_objects_stay_in_its_tenants_folder(call_id: str) -> None:
    name = recording_object(ATTACKER, call_id, "mp3")

    assert name.startswith(f"recordings/{ATTACKER}/")
    assert name.count("/") == 2
    assert not {"", ".", ".."} & set(name.split("/"))
    assert owner_of_transcript(transcript_prefix(ATTACKER, "r-00000001") + "x.json").tenant_id == ATTACKER


# -- the inbox ----------------------------------------------------------------------------------------


def _webhook(tenant_id: str) -> CallReceived:
    return CallReceived(
        tenant_id=tenant_id,
        request_id=first_request_id(tenant_id, CALL),
        call_id=CALL,
        kind="post_call",
        received_at=NOON,
        payload={"resource_id": CALL},
    )


def _kept(event: Event, **changes: str) -> bytes:
    return json.dumps({"attributes": {**event.attributes(), **changes}, "event": event.model_dump_json()}).encode()


@pytest.mark.parametrize(
    ("folder", "content"),
    [
        (VICTIM, _kept(_webhook(ATTACKER))),
        (ATTACKER, _kept(_webhook(VICTIM))),
        (ATTACKER, _kept(_webhook(ATTACKER), tenant_id=VICTIM)),
        (f"{ATTACKER}/../{VICTIM}", _kept(_webhook(VICTIM))),
        (ATTACKER, _kept(CallAnalyzed(tenant_id=ATTACKER, request_id=first_request_id(ATTACKER, CALL), call_id=CALL))),
    ],
)
def test_an_inbox_object_whose_name_attributes_and_event_disagree_starts_nothing(folder: str, content: bytes) -> None:
    request_id = first_request_id(ATTACKER, CALL)
    objects, publisher = MemoryObjects(), MemoryPublisher()
    objects.held[f"inbox/{folder}/{request_id}-0123456789abcdef.json"] = content

    Inbox(objects).drain(publisher)

    assert publisher.topics() == ["dead-letters"]


def test_an_inbox_object_in_its_place_is_published() -> None:
    objects, publisher = MemoryObjects(), MemoryPublisher()
    inbox = Inbox(objects)
    inbox.keep(_webhook(ATTACKER), _webhook(ATTACKER).attributes())

    inbox.drain(publisher)

    assert publisher.topics() == ["call-received"]


def test_two_tenants_with_the_same_call_share_no_name() -> None:
    ours, theirs = (
        {recording_object(tenant, CALL, "mp3"), first_request_id(tenant, CALL), incomplete_request_id(tenant, "r-1")}
        for tenant in (VICTIM, ATTACKER)
    )

    assert not ours & theirs


def test_ids_cannot_be_shifted_from_tenant_to_call() -> None:
    """`ab` + `c` and `a` + `bc` are two requests: the parts are kept apart before they are hashed."""
    assert first_request_id("tenant-ab", "c") != first_request_id("tenant-a", "bc")
    assert first_request_id("tenant-ab", "c") != first_request_id("tenant-", "abc")


def bring_to(scene: Scene, store: Any) -> None:
    """The store on the real database, with the keys that go with it."""
    store._open = scene.database.open
    if hasattr(store, "_vault"):
        store._vault = scene.database.vault
