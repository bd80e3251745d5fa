"""What the webhook service accepts: real requests through functions-framework, and the one message of each."""

from __future__ import annotations

import json
from typing import Any

import pytest

from handlers.signature import callrail_signature, forwarder_signature
from handlers.webhook import SHARED_PATH
from handlers.webhook_body import FORM_TYPE
from schemas.webhooks import EVENT_KINDS
from shared.names import first_request_id
from shared.traces import trace_of_request
from tests.support.ports import NOON
from tests.support.receiver_bench import (
    OURS,
    POST_CALL_PATH,
    TOKEN,
    Bench,
)
from tests.support.tenants import SIGNING_KEY
from tests.support.webhooks import (
    CALL,
    CALL_MODIFIED,
    FORM_SUBMISSION,
    GUIDES_TEST,
    MISSED_CALL,
    POST_CALL,
    PRE_CALL,
    TEXT_MESSAGE,
    VOICE_ASSIST,
    as_form,
    as_json,
)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_signed_webhook_is_published_and_answered_with_the_request_it_started(bench: Bench) -> None:
    answer = bench.post(POST_CALL)
    event = bench.event()
    assert answer.status_code == 202
    assert answer.get_json() == {
        "status": "accepted",
        "kind": "post_call",
        "call_id": CALL,
        "request_id": first_request_id(OURS.tenant_id, CALL),
    }
    assert answer.headers["X-Request-Id"] == event.request_id
    assert (event.tenant_id, event.call_id, event.kind, event.origin) == (OURS.tenant_id, CALL, "post_call", "webhook")
    assert event.received_at == NOON
    assert event.payload == POST_CALL


def test_mistake_2_the_tenant_comes_from_the_address_and_not_from_the_body(bench: Bench) -> None:
    anonymous = {name: value for name, value in POST_CALL.items() if not name.startswith("company")}
    assert bench.post(anonymous, path=POST_CALL_PATH).status_code == 202
    assert bench.event().tenant_id == OURS.tenant_id


def test_mistake_4_the_signature_covers_the_raw_bytes_however_oddly_they_are_written(bench: Bench) -> None:
    body = (
        as_json(POST_CALL).replace(b": ", b" :\t").replace(b"Denver", b"Den\\u0076er").replace(b"/", b"\\/") + b"\r\n"
    )
    assert json.loads(body) == POST_CALL
    assert bench.post(body).status_code == 202


def test_mistake_9_a_body_with_a_resource_id_only_is_processed(bench: Bench) -> None:
    assert "id" not in POST_CALL
    bench.post(POST_CALL)
    assert bench.event().call_id == CALL


@pytest.mark.parametrize("content_type", [FORM_TYPE, f"{FORM_TYPE}; charset=utf-8"])
def test_mistake_10_a_form_body_is_processed(bench: Bench, content_type: str) -> None:
    assert bench.post(as_form(POST_CALL), content_type=content_type).status_code == 202
    assert bench.event().kind == "post_call"
    assert bench.event().payload["answered"] == "true"


def test_mistake_11_a_false_that_is_a_text_arrives_as_it_was_sent(bench: Bench) -> None:
    bench.post(as_form(MISSED_CALL), content_type=FORM_TYPE)
    assert bench.event().payload["answered"] == "false"


def test_mistake_13_the_webhook_publishes_one_message_and_does_nothing_else(bench: Bench) -> None:
    bench.post(POST_CALL)
    assert bench.publisher.topics() == ["call-received"]


@pytest.mark.parametrize("path", [SHARED_PATH, POST_CALL_PATH])
def test_mistake_22_a_pre_call_body_never_starts_a_call(bench: Bench, path: str) -> None:
    bench.post(PRE_CALL, path=path)
    assert bench.event().kind == "pre_call"
    assert bench.event().request_id != first_request_id(OURS.tenant_id, CALL)


def test_the_guides_test_payload_is_accepted(bench: Bench) -> None:
    assert bench.post(GUIDES_TEST).status_code == 202
    assert bench.event().call_id == "TEST123456789"


@pytest.mark.parametrize(
    ("payload", "event_name", "kind"),
    [
        (CALL_MODIFIED, "call-modified", "call_modified"),
        (TEXT_MESSAGE, "text-received", "text_message"),
        (TEXT_MESSAGE, "post-call", "text_message"),
        (FORM_SUBMISSION, "form-submitted", "form_submission"),
        (VOICE_ASSIST, "other", "unknown"),
        (VOICE_ASSIST, "post-call", "unknown"),
    ],
)
def test_every_kind_is_accepted_and_published_with_its_kind(
    bench: Bench, payload: dict[str, Any], event_name: str, kind: str
) -> None:
    assert bench.post(payload, path=f"{SHARED_PATH}/{TOKEN}/{event_name}").status_code == 202
    assert bench.event().kind == kind
    assert bench.event().payload == payload


@pytest.mark.parametrize("event_name", sorted(EVENT_KINDS))
def test_every_trigger_of_callrail_has_an_address(bench: Bench, event_name: str) -> None:
    assert bench.post(POST_CALL, path=f"{SHARED_PATH}/{TOKEN}/{event_name}").status_code == 202


def test_the_same_post_call_twice_is_one_request_and_two_modifications_are_two(bench: Bench) -> None:
    again = bench.post(POST_CALL | {"duration": "215"}).get_json()
    assert bench.post(POST_CALL).get_json() == again
    first = bench.post(CALL_MODIFIED).get_json()
    assert bench.post(CALL_MODIFIED).get_json() == first
    second = bench.post(CALL_MODIFIED | {"note": "Wednesday"}).get_json()
    assert len({again["request_id"], first["request_id"], second["request_id"]}) == 3


def test_a_calls_trace_is_its_own_whatever_the_sender_says(bench: Bench) -> None:
    """A stranger could put all calls into one trace, or have everything recorded."""
    raw = as_json(POST_CALL)
    for given in ("00-" + "1" * 32 + "-" + "2" * 16 + "-01", "rubbish"):
        bench.post(raw, headers={"Signature": callrail_signature(SIGNING_KEY, raw), "traceparent": given})
    first, second = (message.attributes for message in bench.publisher.messages)
    own = trace_of_request(first["tenant_id"], first["request_id"], ratio=0)
    assert first["traceparent"] == second["traceparent"] == own.header


def test_a_forwarder_signs_in_its_own_way(bench: Bench) -> None:
    raw = as_json(POST_CALL | {"company_resource_id": "COM888"})
    now_s = str(int(NOON.timestamp()))
    headers = {"X-Timestamp": now_s, "X-CallRail-Signature": forwarder_signature(SIGNING_KEY, now_s, raw)}
    assert bench.post(raw, headers=headers).status_code == 202
    assert bench.post(raw).status_code == 401, "CallRail's own way is not this tenant's"
