"""Webhooks that CallRail sent and nobody got: after a backfill their calls are in the CRMs like all others."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import typer
from typer.testing import CliRunner

from handlers.cli.backfill import backfill, reconciliation
from infra.local.demo_tenant import DEMO_ACCOUNT_ID
from shared.names import first_request_id
from tests.e2e.calls import ONE_OF_EACH, Payload, held, missed_call, sample, sample_payload
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


@pytest.fixture
def callrail_posts(local_stack: LocalStack) -> Iterator[None]:
    """CallRail's stand-in posts the webhooks of its calls itself, and loses every twentieth."""
    webhooks = f"{local_stack.standin('callrail')}/_standin/webhooks"
    target = {"url": local_stack.env["WEBHOOK_URL"], "key": local_stack.env["DEMO_WEBHOOK_SECRET"]}
    httpx.put(webhooks, json=target, trust_env=False).raise_for_status()
    lossy = {"operation": "webhook", "kind": "drop", "skip": 12, "every": 20, "times": 1000}
    local_stack.tell("callrail", "faults", [lossy])
    yield
    local_stack.heal("callrail")
    httpx.put(webhooks, json={}, trust_env=False).raise_for_status()


@pytest.mark.usefixtures("callrail_posts")
def test_with_5_percent_of_the_webhooks_lost_every_call_ends_in_the_crms(local_stack: LocalStack) -> None:
    stack = local_stack
    payloads = [two_hours_old(missed_call(number=f"+1303555{100 + n:04d}")) for n in range(19)]
    payloads.insert(12, two_hours_old(sample_payload(stack, sample("burst-pipe"))))
    for payload in payloads:
        stack.tell("callrail", "calls", {"account_id": DEMO_ACCOUNT_ID, "webhook": payload})
    posted = stack.state("callrail")["webhooks"]
    outcomes = [posted[str(payload["resource_id"])] for payload in payloads]
    assert Counter(outcomes) == {"sent 202": 19, "dropped": 1}
    lost = str(payloads[outcomes.index("dropped")]["resource_id"])
    assert lost == str(payloads[12]["resource_id"]), "the one with audio"
    for payload in payloads:
        if (call_id := str(payload["resource_id"])) != lost:
            assert stack.end_of(first_request_id(stack.tenant_id, call_id), call_id=call_id) == "done"

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
