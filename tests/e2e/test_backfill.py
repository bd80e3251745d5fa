"""Webhooks that CallRail sent and nobody got: after a backfill their calls are in the CRMs like all others."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from handlers.cli.backfill import backfill, reconciliation
from infra.local.demo_tenant import DEMO_ACCOUNT_ID
from shared.names import first_request_id
from tests.e2e.calls import ONE_OF_EACH, Payload, accepted, held, missed_call, sample, sample_payload
from tests.support.stack import LocalStack

pytestmark = [pytest.mark.emulators, pytest.mark.speech]

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(backfill)
app.command()(reconciliation)


def run_backfill(stack: LocalStack, *arguments: str) -> dict[str, Any]:
    command = ("backfill", "--tenant", stack.tenant_id, "--since", "6h", "--json", *arguments)
    document: dict[str, Any] = json.loads(CliRunner().invoke(app, list(command), catch_exceptions=False).stdout)
    return document


def two_hours_old(payload: Payload) -> Payload:
    return payload | {"start_time": (datetime.now(UTC) - timedelta(hours=2)).isoformat(timespec="milliseconds")}


def test_with_5_percent_of_the_webhooks_lost_every_call_ends_in_the_crms(local_stack: LocalStack) -> None:
    stack = local_stack
    payloads = [two_hours_old(missed_call(number=f"+1303555{100 + n:04d}")) for n in range(19)]
    payloads += [two_hours_old(sample_payload(stack, sample("burst-pipe")))]
    for payload in payloads:
        stack.tell("callrail", "calls", {"account_id": DEMO_ACCOUNT_ID, "webhook": payload})
    arrived = [accepted(stack, payload) for payload in payloads[:19]]
    lost = str(payloads[19]["resource_id"])
    for call in arrived:
        assert stack.end_of(call.request_id, call_id=call.call_id) == "done"

    counted = run_backfill(stack, "--dry-run")
    found = run_backfill(stack)
    assert stack.end_of(first_request_id(stack.tenant_id, lost), call_id=lost) == "done"
    again = run_backfill(stack)

    assert (counted["provider"], counted["ours"], counted["missing"]) == (20, 19, 1)
    assert (found["ours"], found["never_seen"], found["recovered"]) == (20, 1, 1)
    assert (again["provider"], again["ours"], again["missing"], again["recovered"]) == (20, 20, 0, 0)
    spoken = stack.calls().get(stack.tenant_id, lost)
    assert spoken is not None
    assert spoken.transcript is not None, "the audio came through CallRail's API, without any link of a webhook"
    for payload in payloads:
        assert held(stack, str(payload["resource_id"])).counts() == ONE_OF_EACH
