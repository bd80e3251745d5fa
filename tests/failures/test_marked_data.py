"""Calls full of marked names, numbers, cards and tokens, through success and every kind of failure.

What the system then wrote (log, rows, messages, letters' attributes, what commands print) shows none of them.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
import structlog
from typer.testing import CliRunner

from handlers.cli.main import app
from handlers.dead_letter import DeadLetterTaker
from handlers.wiring import desk
from infra.local.standins.faults import FaultRule
from schemas.tenant import Tenant
from shared.deliveries import Delivery
from shared.gateways.calls import SpannerCalls
from shared.logs import configure_logging
from tests.support.audio import wav
from tests.support.flaky import Chain, secret_values
from tests.support.office import Office
from tests.support.ports import Message

pytestmark = pytest.mark.emulators

NAME = "Zephyrine Quackenbush"
NUMBER = "+13035550187"
CARD = "4111 1111 1111 1111"
SSN = "078-05-1120"
MAIL = "zephyrine.q@example.com"
SAID = f"I am {NAME}, my card is {CARD}, my number 303 555 0187, social {SSN}, mail {MAIL}"
MARKS = (
    "Zephyrine",
    "Quackenbush",
    "3035550187",
    "303 555 0187",
    "303-555-0187",
    CARD,
    CARD.replace(" ", ""),
    SSN,
    MAIL,
)
TABLES = (
    *("tenants", "processing_requests", "stage_runs", "call_records", "crm_syncs", "usage_ledger", "dead_letters"),
    *("dead_letter_failures", "audit_log", "vendor_circuits", "tenant_keysets", "crm_integrations"),
)
ECHO = {"message": f"Property values were not valid: phone {NUMBER} of {NAME} {MAIL}", "category": "VALIDATION_ERROR"}


def refused(operation: str, **answer: Any) -> list[FaultRule]:
    return [FaultRule(operation=operation, kind="status", times=99, **answer)]


def rubbish(operation: str, body: Any) -> list[FaultRule]:
    return [FaultRule(operation=operation, kind="rubbish", body=body, times=99)]


AS_JSON = json.dumps({"summary": SAID, "lead_score": SAID, NAME: CARD})
TROUBLE: dict[str, dict[str, list[FaultRule]]] = {
    "none": {},
    "CallRail says no": {"callrail": refused("recording.*", status=403, body=ECHO)},
    "CallRail fails": {"callrail": refused("recording.*", status=500, body=SAID)},
    "Speech fails": {"speech": refused("batch_recognize", grpc_code="INTERNAL")},
    "Speech answers rubbish": {"speech": rubbish("output", SAID)},
    "the model talks": {"vertex": rubbish("generate_content", {"text": SAID})},
    "the model repeats the call as JSON": {"vertex": rubbish("generate_content", {"text": AS_JSON})},
    "the model is down": {"vertex": refused("generate_content", grpc_code="UNAVAILABLE")},
    "HubSpot repeats its input": {"hubspot": refused("*", status=400, body=ECHO)},
    "HubSpot answers a page": {"hubspot": rubbish("*", f"<html>{SAID}</html>")},
    "Salesforce repeats its input": {"salesforce": refused("*", status=400, body=[{"errorCode": NAME, **ECHO}])},
}


@pytest.fixture
def log(capfd: pytest.CaptureFixture[str]) -> Iterator[Any]:
    """The production log, as a container writes it; returns a function that says what was written since."""
    before = structlog.get_config(), logging.root.handlers[:], logging.root.level
    configure_logging(service="test", project_id="p", level="INFO")
    structlog.configure(cache_logger_on_first_use=False)

    def written() -> str:
        streams = capfd.readouterr()
        return streams.out + streams.err

    yield written
    structlog.configure(**before[0])
    logging.root.handlers, level = before[1], before[2]
    logging.root.setLevel(level)


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.gateways.retry._BACKOFF", lambda _state: 0.01)


def marks_in(text: str) -> set[str]:
    return {mark for mark in MARKS if mark in text}


@pytest.mark.parametrize("trouble", TROUBLE)
def test_nothing_that_the_system_writes_shows_who_called(chain: Chain, office: Office, log: Any, trouble: str) -> None:
    say(chain, SAID)
    tenant = chain.new_tenant()
    for neighbour, rules in TROUBLE[trouble].items():
        chain.neighbours.plans[neighbour].add(*rules)
    marked = {
        "customer_name": NAME,
        "customer_phone_number": NUMBER,
        "note": f"card {CARD}, {MAIL}",
        "tags": [NAME],
        "agent_email": MAIL,
    }
    event = office.received(tenant, audio=wav(2.0, channels=2), **marked)
    broken = office.received(tenant, audio=wav(2.0), **marked, duration=f"for {NAME} {NUMBER}")
    for one in (event, broken):
        office.carry(one, tries=3)
    taker = DeadLetterTaker(desk(chain.settings))
    for number, letter in enumerate(office.letters()):
        taker(Delivery(f"m-{tenant.tenant_id}-{number}", letter.data, letter.attributes, "s"))

    logged = log()
    assert "stage_done" in logged or "stage_stopped" in logged, "the log was captured"
    assert marks_in(logged) == set()
    assert not re.search(r"pat-na1-|Bearer ", logged)
    assert [value for value in secret_values(tenant.tenant_id).values() if value in logged] == []

    where = f"WHERE tenant_id = '{tenant.tenant_id}'"
    letters = [row[0] for row in chain.database.rows(f"SELECT dead_letter_id FROM dead_letters {where}")]
    assert letters, "the call that cannot be read is one"
    rows = "\n".join(str(row) for table in TABLES for row in chain.database.rows(f"SELECT * FROM {table}"))
    assert marks_in(rows) == set()

    for message in office.publisher.messages:
        assert marks_in(json.dumps(dict(message.attributes))) == set(), message.topic
        if message.topic not in {"call-received", "dead-letters"}:  # decision 0010
            assert marks_in(message.data.decode()) == set(), message.topic

    assert marks_in(printed(tenant.tenant_id, letters, event.call_id, broken.call_id)) == set()


@pytest.mark.parametrize("trouble", ["none", "HubSpot repeats its input"])
def test_a_line_about_a_call_carries_its_own_tenant_and_nothing_of_another(
    chain: Chain, log: Any, trouble: str
) -> None:
    """Two tenants' calls go through the same process at the same time, as in a worker with many threads."""
    offices = {chain.new_tenant(): Office(chain) for _ in range(2)}
    ids: dict[str, set[str]] = {tenant.tenant_id: {tenant.tenant_id} for tenant in offices}
    for neighbour, rules in TROUBLE[trouble].items():
        chain.neighbours.plans[neighbour].add(*rules)

    def carry(tenant: Tenant) -> None:
        for _ in range(3):
            event = offices[tenant].received(tenant)
            ids[tenant.tenant_id] |= {event.call_id, event.request_id}
            offices[tenant].carry(event, tries=3)
            offices[tenant].take(Message("call-received", b"{}", event.attributes()))  # unreadable, with its ids

    log()
    with ThreadPoolExecutor(len(offices)) as workers:
        list(workers.map(carry, offices))
    for plan in chain.neighbours.plans.values():
        plan.clear()

    lines = [line for line in log().splitlines() if line.startswith("{")]
    for owner, known in ids.items():
        about = [line for line in lines if any(one in line for one in known)]
        assert {"stage_done", "dead_letter" if trouble != "none" else "stage_done"} <= {
            json.loads(line)["message"] for line in about
        }
        assert {json.loads(line).get("tenant_id") for line in about} == {owner}
    unreadable = [line for line in map(json.loads, lines) if line.get("reason") == "unknown_event_type"]
    assert [(line["stage"], line["message_id"], line.get("tenant_id")) for line in unreadable] == [
        ("download", "m-1", None)
    ] * 6


def test_a_card_that_was_said_is_neither_stored_nor_sent_to_a_crm(chain: Chain, office: Office) -> None:
    say(chain, f"{SAID}; spoken, four one one one one one one one one one one one one one one one")
    tenant = chain.new_tenant()
    event = office.received(tenant, audio=wav(2.0, channels=2), note=f"paid with {CARD}", customer_phone_number=NUMBER)

    office.carry(event)

    call = SpannerCalls(chain.database.open, chain.database.vault).get(tenant.tenant_id, event.call_id)
    assert call is not None
    assert call.transcript is not None
    heard = call.transcript.turns[-1].text
    assert heard.count("[card number]") == 2
    assert "[social security number]" in heard
    assert NAME in heard, "the business needs to know who called"
    assert office.crm_calls(event) == (1, 1)
    for crm in ("hubspot", "salesforce"):
        held = json.dumps(chain.neighbours.state(crm))
        assert [mark for mark in (CARD, SSN, "4111", "four one one one") if mark in held] == []
        assert "[card number]" in held


def say(chain: Chain, text: str) -> None:
    """What Speech hears from now on."""
    turns = [
        {"channel": 1, "start_s": 0, "end_s": 1, "text": "Example Plumbing, who is calling?"},
        {"channel": 2, "start_s": 1, "end_s": 2, "text": text},
    ]
    said = {"audio_uri": "*", "transcript": {"turns": turns}}
    url = f"{chain.neighbours.speech.admin_url}/_standin/transcripts"
    httpx.post(url, json=said, trust_env=False).raise_for_status()


def printed(tenant_id: str, letters: list[str], *call_ids: str) -> str:
    """The normal output of every command that looks at calls and letters."""
    commands = [
        *(["why", call_id, "--tenant", tenant_id] for call_id in call_ids),
        ["calls", "list", "--tenant", tenant_id],
        ["calls", "show", "--tenant", tenant_id, call_ids[0]],
        ["dead-letters", "list", "--tenant", tenant_id],
        ["dead-letters", "list", "--tenant", tenant_id, "--json"],
        *(["dead-letters", "show", letter, "--tenant", tenant_id] for letter in letters),
        ["dead-letters", "groups", "--tenant", tenant_id],
        ["tenant", "show", tenant_id],
        ["keys", "show", "--tenant", tenant_id],
    ]
    outputs = []
    for command in commands:
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, (command, result.output)
        outputs.append(f"{command}\n{result.output}")
    return "\n".join(outputs)
