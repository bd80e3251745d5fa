"""Requests that are refused before their body is read are counted too, so that the dashboard shows who knocks."""

from __future__ import annotations

import json
from typing import Any

import pytest
from structlog.testing import capture_logs
from werkzeug.test import Client

from handlers.push import PushService
from handlers.receiver import MAX_BODY_BYTES
from shared.answers import Answer
from shared.deliveries import Delivery
from shared.gateways.push_tokens import AllowAll
from shared.pipeline import PIPELINE_FILE
from tests.support.alarms import matches
from tests.support.http_target import served
from tests.support.receiver_bench import Bench

(METRIC,) = [
    item
    for item in json.loads((PIPELINE_FILE.parent / "monitoring" / "metrics.json").read_text(encoding="utf-8"))[
        "log_based"
    ]
    if item["name"] == "pipeline_requests_turned_away"
]


class _Nobody:
    def __call__(self, delivery: Delivery) -> Answer:
        raise AssertionError(f"{delivery.message_id} is no request that was turned away")


def worker() -> Client:
    """A worker's front door, without anything behind it."""
    return served(PushService(AllowAll(), _Nobody())).test_client()


def counted(logs: list[Any]) -> list[str]:
    """The codes of the lines that the metric counts."""
    lines = [{**line, "message": line["event"]} for line in logs]
    return [line["code"] for line in lines if matches(METRIC["filter"], line)]


@pytest.mark.parametrize(
    ("method", "path", "content_type", "length", "status"),
    [
        ("POST", "/wp-login.php", "", 0, 404),
        ("GET", "/v1/callrail/webhook", "", 0, 405),
        ("POST", "/v1/callrail/webhook", "text/html", 0, 415),
        ("POST", "/v1/callrail/webhook", "application/json", MAX_BODY_BYTES + 2, 413),
    ],
)
def test_the_receivers_refusals_are_counted_by_code(
    method: str, path: str, content_type: str, length: int, status: int
) -> None:
    with capture_logs() as logs:
        answer = Bench().client().open(path, method=method, content_type=content_type, data=b" " * length)

    assert answer.status_code == status
    assert counted(logs) == [answer.get_json()["error"]]


@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("POST", "/admin")])
def test_a_workers_refusals_are_counted(method: str, path: str) -> None:
    with capture_logs() as logs:
        answer = worker().open(path, method=method)

    assert (answer.status_code, counted(logs)) == (404, ["not_found"])


def test_what_is_taken_is_not_counted() -> None:
    with capture_logs() as logs:
        assert Bench().client().get("/livez").status_code == 200
        assert worker().get("/livez").status_code == 200

    assert counted(logs) == []
