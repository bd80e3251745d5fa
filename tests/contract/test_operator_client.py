"""The receiver's question to the operator service, over real HTTP: an answer, or "unknown" whatever goes wrong."""

from __future__ import annotations

import socket
from collections.abc import Mapping

import pytest
from flask import Flask, Response

from handlers.operator import OperatorService, Probe
from infra.local.standins.serving import serve_in_thread
from shared.gateways.operator_client import OperatorClient
from shared.gateways.push_tokens import AllowAll, PushRejected, PushVerifier
from shared.sweeper import SweepReport
from tests.support.http_target import served


def operator(verifier: PushVerifier, probes: Mapping[str, Probe]) -> OperatorService:
    return OperatorService(
        verifier=verifier,
        probes=probes,
        sweep=lambda: SweepReport(actions={}, failed_tenants=0),
        reconcile=lambda _request: Response(status=200),
    )


def neighbours(base_url: str) -> dict[str, str]:
    return dict(OperatorClient(base_url, with_identity=False).neighbours())


def test_the_operator_services_own_answer_is_understood() -> None:
    probes = {"database": lambda: True, "storage": lambda: False}
    with serve_in_thread(served(operator(AllowAll(), probes))) as url:
        assert neighbours(url) == {"database": "healthy", "storage": "unhealthy"}
        assert neighbours(f"{url}/") == {"database": "healthy", "storage": "unhealthy"}


def test_a_refused_question_leaves_the_neighbours_unknown() -> None:
    class Refusing:
        def check(self, authorization: str) -> None:
            raise PushRejected("push_token_missing", "no token")

    with serve_in_thread(served(operator(Refusing(), {}))) as url:
        assert neighbours(url) == {}


@pytest.mark.parametrize(("status", "body"), [(500, "{}"), (200, "<html>"), (200, "[]"), (200, "7"), (302, "{}")])
def test_an_answer_that_is_none_leaves_them_unknown(status: int, body: str) -> None:
    app = Flask("rubbish")
    app.add_url_rule("/internal/neighbours", view_func=lambda: Response(body, status))
    with serve_in_thread(app) as url:
        assert neighbours(url) == {}


def test_an_operator_that_is_away_leaves_them_unknown() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert neighbours(f"http://127.0.0.1:{taken.getsockname()[1]}") == {}


@pytest.mark.parametrize("base_url", ["", "http://", "not an address", "http://[::1", "ftp://127.0.0.1"])
def test_an_address_that_is_none_leaves_them_unknown(base_url: str) -> None:
    assert neighbours(base_url) == {}
