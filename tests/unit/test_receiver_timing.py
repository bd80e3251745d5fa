"""Who our tenants are cannot be told by how long a refusal takes, however large the body is made."""

from __future__ import annotations

import hmac
import json
import time
from collections.abc import Callable

import pytest

from handlers.receiver import MAX_BODY_BYTES, Post, Receiver
from shared.inbox import Inbox
from tests.support.ports import HandClock, MemoryObjects, MemoryPublisher, MemorySecrets, MemoryTenants
from tests.support.tenants import COMPANY, OTHER_COMPANY, SIGNING_KEY, make_tenant

TOKEN = "acmes-unguessable-token-1"
ROTATING = make_tenant(
    "rotating", company_id=OTHER_COMPANY, webhook_secret_names=["acme-plumbing-webhook-secret", "second-secret"]
)
RECEIVER = Receiver(
    tenants=MemoryTenants((make_tenant(webhook_token=TOKEN), ROTATING)),
    secrets=MemorySecrets({"acme-plumbing-webhook-secret": SIGNING_KEY, "second-secret": "f" * 32}),
    publisher=MemoryPublisher(),
    inbox=Inbox(MemoryObjects()),
    now=HandClock(),
)
MOST_ROUNDS = 200


def large_body(company: str) -> bytes:
    return json.dumps({"company_resource_id": company, "note": "n" * (MAX_BODY_BYTES - 200)}).encode()


def forged(company: str, *, token: str | None = None) -> Callable[[], object]:
    headers = {"Signature": "AAAAAAAAAAAAAAAAAAAAAAAAAAA="}
    post = Post("application/json", large_body(company), headers, token=token)
    return lambda: RECEIVER.receive(post, traceparent="")


def cpu_s(work: Callable[[], object]) -> float:
    """The thread's own time, so that a busy machine counts for less."""
    began = time.thread_time()
    work()
    return time.thread_time() - began


of_a_tenant_and_of_nobody = pytest.mark.parametrize(
    ("known", "unknown"),
    [
        (forged(COMPANY), forged("COM019anobody")),
        (forged(OTHER_COMPANY), forged("COM019anobody")),
        (forged(COMPANY, token=TOKEN), forged(COMPANY, token="x" * 25)),
        (forged(COMPANY, token=TOKEN), forged("COM019anobody", token=TOKEN)),
    ],
    ids=["one key", "two keys", "an address", "another's company at an address"],
)


@of_a_tenant_and_of_nobody
def test_a_tenant_and_nobody_are_refused_in_the_same_time(
    known: Callable[[], object], unknown: Callable[[], object]
) -> None:
    """The fastest of many runs, in turns: a busy machine makes a run longer and never shorter, so a difference that is
    noise goes away with more runs, and one that is ours does not."""
    body = large_body(COMPANY)
    shortest = [float("inf")] * 3
    works = (known, unknown, lambda: hmac.digest(b"key", body, "sha1"))
    for _ in range(MOST_ROUNDS):
        shortest = [min(so_far, cpu_s(work)) for so_far, work in zip(shortest, works, strict=True)]
        known_s, unknown_s, digest_s = shortest
        if abs(known_s - unknown_s) < digest_s / 2:
            return
    pytest.fail(f"{known_s:.6f} s and {unknown_s:.6f} s differ by more than half a digest ({digest_s:.6f} s)")


@of_a_tenant_and_of_nobody
def test_a_refusal_digests_the_body_twice_whoever_it_names(
    known: Callable[[], object], unknown: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    digested: list[int] = []
    digest = hmac.digest

    def counting(key: bytes, body: bytes, name: str) -> bytes:
        digested.append(len(body))
        return digest(key, body, name)

    monkeypatch.setattr(hmac, "digest", counting)
    for attempt in (known, unknown):
        digested.clear()
        attempt()
        assert len(digested) == 2
