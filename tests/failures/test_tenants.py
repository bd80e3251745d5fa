"""Failures between tenants and integrations (Outpost, Convoy): mistakes stay their own, and nothing is swallowed."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from google.cloud.spanner_v1 import JsonObject

from infra.local.standins.faults import FaultRule
from schemas.events import CallReceived
from schemas.tenant import Tenant
from shared.claims import RunKey
from shared.gateways.calls import SpannerCalls
from shared.gateways.circuit_store import SpannerCircuits
from shared.gateways.dead_letter_store import SpannerDeadLetters
from shared.gateways.run_store import SpannerRunStore
from shared.gateways.sweep_store import SpannerSweepStore
from tests.support.audio import wav
from tests.support.flaky import Chain
from tests.support.office import Office
from tests.support.waiting import eventually

pytestmark = pytest.mark.emulators

HOURS_OF_A_DAY = 6
"""Sweeps in a day of trouble; more would only repeat."""


def a_day_of_sweeps(office: Office, event: CallReceived) -> None:
    for _ in range(HOURS_OF_A_DAY):
        office.clock.advance(4 * 3600)
        office.sweep()
        office.carry(event)


def until_all_arrive(office: Office, events: list[CallReceived]) -> None:
    def look() -> bool:
        office.clock.advance(3600)
        office.sweep()
        office.carry(events[0])
        return all(office.request_state(event) == "done" for event in events)

    eventually(look, what="every call arrives", timeout_s=30)


def test_tenants_mistake_fills_the_dead_letters(chain: Chain, office: Office) -> None:
    """outpost#571: a wrong CRM token for a day. No dead letter, every call kept, all of them flow once it is mended."""
    tenant = chain.new_tenant()
    refused = FaultRule(operation="*", kind="status", status=401, times=10_000)
    chain.neighbours.plans["hubspot"].add(refused)
    events = [office.received(tenant) for _ in range(5)]
    office.carry(events[0])

    a_day_of_sweeps(office, events[0])

    assert office.letters() == []
    assert {office.request_state(event) for event in events} == {"blocked"}
    assert [office.crm_calls(event) for event in events] == [(0, 1)] * 5, "the other CRM has each call, once"
    fixes = chain.database.rows(f"SELECT DISTINCT error_fix FROM stage_runs WHERE tenant_id = '{tenant.tenant_id}'")
    assert ["put a valid HubSpot token into the tenant's token secret"] in fixes

    chain.neighbours.plans["hubspot"].clear()
    until_all_arrive(office, events)
    assert [office.crm_calls(event) for event in events] == [(1, 1)] * 5


def test_one_tenants_mistake_is_nobody_elses(chain: Chain, office: Office) -> None:
    ours, theirs = chain.new_tenant(), chain.new_tenant()
    set_status(chain, ours, "suspended")
    held, free = office.received(ours), office.received(theirs)
    office.carry(held)
    assert office.request_state(held) == "blocked"
    assert office.crm_calls(free) == (1, 1)


def test_switched_off_destination_swallows_events(chain: Chain, office: Office) -> None:
    """outpost#611: switched off for a day. Everything that was under way is kept, visible, and sent on resume."""
    tenant = chain.new_tenant()
    events = [office.received(tenant) for _ in range(3)]
    set_status(chain, tenant, "suspended")
    office.carry(events[0])

    a_day_of_sweeps(office, events[0])

    assert {office.request_state(event) for event in events} == {"blocked"}
    assert office.letters() == []
    set_status(chain, tenant, "active")
    until_all_arrive(office, events)
    assert [office.crm_calls(event) for event in events] == [(1, 1)] * 3


def test_an_unreadable_configuration_costs_no_delivery_and_no_call(chain: Chain, office: Office) -> None:
    """A document that this release cannot read, for a day: with new calls, and with one whose audio Speech has."""
    tenant, neighbour = chain.new_tenant(), chain.new_tenant()
    under_way = office.received(tenant, audio=wav(1.0))
    for topic in ("call-received", "recording-stored"):
        assert office.take(next(message for message in office.publisher.messages if message.topic == topic)) == 204
    chain.neighbours.speech.book.wait_until_idle()
    spoil_configuration(chain, tenant)

    assert set(office.notify(under_way)) == {204}, "acknowledged: a redelivery cannot mend a document"
    started, free = office.received(tenant), office.received(neighbour)
    office.carry(started, notices=False, tries=1)
    a_day_of_sweeps(office, started)

    assert office.letters() == []
    assert {office.request_state(event) for event in (under_way, started)} == {"blocked"}
    assert {(run["state"], run["attempt"]) for run in blocked_runs(chain, tenant)} == {("blocked", 1)}
    assert {run["error_code"] for run in blocked_runs(chain, tenant)} == {"tenant_config_unreadable"}
    assert office.crm_calls(free) == (1, 1)

    set_status(chain, tenant, "active")  # writes the readable document again
    until_all_arrive(office, [under_way, started])
    assert [office.crm_calls(event) for event in (under_way, started)] == [(1, 1)] * 2
    paid = chain.neighbours.speech.book.state()["started"]
    assert sum(count for uri, count in paid.items() if f"/{tenant.tenant_id}/" in uri) == 1


def spoil_configuration(chain: Chain, tenant: Tenant) -> None:
    with chain.database.database.batch() as batch:
        batch.update("tenants", ("tenant_id", "config"), [(tenant.tenant_id, JsonObject({"from": "another release"}))])


def blocked_runs(chain: Chain, tenant: Tenant) -> list[dict[str, object]]:
    columns = ("state", "attempt", "error_code")
    rows = chain.database.rows(
        f"SELECT {', '.join(columns)} FROM stage_runs WHERE tenant_id = '{tenant.tenant_id}' AND state != 'done'"
    )
    return [dict(zip(columns, row, strict=True)) for row in rows]


def set_status(chain: Chain, tenant: Tenant, status: str) -> None:
    with chain.database.database.batch() as batch:
        batch.update(
            table="tenants",
            columns=("tenant_id", "status", "config"),
            values=[(tenant.tenant_id, status, JsonObject(json.loads(tenant.config.model_dump_json())))],
        )


# -- cross-tenant read in a look-up by id ----------------------------------------------------------------------------

Look = Callable[[Chain, str, CallReceived], object]

LOOKS: dict[str, Look] = {
    "a call": lambda chain, tenant_id, event: SpannerCalls(chain.database.open, chain.database.vault).get(
        tenant_id, event.call_id
    ),
    "a call's story": lambda chain, tenant_id, event: SpannerCalls(chain.database.open, chain.database.vault).story(
        tenant_id, event.call_id
    ),
    "recent calls": lambda chain, tenant_id, _: SpannerCalls(chain.database.open, chain.database.vault).list_recent(
        tenant_id, limit=10
    ),
    "a run": lambda chain, tenant_id, event: SpannerRunStore(chain.database.open, chain.database.vault).read(
        RunKey(tenant_id, event.request_id, "download")
    ),
    "circuits": lambda chain, tenant_id, _: SpannerCircuits(chain.database.open).read_all(tenant_id),
    "stuck requests": lambda chain, tenant_id, event: SpannerSweepStore(
        chain.database.open, chain.database.vault
    ).stuck(tenant_id, stale_before=event.received_at, limit=10),
    "a dead letter": lambda chain, tenant_id, _: SpannerDeadLetters(chain.database.open, chain.database.vault).read(
        tenant_id, "d-1"
    ),
}


@pytest.mark.parametrize("what", LOOKS)
def test_cross_tenant_read_in_a_look_up_by_id(chain: Chain, office: Office, what: str) -> None:
    """convoy#2755, #2760: another tenant's ids find nothing."""
    ours, stranger = chain.new_tenant(), chain.new_tenant()
    event = office.received(ours, audio=wav(1.0))
    office.carry(event)
    assert office.request_state(event) == "done"
    look = LOOKS[what]
    if what in {"a call", "a call's story", "recent calls", "a run"}:
        assert look(chain, ours.tenant_id, event), "there is something to be seen"
    assert not look(chain, stranger.tenant_id, event)


def test_an_event_cannot_speak_for_another_tenant(chain: Chain, office: Office) -> None:
    ours, stranger = chain.new_tenant(), chain.new_tenant()
    event = office.received(ours)
    message = office.publisher.messages[-1]
    assert office.take(message, tenant_id=stranger.tenant_id) == 204
    assert [letter.attributes["dl_reason"] for letter in office.letters()] == ["attributes_disagree"]
    assert office.runs(event) == {}
