"""The request around a webhook: method, address, content type, charset, length."""

from __future__ import annotations

import json
from io import BytesIO

import pytest
from werkzeug.test import EnvironBuilder, run_wsgi_app

from handlers.receiver import MAX_BODY_BYTES, MAX_EVENT_BYTES
from handlers.signature import callrail_signature
from handlers.webhook import SHARED_PATH
from handlers.webhook_body import FORM_TYPE, JSON_TYPE
from tests.support.receiver_bench import (
    POST_CALL_PATH,
    TOKEN,
    Bench,
    error_of,
)
from tests.support.tenants import SIGNING_KEY
from tests.support.webhooks import (
    POST_CALL,
    as_form,
    as_json,
)


@pytest.fixture
def bench() -> Bench:
    return Bench()


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
