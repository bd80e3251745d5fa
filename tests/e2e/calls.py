"""Calls for end-to-end tests: posted as CallRail posts them, and looked for in the CRMs afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from infra.local.demo_tenant import DEMO_COMPANY_ID
from infra.local.recordings.catalogue import SampleCall, load_catalogue
from infra.local.senders import encode, new_call_id, post_webhook, put_recording
from shared.gateways.hubspot_schema import CALL_KEY as HUBSPOT_CALL_KEY
from shared.gateways.salesforce_fields import CALL_KEY as SALESFORCE_CALL_KEY
from tests.support.stack import LocalStack
from tests.support.webhooks import MISSED_CALL

Payload = dict[str, Any]


@dataclass(frozen=True)
class PostedCall:
    """A call that the receiver accepted."""

    call_id: str
    request_id: str
    payload: Payload


@dataclass(frozen=True)
class Held:
    """What one call left in the CRMs, whoever's accounts they are."""

    hubspot_calls: list[dict[str, Any]]
    hubspot_contacts: list[dict[str, Any]]
    """The contacts that those calls hang on."""
    salesforce_tasks: list[dict[str, Any]]
    salesforce_people: list[dict[str, Any]]
    """The Leads and Contacts that those Tasks hang on."""

    def counts(self) -> tuple[int, int, int, int]:
        """HubSpot calls and contacts, Salesforce Tasks and people."""
        return (
            len(self.hubspot_calls),
            len(self.hubspot_contacts),
            len(self.salesforce_tasks),
            len(self.salesforce_people),
        )


ONE_OF_EACH = (1, 1, 1, 1)


def sample(script_id: str) -> SampleCall:
    """One of the project's sample calls."""
    return next(call for call in load_catalogue() if call.script.id == script_id)


def sample_payload(stack: LocalStack, call: SampleCall) -> Payload:
    """A new webhook body for a sample call, its recording put into CallRail's stand-in."""
    call_id = new_call_id()
    link = put_recording(stack.env["CALLRAIL_URL"], call_id=call_id, audio=call.audio_path) if call.audio_path else ""
    return call.webhook_payload(
        call_id=call_id, company_id=DEMO_COMPANY_ID, started_at=_minutes_ago(4), recording_url=link
    )


def missed_call(*, number: str, company_id: str = DEMO_COMPANY_ID) -> Payload:
    """A new call without audio: the quickest way through the whole chain."""
    return MISSED_CALL | {
        "resource_id": new_call_id(),
        "company_resource_id": company_id,
        "start_time": _minutes_ago(4).isoformat(),
        "customer_phone_number": number,
        "callernum": number,
    }


def post(stack: LocalStack, payload: Mapping[str, Any], *, key: str | None = None, event: str = "") -> httpx.Response:
    """Post a signed JSON webhook; with `event`, to the demo tenant's own address."""
    return post_webhook(
        stack.env["WEBHOOK_URL"],
        encode(payload),
        key=key or stack.env["DEMO_WEBHOOK_SECRET"],
        own_address=f"{stack.env['DEMO_WEBHOOK_TOKEN']}/{event}" if event else "",
    )


def accepted(stack: LocalStack, payload: Payload, *, key: str | None = None, event: str = "") -> PostedCall:
    """Post, and make sure that it was accepted.

    Again where nothing was kept: a receiver that has just started knows no tenant yet, and on a loaded machine Spanner
    may not name it in time. (CallRail would not send it again; the reconciliation finds such a call.)
    """
    for _attempt in range(3):
        answer = post(stack, payload, key=key, event=event)
        if answer.status_code != 503:
            break
    assert answer.status_code == 202, answer.text
    return PostedCall(answer.json()["call_id"], answer.json()["request_id"], payload)


def held(stack: LocalStack, call_id: str) -> Held:
    """Read a call back from the CRMs' stand-ins."""
    hubspot = stack.state("hubspot")
    calls = [item for item in hubspot["calls"] if item["properties"].get(HUBSPOT_CALL_KEY) == call_id]
    contact_ids = {(item["portal"], contact) for item in calls for contact in item["associations"]["contacts"]}
    orgs = stack.state("salesforce")["orgs"].values()
    tasks = [task for org in orgs for task in org["tasks"] if task.get(SALESFORCE_CALL_KEY) == call_id]
    people_ids = {task.get("WhoId") for task in tasks}
    return Held(
        hubspot_calls=calls,
        hubspot_contacts=[item for item in hubspot["contacts"] if (item["portal"], item["id"]) in contact_ids],
        salesforce_tasks=tasks,
        salesforce_people=[
            person for org in orgs for person in (*org["leads"], *org["contacts"]) if person["Id"] in people_ids
        ],
    )


def let_the_queue_pass(stack: LocalStack, *, number: str) -> None:
    """Send another call through every stage: whatever was published before it has been delivered by then."""
    last = accepted(stack, missed_call(number=number))
    assert stack.end_of(last.request_id, call_id=last.call_id) == "done"


def speech_operations(stack: LocalStack, call_id: str) -> list[dict[str, Any]]:
    """Every recognition that was started, and would be paid, for a call."""
    operations = stack.state("speech")["operations"]
    return [item for item in operations if any(call_id in uri for uri in item["audio_uris"])]


def _minutes_ago(minutes: int) -> datetime:
    return datetime.now(UTC) - timedelta(minutes=minutes)
