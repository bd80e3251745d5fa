"""The receiver's checks come in the order that docs/api/webhook.md promises."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from werkzeug.test import TestResponse

from handlers.receiver import MAX_BODY_BYTES
from handlers.signature import callrail_signature
from handlers.webhook import SHARED_PATH
from handlers.webhook_body import JSON_TYPE
from tests.support.receiver_bench import Bench, error_of
from tests.support.tenants import COMPANY, SIGNING_KEY
from tests.support.webhooks import (
    as_json,
)


@pytest.fixture
def bench() -> Bench:
    return Bench()


@dataclass
class Request:
    """A request that fails every check; each `mend_…` puts one thing right."""

    path: str = f"{SHARED_PATH}/"
    method: str = "PUT"
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Encoding": "gzip"})
    content_type: str = "text/plain"
    body: bytes = b"x" * (MAX_BODY_BYTES + 1)

    def send(self, bench: Bench) -> TestResponse:
        return bench.client().open(
            self.path, method=self.method, headers=self.headers, content_type=self.content_type, data=self.body
        )


def test_the_checks_come_in_the_documented_order(bench: Bench) -> None:
    """docs/api/webhook.md promises this order: a request that fails them all is mended one check at a time."""
    bench.publisher.failing = bench.objects.failing = 99
    request = Request()

    def answers() -> Iterator[tuple[int, str]]:
        def ask() -> tuple[int, str]:
            answer = request.send(bench)
            return answer.status_code, error_of(answer)

        yield ask()
        request.path = SHARED_PATH
        yield ask()
        request.method = "POST"
        yield ask()
        request.headers = {"Signature": "wrong"}
        yield ask()
        request.content_type = JSON_TYPE
        yield ask()
        request.body = b"{"
        yield ask()
        request.body = as_json({"company_resource_id": "COM000", "duration": "long"})
        yield ask()
        request.body = as_json({"company_resource_id": "COM777", "duration": "long", "resource_id": "C"})
        yield ask()
        request.headers = {"Signature": callrail_signature(SIGNING_KEY, request.body)}
        yield ask()
        request.body = as_json(
            {"company_resource_id": COMPANY, "duration": "long", "recording": "", "resource_id": "C"}
        )
        request.headers = {"Signature": callrail_signature(SIGNING_KEY, request.body)}
        yield ask()
        bench.publisher.failing = bench.objects.failing = 0
        yield ask()

    assert list(answers()) == [
        (404, "not_found"),
        (405, "method_not_allowed"),
        (415, "unsupported_encoding"),
        (415, "unsupported_content_type"),
        (413, "body_too_large"),
        (400, "unreadable_body"),
        (401, "unauthorized"),
        (401, "unauthorized"),
        (403, "tenant_not_active"),
        (503, "storage_unavailable"),
        (422, "wrong_shape"),
    ]
