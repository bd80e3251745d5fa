"""A few inputs for every target in each test run; `make fuzz` goes on for as long as it is told to."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from flask import Request, Response
from werkzeug.test import Client

from handlers.main import TARGETS as SERVICES
from handlers.operator import OperatorService
from handlers.push import PushService
from handlers.reconcile import ReconcileRoute
from shared.backfill import Tally
from shared.gateways.push_tokens import AllowAll
from shared.reconciliation import Outcome, RunSummary
from shared.sweeper import SweepReport
from tests.fuzz.campaign import run
from tests.fuzz.run import TARGETS
from tests.fuzz.services import NAMES, Send, Sent, Service, Signer
from tests.fuzz.target import Target
from tests.support.http_target import served
from tests.support.receiver_bench import TOKEN, Bench
from tests.support.tenants import COMPANY, SIGNING_KEY
from tests.unit.test_push import Taker

SEED = 20261123
"""Always the same inputs here: who changes something else must not meet an old fault. `make fuzz` finds new ones."""
_SIGNER = Signer("acme-plumbing", COMPANY, SIGNING_KEY, TOKEN)


def _nothing(_line: str) -> None:
    return


def _held(target: Target, tmp_path: Path, *, inputs: int) -> None:
    for _attempt in range(3):
        result = run(target, budget_s=30, seed=SEED, folder=tmp_path, say=_nothing, most=inputs)
        if not result.fault.startswith("FlakyFailure"):
            break  # else it was not so when it was repeated: a deadline, on a machine that stood still
    assert result.fault == "", f"{result.saved and result.saved.read_text()[:2000]}"
    assert result.inputs >= inputs


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: str(target.name))
def test_every_promise_holds_for_a_few_inputs(target: Target, tmp_path: Path) -> None:
    _held(target, tmp_path, inputs=40)


def _in_process(client: Client) -> Send:
    def send(sent: Sent) -> object:
        _path, method, url, headers, body = sent
        return client.open(url, method=method, headers=list(headers), data=body)

    return send


def _reconciled() -> RunSummary:
    return RunSummary(Counter({Outcome.LOOKED_AT: 1}), Tally(listed=1, had=1))


def _service(name: str) -> Service:
    """The service as functions-framework serves it, over ports in memory."""
    if name == "webhook":
        return Service(name, _in_process(Bench().client()), _SIGNER)
    if name == "operator":
        probes = dict.fromkeys(("database", "storage", "speech_api", "vertex_ai"), lambda: True)
        view = OperatorService(
            verifier=AllowAll(),
            probes=probes,
            sweep=lambda: SweepReport({"swept": 1}, 0),
            reconcile=ReconcileRoute(_reconciled),
        )
        return Service(name, _in_process(served(view).test_client()), _SIGNER)
    return Service(name, _in_process(served(PushService(AllowAll(), Taker())).test_client()), _SIGNER)


@pytest.mark.parametrize("name", ["webhook", "operator", "dead_letter"])
def test_a_services_answers_are_the_documents(name: str, tmp_path: Path) -> None:
    _held(_service(name).target(), tmp_path, inputs=40)


def test_every_service_is_a_target_of_the_long_run() -> None:
    assert {name.removeprefix("service_") for name in NAMES} == set(SERVICES)


def test_an_answer_that_the_document_does_not_know_is_found(tmp_path: Path) -> None:
    def teapot(_request: Request) -> Response:
        return Response("short and stout", 418, content_type="text/plain")

    service = Service("operator", _in_process(served(teapot).test_client()), _SIGNER)
    result = run(service.target(), budget_s=30, seed=SEED, folder=tmp_path, say=_nothing, most=5)
    assert "418" in result.fault
