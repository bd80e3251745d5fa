"""What the vendors answer: HubSpot, Salesforce, CallRail's API, its recordings, and the Retry-After of them all."""

from __future__ import annotations

import atexit
import json
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from hypothesis import strategies as st

from schemas.tenant import SalesforceConfig
from shared.answers import consequence_of
from shared.backfill import ApiAccess, call_key, compare, read_call
from shared.errors import PipelineError, TransientFailure
from shared.gateways.callrail_api import CallRailApi
from shared.gateways.callrail_budget import RequestBudgets
from shared.gateways.http import json_client, retry_after_s
from shared.gateways.hubspot import HubSpotGateway
from shared.gateways.hubspot_schema import PROPERTIES
from shared.gateways.recordings import CallRailRecordings
from shared.gateways.salesforce import SalesforceGateway
from shared.gateways.salesforce_setup import OUR_FIELDS
from tests.fuzz.canned import Canned, Replies, canned_server
from tests.fuzz.material import TOKEN, json_bytes
from tests.fuzz.target import Finding, Target
from tests.support.crm_calls import CALLER, HeldSecrets, crm_call
from tests.support.salesforce_org import client_credentials
from tests.support.tenants import make_tenant
from tests.support.webhooks import POST_CALL

NOW = datetime(2026, 11, 23, 18, 30, tzinfo=UTC)
_BUDGET_S = 0.05
"""For the retries inside a gateway: what is fuzzed is the reading of answers, not the waiting."""
_STATUSES = (200, 200, 200, 200, 201, 204, 207, 207, 300, 302, 400, 401, 403, 404, 408, 409, 423, 429, 477, 500, 503)

_waits = st.one_of(
    st.sampled_from((b"0", b"1", b"5", b"120", b"-1", b"1.5", b"\xb2", b"9" * 400, b"99999999999999", b"", b"soon")),
    st.sampled_from((b"Wed, 21 Oct 2026 07:28:00 GMT", b"Wed, 21 Oct 2026 07:28:00 -0000", b"Mon, 99 Foo 99999")),
    st.binary(max_size=12).filter(lambda value: not set(value) & set(b"\r\n\x00")),
    st.text("0123456789 :,+-GMTOctWed", max_size=30).map(str.encode),
)


@st.composite
def replies(draw: st.DrawFn, places: tuple[str, ...], documents: tuple[Any, ...]) -> Replies:
    """Up to three answers to requests at these places; all others are good."""
    made = []
    for _ in range(draw(st.integers(1, 3))):
        headers: tuple[tuple[bytes, bytes], ...] = ((b"Content-Type", b"application/json"),)
        if draw(st.booleans()):
            headers += ((b"Retry-After", draw(_waits)),)
        status = draw(st.sampled_from(_STATUSES))
        made.append((draw(st.sampled_from(places)), status, headers, draw(json_bytes(*documents))))
    return tuple(made)


def check_wait(given: bytes) -> None:
    """Seconds that a row can be put to sleep for, or nothing."""
    hint = retry_after_s(httpx.Response(429, headers=[(b"Retry-After", given)]), now=NOW)
    consequence = consequence_of(TransientFailure("throttled", "asked to wait", retry_after_s=hint), now=NOW)
    if hint is not None and not 0 <= hint <= timedelta(days=2).total_seconds():
        raise Finding(f"waits for {hint} s")
    if consequence.answer and consequence.answer.retry_after_s is not None:
        round(consequence.answer.retry_after_s)


# -- HubSpot -------------------------------------------------------------------------------------------

_CONTACT = {"id": "101", "properties": {"phone": CALLER, "mobilephone": None, "createdate": "2026-11-01T00:00:00Z"}}
_MADE = {"id": "102", "new": True, "properties": {"ext_call_id": "CAL1"}}
_MISS = {"status": "error", "category": "OBJECT_NOT_FOUND", "message": "not found", "context": {"ids": ["1"]}}
HUBSPOT = (
    {"total": 1, "results": [_CONTACT]},
    {"status": "COMPLETE", "results": [_MADE], "numErrors": 0},
    {"status": "COMPLETE", "results": [], "numErrors": 1, "errors": [_MISS]},
    {"status": "COMPLETE", "results": [_MADE], "errors": [{**_MISS, "category": "VALIDATION_ERROR"}]},
    {
        "status": "error",
        "category": "VALIDATION_ERROR",
        "correlationId": "aeb5f871-7f07-4993-9211-075dc63e7cbf",
        "message": 'Property values were not valid: [{"error":"PROPERTY_DOESNT_EXIST","name":"ext_lead_score"}]',
        "errors": [{"message": "bad", "code": "INVALID_OPTION", "context": {"propertyName": ["hs_call_status"]}}],
    },
    {"status": "error", "category": "RATE_LIMITS", "policyName": "DAILY", "message": "daily limit"},
    {"results": [{"name": spec.name, **spec.as_json()} for specs in PROPERTIES.values() for spec in specs][:3]},
)
_HUBSPOT_GOOD = {
    "/search": b'{"total": 0, "results": []}',
    "/batch/read": json.dumps(HUBSPOT[2]).encode(),
    "/batch/upsert": json.dumps(HUBSPOT[1]).encode(),
    "/associations/": b'{"status": "COMPLETE", "results": []}',
    "/crm/properties/": b'{"results": []}',
    "/contacts/": json.dumps(_CONTACT).encode(),
}


def check_hubspot(given: Replies) -> None:
    """A sync and an onboarding end with a record, lines or one of our errors."""
    with ExitStack() as stack:
        canned = stack.enter_context(_vendor())
        client = stack.enter_context(json_client(canned.url))
        secrets = HeldSecrets(own=TOKEN)
        gateway = HubSpotGateway(
            client, secrets=secrets, token_secret="own", clock=lambda: NOW, budget_s=_BUDGET_S, request_timeout_s=1.0
        )
        canned.say(given, otherwise=_HUBSPOT_GOOD)
        _in_our_words(lambda: gateway.sync_call(crm_call()).model_dump_json(), canned)
        canned.say(given, otherwise=_HUBSPOT_GOOD)
        _in_our_words(gateway.prepare, canned)


# -- Salesforce ----------------------------------------------------------------------------------------


def _field(name: str) -> dict[str, Any]:
    picklist = [{"value": "Call", "active": True}]
    facts = {"createable": True, "updateable": True, "unique": True, "externalId": True, "length": 255}
    return {"name": name, **facts, "restrictedPicklist": False, "picklistValues": picklist}


_LEAD = {
    "attributes": {"type": "Lead", "url": "/services/data/v66.0/sobjects/Lead/00Q1"},
    "Id": "00Q000000000001AAA",
    "Phone": CALLER,
    "IsConverted": False,
    "ConvertedContactId": None,
    "CreatedDate": "2026-11-01T00:00:00.000+0000",
}
_WRITTEN = {"body": {"id": "00Q000000000002AAA", "success": True, "errors": []}, "httpHeaders": {}}
_REFUSED = {"errorCode": "INVALID_FIELD", "message": "No such column 'Ext_Lead_Score__c' on Lead", "fields": ["Rating"]}
_COMPOSITE = {
    "compositeResponse": [
        {**_WRITTEN, "httpStatusCode": 201, "referenceId": "person"},
        {**_WRITTEN, "httpStatusCode": 201, "referenceId": "task"},
    ]
}
SALESFORCE = (
    {"searchRecords": [_LEAD]},
    {"totalSize": 1, "done": True, "records": [{**_LEAD, "WhoId": "003000000000001AAA"}]},
    {"name": "Lead", "fields": [_field("Phone"), _field("Rating")]},
    _COMPOSITE,
    {
        "compositeResponse": [
            {"body": [{"errorCode": "PROCESSING_HALTED", "message": "rolled back"}], "httpStatusCode": 400}
            | {"referenceId": "person"},
            {"body": [_REFUSED], "httpStatusCode": 400, "referenceId": "task"},
        ]
    },
    [_REFUSED],
    [{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "ConcurrentRequests limit exceeded."}],
    {"error": "invalid_grant", "error_description": "authentication failure"},
    {"access_token": "00Dxx!token", "instance_url": "https://acme.my.salesforce.com", "token_type": "Bearer"},
)
_SALESFORCE_GOOD = {
    "/oauth2/token": json.dumps(SALESFORCE[-1]).encode(),
    "/describe": json.dumps({"fields": [_field(name) for name in sorted(OUR_FIELDS)]}).encode(),
    "/search/": b'{"searchRecords": []}',
    "/query/": b'{"records": []}',
    "/composite": json.dumps(_COMPOSITE).encode(),
}


def check_salesforce(given: Replies) -> None:
    """A sync and an onboarding end with a record, lines or one of our errors."""
    with ExitStack() as stack:
        canned = stack.enter_context(_vendor())
        secrets = HeldSecrets(sf=client_credentials("key", TOKEN))
        gateway = SalesforceGateway(
            SalesforceConfig(credentials_secret="sf"),
            secrets,
            clock=lambda: NOW,
            login_url_override=canned.url,
            budget_s=_BUDGET_S,
        )
        stack.callback(gateway.close)
        canned.say(given, otherwise=_SALESFORCE_GOOD)
        _in_our_words(lambda: gateway.sync_call(crm_call()).model_dump_json(), canned)
        canned.say(given, otherwise=_SALESFORCE_GOOD)
        _in_our_words(gateway.prepare, canned)


# -- CallRail ------------------------------------------------------------------------------------------

_NEXT = "https://api.callrail.com/v3/a/ACC1/calls.json?offset=abc"
CALLRAIL = (
    {"calls": [POST_CALL, {**POST_CALL, "id": "CAL2"}], "has_next_page": False, "next_page": None},
    {"calls": [{"id": "CAL3", "duration": 5, "start_time": "2026-11-23T12:00:00Z"}], "has_next_page": True}
    | {"next_page": _NEXT},
    {"url": "https://app.callrail.com/recordings/audio"},
    {"error": "not found"},
)
_CALLRAIL_GOOD = {
    "/calls.json": json.dumps(CALLRAIL[0]).encode(),
    "recording.json": json.dumps(CALLRAIL[2]).encode(),
    "/audio": b"RIFF" + b"\x00" * 40,
}


def check_callrail(given: Replies) -> None:
    """A backfill's list ends, and each of its calls is compared or refused."""
    with ExitStack() as stack:
        canned = stack.enter_context(_vendor())
        secrets = HeldSecrets(key=TOKEN)
        budgets = RequestBudgets()
        api = CallRailApi(secrets, budgets, now=lambda: NOW, local_base_url=canned.url, retry_budget_s=_BUDGET_S)
        stack.callback(api.close)
        canned.say(given, otherwise=_CALLRAIL_GOOD)

        def list_all() -> None:
            access = ApiAccess("ACC1", "key")
            for page in api.pages(access, company_id="COM1", since=NOW - timedelta(days=1), until=NOW):
                for call in page:
                    call_key(call)
                listed = [found for call in page if (found := read_call(call, company_id="COM1"))]
                compare(listed, started=set(), seen=set(), now=NOW)

        _in_our_words(list_all, canned)


def check_recording(given: Replies) -> None:
    """A recording is audio in chunks or one of our errors."""
    with ExitStack() as stack:
        canned = stack.enter_context(_vendor())
        tenant = make_tenant(callrail_account_id="ACC1", callrail_api_key_secret="key")
        recordings = CallRailRecordings(
            HeldSecrets(key=TOKEN),
            max_bytes=10_000,
            local_base_url=canned.url,
            total_timeout_s=_BUDGET_S,
            read_timeout_s=1.0,
        )
        canned.say(given, otherwise=_CALLRAIL_GOOD)

        def read() -> None:
            with recordings.open(tenant, call_id="CAL1", recording_url="") as stream:
                size = sum(len(chunk) for chunk in stream.chunks)
            if size > 10_000:
                raise Finding("more bytes than allowed")

        _in_our_words(read, canned)


def _in_our_words(act: Any, canned: Canned) -> None:
    """Errors of ours pass, once they were looked through; anything else is a finding."""
    from tests.fuzz.target import look_through

    try:
        act()
    except PipelineError as error:
        look_through(error)
        consequence_of(error, now=NOW)
    if canned.is_flooded:
        raise Finding("asks on for ever")


_running = ExitStack()
atexit.register(_running.close)  # left to the end of the interpreter, it would wait for a thread that runs no more
_servers: list[Canned] = []


def _vendor() -> Any:
    """The one server of this process."""
    from contextlib import nullcontext

    if not _servers:
        _servers.append(_running.enter_context(canned_server()))
    return nullcontext(_servers[0])


TARGETS = (
    Target("retry_after", _waits, check_wait),
    Target("hubspot_reply", replies(tuple(_HUBSPOT_GOOD), HUBSPOT), check_hubspot),
    Target("salesforce_reply", replies(tuple(_SALESFORCE_GOOD), SALESFORCE), check_salesforce),
    Target("callrail_list", replies(("/calls.json",), CALLRAIL), check_callrail),
    Target("callrail_recording", replies(("recording.json", "/audio"), CALLRAIL), check_recording),
)
