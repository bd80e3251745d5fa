"""What the webhook service refuses, in order: signatures, tenants, bodies; and what it keeps all the same."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from dataclasses import dataclass
from typing import Any

import pytest
from structlog.testing import capture_logs

from handlers.health import HealthPage
from handlers.receiver import Receiver
from handlers.webhook import SHARED_PATH, WebhookService
from schemas.tenant import Tenant
from shared.errors import PermanentFailure, TenantBlocked, TransientFailure
from shared.inbox import Inbox
from tests.support.http_target import served
from tests.support.ports import HandClock, MemoryObjects, MemoryPublisher, MemorySecrets
from tests.support.receiver_bench import (
    OTHER,
    OTHER_KEY,
    OURS,
    POST_CALL_PATH,
    SUSPENDED,
    TOKEN,
    Bench,
    error_of,
)
from tests.support.tenants import OTHER_COMPANY, SIGNING_KEY, make_tenant
from tests.support.webhooks import (
    POST_CALL,
    as_json,
)


@pytest.fixture
def bench() -> Bench:
    return Bench()


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
