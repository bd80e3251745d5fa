"""The webhook service as CallRail meets it: real requests through functions-framework, every status, in order."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import pytest
from flask import Flask
from structlog.testing import capture_logs
from werkzeug.test import Client, EnvironBuilder, TestResponse, run_wsgi_app

from handlers.health import HealthPage
from handlers.receiver import MAX_BODY_BYTES, MAX_EVENT_BYTES, Receiver
from handlers.signature import callrail_signature, forwarder_signature
from handlers.webhook import SHARED_PATH, WebhookService
from handlers.webhook_body import FORM_TYPE, JSON_TYPE
from schemas.events import CallReceived
from schemas.tenant import Tenant
from schemas.webhooks import EVENT_KINDS
from shared.deliveries import parse_event
from shared.errors import PermanentFailure, TenantBlocked, TransientFailure
from shared.inbox import Inbox
from shared.names import first_request_id
from shared.traces import trace_of_request
from tests.support.http_target import served
from tests.support.ports import NOON, HandClock, MemoryObjects, MemoryPublisher, MemorySecrets, MemoryTenants
from tests.support.tenants import OTHER_COMPANY, SIGNING_KEY, make_tenant
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

TOKEN = "acmes-unguessable-token-1"
OURS = make_tenant("acme-plumbing", webhook_token=TOKEN)
OTHER = make_tenant("other-dental", company_id=OTHER_COMPANY, webhook_token="others-unguessable-token-2")
SUSPENDED = make_tenant("late-payer", company_id="COM777", status="suspended")
FORWARDING = make_tenant("forwarding", company_id="COM888", signature_scheme="forwarder")
OTHER_KEY = "ffffffffffffffffffffffffffffffff"
POST_CALL_PATH = f"{SHARED_PATH}/{TOKEN}/post-call"


@dataclass
class Bench:
    """The real service over ports in memory."""

    publisher: MemoryPublisher = field(default_factory=MemoryPublisher)
    objects: MemoryObjects = field(default_factory=MemoryObjects)
    secrets: MemorySecrets = field(
        default_factory=lambda: MemorySecrets(
            {
                "acme-plumbing-webhook-secret": SIGNING_KEY,
                "other-dental-webhook-secret": OTHER_KEY,
                "late-payer-webhook-secret": SIGNING_KEY,
                "forwarding-webhook-secret": SIGNING_KEY,
            }
        )
    )
    tenants: tuple[Tenant, ...] = (OURS, OTHER, SUSPENDED, FORWARDING)

    def client(self) -> Client:
        return self.app().test_client()

    def app(self) -> Flask:
        clock = HandClock()
        receiver = Receiver(
            tenants=MemoryTenants(self.tenants),
            secrets=self.secrets,
            publisher=self.publisher,
            inbox=Inbox(self.objects),
            now=clock,
        )
        health = HealthPage(can_publish=lambda: True, can_keep=lambda: True, neighbours=dict, now=clock)
        return served(WebhookService(receiver=receiver, health=health))

    def post(  # as many parts as a request has
        self,
        body: bytes | Mapping[str, Any],
        *,
        path: str = SHARED_PATH,
        content_type: str | None = JSON_TYPE,
        key: str = SIGNING_KEY,
        headers: Mapping[str, str] | None = None,
    ) -> TestResponse:
        raw = body if isinstance(body, bytes) else as_json(body)
        signed = {"Signature": callrail_signature(key, raw)} if headers is None else dict(headers)
        return self.client().post(path, data=raw, content_type=content_type, headers=signed)

    def event(self) -> CallReceived:
        """The one event that was published."""
        (message,) = self.publisher.messages
        event = parse_event(message.data)
        assert isinstance(event, CallReceived)
        assert message.topic == "call-received"
        assert message.attributes.items() >= {**event.attributes(), "kind": event.kind}.items()
        return event


@pytest.fixture
def bench() -> Bench:
    return Bench()


def error_of(answer: TestResponse) -> str:
    """The error's code, once the answer has the shape that every error has."""
    body = answer.get_json()
    assert answer.content_type == JSON_TYPE
    assert body.keys() == {"status", "error", "message", "request_id"}
    assert body["status"] == "error"
    assert answer.headers["X-Request-Id"] == body["request_id"]
    return str(body["error"])


# -- accepted -----------------------------------------------------------------------------------------


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


# -- refused ------------------------------------------------------------------------------------------


def sha256_headers(raw: bytes) -> list[dict[str, str]]:
    digest = hmac.new(SIGNING_KEY.encode(), raw, hashlib.sha256)
    coded = base64.b64encode(digest.digest()).decode()
    return [
        {"X-CallRail-Signature": digest.hexdigest()},
        {"X-CallRail-Signature": f"sha256={digest.hexdigest()}"},
        {"Signature": digest.hexdigest()},
        {"Signature": coded},
    ]


def test_mistake_1_an_invented_sha256_signature_is_refused(bench: Bench) -> None:
    raw = as_json(POST_CALL)
    assert [bench.post(raw, headers=headers).status_code for headers in sha256_headers(raw)] == [401] * 4


def test_mistake_3_the_right_digest_in_another_form_is_refused(bench: Bench) -> None:
    raw = as_json(POST_CALL)
    digest = hmac.new(SIGNING_KEY.encode(), raw, hashlib.sha1)
    for value in (digest.hexdigest(), f"sha1={digest.hexdigest()}"):
        assert bench.post(raw, headers={"Signature": value}).status_code == 401


def test_mistake_5_a_missing_header_is_refused_although_the_company_is_known(bench: Bench) -> None:
    answer = bench.post(POST_CALL, headers={})
    assert answer.status_code == 401
    assert error_of(answer) == "unauthorized"
    assert bench.publisher.messages == []


def test_mistake_6_without_a_readable_key_nothing_is_accepted(bench: Bench) -> None:
    bench.secrets.values.pop("acme-plumbing-webhook-secret")
    answer = bench.post(POST_CALL)
    assert answer.status_code == 503
    assert error_of(answer) == "signing_key_unreadable"
    assert bench.publisher.messages == []


def test_mistake_6_an_empty_key_accepts_nothing(bench: Bench) -> None:
    bench.secrets.values["acme-plumbing-webhook-secret"] = ""
    assert bench.post(POST_CALL, key="").status_code == 401


def test_mistake_7_a_signature_of_another_tenants_key_is_refused(bench: Bench) -> None:
    assert bench.post(POST_CALL, key=OTHER_KEY).status_code == 401
    assert bench.post(POST_CALL, path=POST_CALL_PATH, key=OTHER_KEY).status_code == 401


def test_mistake_8_neither_secrets_nor_the_caller_appear_in_logs_or_answers(bench: Bench) -> None:
    with capture_logs() as logs:
        answers = [
            bench.post(POST_CALL),
            bench.post(POST_CALL, path=POST_CALL_PATH),
            bench.post(POST_CALL, key="wrong"),
            bench.post(POST_CALL | {"duration": "+13035550142"}),
            bench.post(b"{" + SIGNING_KEY.encode()),
        ]
    text = json.dumps(logs, default=str) + "".join(answer.get_data(as_text=True) for answer in answers)
    assert len(logs) >= len(answers)
    for secret in (SIGNING_KEY, TOKEN, "3035550142", "EXAMPLE CALLER", "access_key", "agent@example.com"):
        assert secret not in text


def test_while_keys_change_one_readable_key_is_enough(bench: Bench) -> None:
    names = ["acme-plumbing-webhook-secret", "acme-plumbing-new"]
    bench.tenants = (make_tenant("acme-plumbing", webhook_secret_names=names),)
    assert bench.post(POST_CALL).status_code == 202
    assert bench.post(POST_CALL, key="new").status_code == 503, "the key that fits may be the one that cannot be read"
    bench.secrets.values["acme-plumbing-new"] = "new"
    assert bench.post(POST_CALL, key="new").status_code == 202
    assert bench.post(POST_CALL, key="neither").status_code == 401


@pytest.mark.parametrize(
    ("path", "changes"),
    [
        (SHARED_PATH, {"company_resource_id": "COM000", "company_id": 1}),
        (SHARED_PATH, {"company_resource_id": "", "company_id": None}),
        (SHARED_PATH, {"callrail_company_id": OTHER_COMPANY}),
        (SHARED_PATH, {"tenant_id": OTHER.tenant_id}),
        (SHARED_PATH, {"tenant_id": [OURS.tenant_id]}),
        (SHARED_PATH, {"tenant_id": 7}),
        (POST_CALL_PATH, {"company_resource_id": OTHER_COMPANY}),
        (POST_CALL_PATH, {"tenant_id": OTHER.tenant_id}),
        (f"{SHARED_PATH}/{'x' * 22}/post-call", {}),
    ],
    ids=str,
)
def test_whose_body_it_is_must_be_clear(bench: Bench, path: str, changes: dict[str, Any]) -> None:
    answer = bench.post(POST_CALL | changes, path=path)
    assert answer.status_code == 401
    assert error_of(answer) == "unauthorized"
    assert bench.publisher.messages == []


def test_an_unknown_company_and_a_wrong_signature_cannot_be_told_apart(bench: Bench) -> None:
    unknown = bench.post(POST_CALL | {"company_resource_id": "COM000"}).get_json()
    unsigned = bench.post(POST_CALL, key="wrong").get_json()
    assert {**unknown, "request_id": ""} == {**unsigned, "request_id": ""}


@pytest.mark.parametrize("claimed", [OURS.tenant_id, "", None])
def test_a_tenant_id_in_the_body_must_agree_or_be_silent(bench: Bench, claimed: str | None) -> None:
    assert bench.post(POST_CALL | {"tenant_id": claimed}).status_code == 202


def test_another_tenants_numeric_company_id_is_noticed(bench: Bench) -> None:
    numeric = make_tenant("numeric", company_id="700100200")
    bench.tenants = (OURS, numeric)
    assert bench.post(POST_CALL).status_code == 401


def test_a_suspended_tenants_signed_body_is_refused_and_said_so(bench: Bench) -> None:
    body = POST_CALL | {"company_resource_id": SUSPENDED.config.callrail_company_ids[0]}
    assert error_of(bench.post(body)) == "tenant_not_active"
    assert bench.post(body).status_code == 403
    assert bench.post(body, key="wrong").status_code == 401, "who our tenants are is nobody's business"
    assert bench.publisher.messages == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [({"duration": "long"}, "duration"), ({"start_time": "noon"}, "start_time"), ({"duration": "-1"}, "duration_s")],
)
def test_a_signed_body_of_the_wrong_shape_is_refused_but_kept(
    bench: Bench, changes: dict[str, str], problem: str
) -> None:
    answer = bench.post(POST_CALL | changes)
    assert answer.status_code == 422
    assert error_of(answer) == "wrong_shape"
    assert problem in answer.get_json()["message"]
    assert bench.event().kind == "unknown"
    assert bench.event().payload == POST_CALL | changes
    assert bench.event().request_id == answer.headers["X-Request-Id"]


def test_a_signed_body_that_says_nothing_is_refused_but_kept(bench: Bench) -> None:
    assert bench.post({"hello": "world"}, path=POST_CALL_PATH).status_code == 422
    assert bench.event().payload == {"hello": "world"}


def test_an_id_that_is_no_id_cannot_become_one(bench: Bench) -> None:
    assert bench.post(POST_CALL | {"resource_id": "../" * 30}).status_code == 422
    assert re.fullmatch(r"body-[0-9a-f]{32}", bench.event().call_id)


def test_mistake_12_what_cannot_be_published_is_kept_in_the_inbox(bench: Bench) -> None:
    """CallRail never sends again: the webhook is written to an independent store and published by the sweeper."""
    bench.publisher.failing = 1
    answer = bench.post(POST_CALL)
    assert answer.status_code == 202
    assert bench.publisher.messages == []
    assert len(bench.objects.held) == 1

    inbox = Inbox(bench.objects)
    assert inbox.drain(bench.publisher) == {"inbox_published": 1}
    assert bench.event().payload == POST_CALL
    assert bench.objects.held == {}


def test_nothing_is_acknowledged_that_was_kept_nowhere(bench: Bench) -> None:
    bench.publisher.failing, bench.objects.failing = 1, 1
    answer = bench.post(POST_CALL)
    assert answer.status_code == 503
    assert error_of(answer) == "storage_unavailable"
    assert "nothing was kept" in answer.get_data(as_text=True)
    assert answer.headers["Retry-After"] == "5"
    assert bench.post(POST_CALL).status_code == 202
    assert len(bench.publisher.messages) == 1


@dataclass(frozen=True)
class BrokenTenants:
    """A directory whose look-ups fail."""

    error: Exception

    def by_id(self, tenant_id: str) -> Tenant | None:
        raise self.error

    def by_company(self, company_id: str) -> Tenant | None:
        raise self.error

    def by_webhook_token(self, token: str) -> Tenant | None:
        raise self.error


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (TransientFailure("spanner_unavailable", "no answer"), 503, "spanner_unavailable"),
        (TenantBlocked("tenant_unreadable", "the row cannot be read"), 503, "tenant_unreadable"),
        (PermanentFailure("spanner_refused", "no grant"), 503, "spanner_refused"),
        (KeyError("+13035550142"), 500, "internal_error"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_a_fault_of_ours_is_never_a_success_and_shows_nothing(error: Exception, status: int, code: str) -> None:
    receiver = Receiver(
        tenants=BrokenTenants(error),
        secrets=MemorySecrets({}),
        publisher=MemoryPublisher(),
        inbox=Inbox(MemoryObjects()),
        now=HandClock(),
    )
    health = HealthPage(can_publish=lambda: True, can_keep=lambda: True, neighbours=dict, now=HandClock())
    client = served(WebhookService(receiver=receiver, health=health)).test_client()
    answer = client.post(SHARED_PATH, json=POST_CALL)
    assert (answer.status_code, error_of(answer)) == (status, code)
    assert "3035550142" not in answer.get_data(as_text=True)


# -- the request itself -------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"])
@pytest.mark.parametrize("path", [SHARED_PATH, POST_CALL_PATH])
def test_only_post_is_allowed(bench: Bench, method: str, path: str) -> None:
    answer = bench.client().open(path, method=method)
    assert answer.status_code == 405
    assert answer.headers["Allow"] == "POST"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1/callrail",
        f"{SHARED_PATH}/",
        f"{SHARED_PATH}/{TOKEN}",
        f"{SHARED_PATH}/{TOKEN}/no-such-event",
        f"{SHARED_PATH}/short/post-call",
        f"{POST_CALL_PATH}/more",
    ],
)
def test_any_other_address_is_unknown(bench: Bench, path: str) -> None:
    answer = bench.post(POST_CALL, path=path)
    assert (answer.status_code, error_of(answer)) == (404, "not_found")


@pytest.mark.parametrize("content_type", [None, "", "text/plain", "multipart/form-data", "application/jsonp", "json"])
def test_other_content_types_are_refused(bench: Bench, content_type: str | None) -> None:
    answer = bench.post(POST_CALL, content_type=content_type)
    assert (answer.status_code, error_of(answer)) == (415, "unsupported_content_type")


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "application/json; charset=UTF8", "Application/JSON"]
)
def test_a_content_type_may_have_parameters_and_any_case(bench: Bench, content_type: str) -> None:
    assert bench.post(POST_CALL, content_type=content_type).status_code == 202


@pytest.mark.parametrize("charset", ["iso-8859-1", "utf-16", "UTF-7", "x"])
def test_a_body_in_another_charset_is_refused_before_anybody_reads_it(bench: Bench, charset: str) -> None:
    answer = bench.post(POST_CALL, content_type=f"application/json; charset={charset}")

    assert (answer.status_code, error_of(answer)) == (415, "unsupported_charset")
    assert bench.publisher.messages == []


def test_a_compressed_body_is_refused(bench: Bench) -> None:
    answer = bench.post(POST_CALL, headers={"Content-Encoding": "gzip"})
    assert (answer.status_code, error_of(answer)) == (415, "unsupported_encoding")


def padded(size: int) -> bytes:
    body = as_json(POST_CALL)
    return body + b" " * (size - len(body))


def test_a_body_of_the_largest_size_is_accepted_and_one_byte_more_is_not(bench: Bench) -> None:
    assert bench.post(padded(MAX_BODY_BYTES)).status_code == 202
    answer = bench.post(padded(MAX_BODY_BYTES + 1))
    assert (answer.status_code, error_of(answer)) == (413, "body_too_large")
    assert len(bench.publisher.messages) == 1


def test_an_event_of_the_largest_length_is_accepted_and_one_character_more_is_not(bench: Bench) -> None:
    """Escapes make six characters of one byte, so a small body reaches the bound of the event before its own."""
    form = as_form(POST_CALL) + b"&note="
    bench.post(form + b"a", content_type=FORM_TYPE)
    room = MAX_EVENT_BYTES - len(bench.publisher.messages[0].data) + 1
    largest = form + b"\x01" * (room // 6) + b"a" * (room % 6)

    assert bench.post(largest, content_type=FORM_TYPE).status_code == 202
    answer = bench.post(largest + b"a", content_type=FORM_TYPE)

    assert [len(message.data) for message in bench.publisher.messages[1:]] == [MAX_EVENT_BYTES]
    assert (answer.status_code, error_of(answer)) == (413, "body_too_large")
    assert bench.objects.list_names("") == []


def chunked(bench: Bench, body: bytes) -> tuple[str, bytes]:
    """Posts without a length, as a server shows a chunked body; returns the status line and the answer's body."""
    headers = [("Signature", callrail_signature(SIGNING_KEY, body)), ("Transfer-Encoding", "chunked")]
    builder = EnvironBuilder(path=SHARED_PATH, method="POST", content_type=JSON_TYPE, headers=headers)
    environ = builder.get_environ() | {"wsgi.input": BytesIO(body), "wsgi.input_terminated": True}
    parts, status, _ = run_wsgi_app(bench.app(), environ)
    return status, b"".join(parts)


def test_a_chunked_body_is_read_whole_and_bounded_alike(bench: Bench) -> None:
    assert chunked(bench, padded(MAX_BODY_BYTES))[0] == "202 ACCEPTED"
    status, answer = chunked(bench, padded(MAX_BODY_BYTES + 1))
    assert status.startswith("413 ")
    assert json.loads(answer)["error"] == "body_too_large"


def test_a_body_that_ends_early_is_refused(bench: Bench) -> None:
    raw = as_json(POST_CALL)
    answer = bench.client().post(
        SHARED_PATH, data=raw, content_type=JSON_TYPE, environ_overrides={"CONTENT_LENGTH": str(len(raw) + 1)}
    )
    assert (answer.status_code, error_of(answer)) == (400, "body_incomplete")


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"resource_id=CAL1"])
def test_a_body_that_is_not_what_its_type_says_is_refused(bench: Bench, body: bytes) -> None:
    answer = bench.post(body)
    assert (answer.status_code, error_of(answer)) == (400, "unreadable_body")


def test_livez_and_health_need_no_signature(bench: Bench) -> None:
    assert bench.client().get("/livez").status_code == 200
    assert bench.client().get("/v1/health").status_code == 200
    assert bench.client().post("/v1/health").headers["Allow"] == "GET"
