"""The push endpoint: the status is the acknowledgement, so every request gets exactly the one it deserves."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import EnvironBuilder, TestResponse, run_wsgi_app

from handlers.dead_letter import DeadLetterTaker
from handlers.push import BadEnvelope, PushService, StageTaker, read_envelope
from schemas.events import RecordingStored
from shared.answers import Answer
from shared.claims import RunKey, StageRun
from shared.dead_letters import NewDeadLetter
from shared.deliveries import Delivery
from shared.desk import Desk
from shared.errors import PermanentFailure, TransientFailure
from shared.gateways.push_tokens import AllowAll, PushRejected, PushVerifier
from shared.pipeline import load_pipeline
from shared.runner import Runner
from shared.stage_spec import StageSpec
from tests.support.http_target import served
from tests.support.ports import HandClock, MemoryPublisher, MemoryTenants
from tests.support.tenants import make_tenant

SUBSCRIPTION = "projects/test/subscriptions/transcribe-recording-stored"
EVENT = RecordingStored(tenant_id="acme-plumbing", request_id="r-0123456789abcdef", call_id="CAL1")
BUCKET = "audio"
TRANSCRIPT = f"transcripts/{EVENT.tenant_id}/{EVENT.request_id}/output.json"


def envelope(data: bytes = b"{}", attributes: Mapping[str, str] | None = None, **top: Any) -> dict[str, Any]:
    """What Pub/Sub posts."""
    message = {
        "data": base64.b64encode(data).decode(),
        "attributes": dict(attributes or {}),
        "messageId": "m-1",
        "message_id": "m-1",
        "publishTime": "2026-11-23T12:00:00Z",
    }
    return {"message": message, "subscription": SUBSCRIPTION, **top}


# -- envelope -----------------------------------------------------------------------------------------


def test_pubsubs_envelope_is_a_delivery() -> None:
    body = json.dumps(envelope(b"\x00data", {"tenant_id": "acme-plumbing"}, deliveryAttempt=3)).encode()
    published_at = datetime(2026, 11, 23, 12, tzinfo=UTC)
    attributes = {"tenant_id": "acme-plumbing"}
    assert read_envelope(body) == Delivery("m-1", b"\x00data", attributes, SUBSCRIPTION, 3, published_at)


def test_the_emulators_envelope_without_an_attempt_is_a_delivery() -> None:
    assert read_envelope(json.dumps(envelope()).encode()).attempt is None


@pytest.mark.parametrize("message", [{}, {"data": None, "attributes": None}, {"message_id": "m-1"}])
def test_a_message_may_hold_attributes_only_or_nothing(message: dict[str, Any]) -> None:
    delivery = read_envelope(json.dumps({"message": message}).encode())
    assert (delivery.data, delivery.attributes, delivery.subscription) == (b"", {}, "")


NOT_ENVELOPES = [
    b"",
    b"{",
    b"[]",
    b"7",
    b"{}",
    b'{"message": []}',
    b'{"message": "text"}',
    b'{"message": null}',
    b'{"message": {"data": "not base64!"}}',
    b'{"message": {"data": 7}}',
    b'{"message": {"attributes": ["a"]}}',
    b"[" * 100_000,
]


@pytest.mark.parametrize("body", NOT_ENVELOPES)
def test_anything_else_is_no_envelope(body: bytes) -> None:
    with pytest.raises(BadEnvelope):
        read_envelope(body)


@given(st.binary(max_size=80) | st.text(max_size=80).map(str.encode))
def test_any_bytes_are_an_envelope_or_refused_with_one_error(body: bytes) -> None:
    try:
        read_envelope(body)
    except BadEnvelope:
        return


# -- statuses -----------------------------------------------------------------------------------------


@dataclass
class Taker:
    """Takes deliveries and says what it is told to."""

    answer: Answer = field(default_factory=lambda: Answer(204))
    taken: list[Delivery] = field(default_factory=list)

    def __call__(self, delivery: Delivery) -> Answer:
        self.taken.append(delivery)
        return self.answer


class Refusing:
    """A verifier with one answer."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def check(self, authorization: str) -> NoReturn:
        raise self._error


def push(
    taker: Any,
    body: bytes | None = None,
    *,
    verifier: PushVerifier | None = None,
    path: str = "/",
    method: str = "POST",
) -> TestResponse:
    service = PushService(verifier=verifier or AllowAll(), take=taker)
    raw = json.dumps(envelope()).encode() if body is None else body
    return served(service).test_client().open(path, method=method, data=raw, content_type="application/json")


@pytest.mark.parametrize("status", [204, 500, 503])
def test_what_the_worker_says_is_the_status(status: int) -> None:
    answer = push(Taker(Answer(status)))
    assert answer.status_code == status
    assert "Retry-After" not in answer.headers


def test_a_vendors_hint_becomes_a_header() -> None:
    assert push(Taker(Answer(503, retry_after_s=29.6))).headers["Retry-After"] == "30"


@pytest.mark.parametrize(
    ("verifier", "body", "status"),
    [
        (Refusing(PushRejected("push_token_missing", "no token")), None, 401),
        (Refusing(TransientFailure("push_keys_unavailable", "down")), None, 503),
        (Refusing(PushRejected("push_token_missing", "no token")), b"{", 401),
        (AllowAll(), b"{", 400),
    ],
)
def test_nothing_unverified_or_unreadable_reaches_the_worker(
    verifier: PushVerifier, body: bytes | None, status: int
) -> None:
    taker = Taker()
    assert push(taker, body, verifier=verifier).status_code == status
    assert taker.taken == []


@pytest.mark.parametrize(("path", "method"), [("/", "GET"), ("/other", "POST"), ("/", "PUT")])
def test_any_other_address_is_no_success(path: str, method: str) -> None:
    taker = Taker()
    assert push(taker, path=path, method=method).status_code == 404
    assert taker.taken == []


def test_a_rejected_requests_body_is_not_read() -> None:
    """A worker that checks tokens itself is reachable by anybody, with a body of any size."""

    class Unread(BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise AssertionError("nobody may read this")

    service = PushService(verifier=Refusing(PushRejected("push_token_missing", "no token")), take=Taker())
    environ = EnvironBuilder(path="/", method="POST", headers=[("Transfer-Encoding", "chunked")]).get_environ()
    environ |= {"wsgi.input": Unread(), "wsgi.input_terminated": True}
    _, status, _ = run_wsgi_app(served(service), environ)
    assert status.startswith("401 ")


def test_livez_needs_no_token() -> None:
    rejected = Refusing(PushRejected("push_token_missing", "no token"))
    assert push(Taker(), path="/livez", method="GET", verifier=rejected).status_code == 200


# -- stages -------------------------------------------------------------------------------------------


class EmptyStore:
    """No run is recorded; a delivery that would write one is a mistake of the test."""

    def read(self, key: RunKey) -> StageRun | None:
        return None

    def __getattr__(self, name: str) -> NoReturn:
        raise AssertionError(f"not expected: {name}")


@dataclass
class Worker:
    """A stage's endpoint whose runner knows one tenant and no runs."""

    resumes: bool = True
    publisher: MemoryPublisher = field(default_factory=MemoryPublisher)

    def push(self, data: bytes = b"{}", attributes: Mapping[str, str] | None = None) -> int:
        def never(_context: object) -> NoReturn:
            raise AssertionError("the stage must not run")

        spec = StageSpec(
            name="transcribe",
            accepts=(RecordingStored,),
            run=never,
            resume=never if self.resumes else None,
            lease=timedelta(seconds=60),
            max_attempts=3,
        )
        tenants = MemoryTenants((make_tenant(EVENT.tenant_id),))
        runner = Runner(spec, EmptyStore(), tenants, self.publisher, HandClock(), worker="test")
        taker = StageTaker(runner=runner, audio_bucket=BUCKET)
        return push(taker, json.dumps(envelope(data, attributes, deliveryAttempt=4)).encode()).status_code

    def reason(self) -> str:
        """Why the one dead letter was written."""
        (letter,) = self.publisher.messages
        assert letter.topic == "dead-letters"
        return letter.attributes["dl_reason"]


def notice(**changes: str) -> dict[str, str]:
    """The attributes of Cloud Storage's notification."""
    return {"eventType": "OBJECT_FINALIZE", "bucketId": BUCKET, "objectId": TRANSCRIPT, **changes}


def test_an_unreadable_event_is_a_dead_letter_with_its_reason_and_acknowledged() -> None:
    worker = Worker()
    assert worker.push(b"not json", {"tenant_id": "acme-plumbing", "traceparent": "t"}) == 204
    (letter,) = worker.publisher.messages
    assert letter.data == b"not json"
    assert letter.attributes == {
        "tenant_id": "acme-plumbing",
        "traceparent": "t",
        "dl_subscription": SUBSCRIPTION,
        "dl_stage": "transcribe",
        "dl_reason": "event_not_json",
        "dl_detail": "the message body is not JSON",
        "dl_fix": "",
        "dl_attempts": "4",
    }


def test_an_unreadable_event_is_not_acknowledged_when_its_dead_letter_cannot_be_published() -> None:
    worker = Worker()
    worker.publisher.failing = 1
    assert worker.push(b"not json") == 503
    assert worker.publisher.messages == []


def test_an_event_of_a_newer_version_comes_again() -> None:
    newer = EVENT.model_copy(update={"version": 2})
    worker = Worker()
    assert worker.push(newer.model_dump_json().encode(), newer.attributes()) == 503
    assert worker.publisher.messages == []


def test_a_readable_event_reaches_the_runner() -> None:
    stranger = EVENT.model_copy(update={"tenant_id": "nobody-known"})
    worker = Worker()
    assert worker.push(stranger.model_dump_json().encode(), stranger.attributes()) == 204
    assert worker.reason() == "unknown_tenant"


def test_a_notice_of_a_transcript_reaches_the_run_it_belongs_to() -> None:
    """Nothing is recorded for it yet, so it must come again: it overtook the record of the wait."""
    worker = Worker()
    assert worker.push(b"{}", notice()) == 503
    assert worker.publisher.messages == []


@pytest.mark.parametrize(
    "changes",
    [
        {"eventType": "OBJECT_DELETE"},
        {"bucketId": "another-bucket"},
        {"objectId": "recordings/acme-plumbing/CAL1.mp3"},
        {"objectId": "transcripts/../etc/passwd"},
    ],
    ids=str,
)
def test_a_notice_of_another_object_is_acknowledged_and_forgotten(changes: dict[str, str]) -> None:
    worker = Worker()
    assert worker.push(b"{}", notice(**changes)) == 204
    assert worker.publisher.messages == []


def test_a_notice_for_an_unknown_tenant_is_a_dead_letter() -> None:
    worker = Worker()
    assert worker.push(b"{}", notice(objectId=f"transcripts/nobody-known/{EVENT.request_id}/x.json")) == 204
    assert worker.reason() == "unknown_tenant"


def test_a_notice_at_a_stage_that_waits_for_none_is_an_unreadable_event() -> None:
    worker = Worker(resumes=False)
    assert worker.push(b"{}", notice()) == 204
    assert worker.reason() == "unknown_event_type"


# -- dead letters -------------------------------------------------------------------------------------


@dataclass
class FailingStore:
    """A dead-letter store that fails or keeps."""

    error: Exception | None = None
    kept: list[NewDeadLetter] = field(default_factory=list)

    def record(self, letter: NewDeadLetter) -> None:
        if self.error:
            raise self.error
        self.kept.append(letter)

    def __getattr__(self, name: str) -> NoReturn:
        raise AssertionError(f"not expected: {name}")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, 204),
        (TransientFailure("spanner_unavailable", "no answer"), 503),
        (PermanentFailure("spanner_refused", "no grant"), 503),
        (ValueError("a bug"), 500),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_dead_letter_is_acknowledged_only_once_it_is_kept(error: Exception | None, status: int) -> None:
    store = FailingStore(error)
    desk = Desk(store=store, publisher=MemoryPublisher(), pipeline=load_pipeline())
    body = json.dumps(envelope(EVENT.model_dump_json().encode(), EVENT.attributes())).encode()
    assert push(DeadLetterTaker(desk), body).status_code == status
    assert len(store.kept) == (1 if status == 204 else 0)
