"""The operator service: who may ask, and an answer in time however long a neighbour takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

import pytest
from flask import Request, Response
from werkzeug.test import TestResponse

from handlers.operator import PROBE_DEADLINE_S, OperatorService, Probe
from shared.errors import TransientFailure
from shared.gateways.push_tokens import AllowAll, PushRejected, PushVerifier
from shared.sweeper import SweepReport
from tests.support.http_target import served

WELL: Mapping[str, Probe] = {"database": lambda: True, "storage": lambda: True}


class Refusing:
    """A verifier with one answer."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def check(self, authorization: str) -> None:
        raise self._error


def get(path: str, *, probes: Mapping[str, Probe] = WELL, verifier: PushVerifier | None = None) -> TestResponse:
    service = OperatorService(
        verifier=verifier or AllowAll(), probes=probes, sweep=nothing_to_sweep, reconcile=nothing_to_reconcile
    )
    return served(service).test_client().get(path)


def nothing_to_sweep() -> SweepReport:
    return SweepReport(actions={}, failed_tenants=0)


def nothing_to_reconcile(_request: Request) -> Response:
    return Response(status=200)


def test_every_neighbour_is_reported_by_name() -> None:
    answer = get("/internal/neighbours", probes={"database": lambda: True, "storage": lambda: False})
    assert answer.status_code == 200
    assert answer.get_json() == {"database": "healthy", "storage": "unhealthy"}


def test_a_probe_that_fails_is_one_sick_neighbour() -> None:
    def broken() -> bool:
        raise RuntimeError("a bug")

    assert get("/internal/neighbours", probes={**WELL, "storage": broken}).get_json() == {
        "database": "healthy",
        "storage": "unhealthy",
    }


def test_hanging_probes_share_one_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight neighbours that hang must not take eight deadlines: the receiver listens for little more than one."""
    monkeypatch.setattr("handlers.operator.PROBE_DEADLINE_S", 0.5)
    released = threading.Event()
    names = "abcdefgh"
    begun = time.monotonic()
    try:
        answer = get("/internal/neighbours", probes=dict.fromkeys(names, lambda: released.wait(timeout=30)))
        took_s = time.monotonic() - begun
    finally:
        released.set()
    assert answer.get_json() == dict.fromkeys(names, "unhealthy")
    assert took_s < 2.5, "one deadline is 0.5 s, eight are 4 s"


def test_the_deadline_leaves_the_receiver_time_to_hear_the_answer() -> None:
    from shared.gateways.operator_client import _TIMEOUT

    assert _TIMEOUT.read is not None
    assert _TIMEOUT.read > PROBE_DEADLINE_S


@pytest.mark.parametrize(
    ("error", "status"),
    [(PushRejected("push_token_missing", "no token"), 401), (TransientFailure("keys", "none"), 503)],
)
def test_without_a_good_token_nothing_is_told(error: Exception, status: int) -> None:
    answer = get("/internal/neighbours", verifier=Refusing(error))
    assert answer.status_code == status
    assert b"database" not in answer.data


def test_livez_needs_no_token_and_other_addresses_do_not_exist() -> None:
    rejected = Refusing(PushRejected("push_token_missing", "no token"))
    assert get("/livez", verifier=rejected).status_code == 200
    assert get("/").status_code == 404
    assert get("/internal/sweepers").status_code == 404
