"""Failures seen in other systems' replays (PostHog): only what failed is repeated, and not for ever."""

from __future__ import annotations

from dataclasses import replace

import pytest

from handlers import wiring
from handlers.dead_letter import DeadLetterTaker
from infra.local.standins.faults import FaultRule
from schemas.events import CallReceived
from shared.deliveries import Delivery
from shared.desk import Desk
from shared.errors import ConfigurationError
from tests.support.flaky import Chain
from tests.support.office import Office

pytestmark = pytest.mark.emulators

FINAL_NO = FaultRule(
    operation="calls.upsert", kind="status", status=400, body={"category": "VALIDATION_ERROR"}, times=10_000
)


def desk_of(office: Office) -> Desk:
    return replace(wiring.desk(office.chain.settings), publisher=office.publisher)


def record_letters(office: Office) -> None:
    """What the dead-letter worker does with everything that was given up since."""
    taker = DeadLetterTaker(desk_of(office))
    for number, letter in enumerate(office.letters()):
        delivery = Delivery(f"dl-{number}", letter.data, letter.attributes, "projects/p/subscriptions/dead-letter")
        assert taker(delivery).status == 204


def given_up(office: Office) -> tuple[CallReceived, str]:
    """A call that HubSpot refused for good and Salesforce took; and its dead letter."""
    office.chain.neighbours.plans["hubspot"].add(FINAL_NO)
    event = office.received(office.chain.new_tenant())
    office.carry(event)
    assert office.runs(event)["crm_sync"] == "failed"
    record_letters(office)
    (letter,) = desk_of(office).list_letters(event.tenant_id, limit=10)
    return event, letter.dead_letter_id


def requests_to_salesforce(office: Office, event: CallReceived) -> object:
    return office.chain.neighbours.state("salesforce")["orgs"][f"{event.tenant_id}-consumer"]["requests"]


def test_replay_repeats_what_worked(chain: Chain, office: Office) -> None:
    """PostHog#100792, #100830: HubSpot down, Salesforce up. The replay asks HubSpot and nobody else."""
    event, letter_id = given_up(office)
    assert office.crm_calls(event) == (0, 1)
    before = requests_to_salesforce(office, event)
    chain.neighbours.plans["hubspot"].clear()

    desk_of(office).replay(event.tenant_id, letter_id, actor="test")
    office.carry(event)

    assert office.request_state(event) == "done"
    assert office.crm_calls(event) == (1, 1)
    assert requests_to_salesforce(office, event) == before


def test_replay_repeats_what_worked_when_the_same_message_is_replayed_twice(chain: Chain, office: Office) -> None:
    event, letter_id = given_up(office)
    chain.neighbours.plans["hubspot"].clear()
    desk_of(office).replay(event.tenant_id, letter_id, actor="test")
    again = office.publisher.messages[-1]
    office.publisher.messages.append(again)  # Pub/Sub delivers twice

    office.carry(event)

    assert office.crm_calls(event) == (1, 1)
    assert office.request_state(event) == "done"


def test_replay_loops(office: Office) -> None:
    """PostHog#94320: replayed before the fix, again and again. It ends by itself, and the letter stays visible."""
    event, letter_id = given_up(office)
    rounds = 0
    while replayed(office, event, letter_id):
        rounds += 1
        assert rounds < 20, "nothing ends it"

    assert rounds >= 1
    (letter,) = desk_of(office).list_letters(event.tenant_id, limit=10)
    assert (letter.dead_letter_id, letter.state) == (letter_id, "open")


def replayed(office: Office, event: CallReceived, letter_id: str) -> bool:
    """One replay that fails again; False once the desk refuses to go on."""
    try:
        desk_of(office).replay(event.tenant_id, letter_id, actor="test")
    except ConfigurationError:
        return False
    office.carry(event)
    record_letters(office)
    return True
