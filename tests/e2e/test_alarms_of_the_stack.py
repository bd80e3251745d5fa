"""Alarms under a fault on the whole local stack: real processes, their log files and their metrics files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from handlers import wiring
from shared.settings import load_settings
from tests.e2e.calls import PostedCall, accepted, missed_call, post
from tests.support.alarms import (
    Growth,
    Story,
    faults_of,
    grown,
    growth_of_logs,
    json_lines,
    load,
    rules_of,
    series,
    totals_of_metrics,
)
from tests.support.stack import LocalStack, wait_for
from tests.unit.test_alarms_of_google import STORIES as MADE_UP

pytestmark = pytest.mark.emulators

COMPANY = "COM019a00000000700080000000000000fa"
TENANT = "alarming"
REFUSED = series("pipeline_vendor_requests_total", vendor="hubspot", outcome="refused", tenant_id=TENANT)
OPENED = "logging_googleapis_com:user_pipeline_circuits_opened"
LETTERS = "logging_googleapis_com:user_pipeline_dead_letters"


@pytest.fixture
def stack(local_stack: LocalStack) -> Iterator[LocalStack]:
    """Whatever HubSpot's stand-in was told ends with the test."""
    yield local_stack
    local_stack.tell("hubspot", "tokens", {"tokens": None})


def standing(stack: LocalStack) -> Growth:
    """Where the series stand, counted since the stack began.

    Without those of other tenants: the stack is other tests' too, and what they left blocked is refused at each sweep.
    """
    found = {**totals_of_metrics(stack.telemetry_dir), **growth_of_logs(json_lines(stack.log_lines()))}
    return {name: value for name, value in found.items() if dict(name[1]).get("tenant_id", TENANT) in {TENANT, ""}}


@dataclass
class Customer:
    """A tenant's calls, and what the stack says of them."""

    stack: LocalStack
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(100, 199)))

    def __post_init__(self) -> None:
        self.stack.add_tenant(TENANT, company_id=COMPANY)
        self.secret = wiring.secrets(load_settings()).read(f"{TENANT}-webhook-secret")

    def post(self) -> PostedCall:
        missed = missed_call(number=f"+1303555{next(self.numbers):04d}", company_id=COMPANY)
        return accepted(self.stack, missed, key=self.secret)

    def arrives(self) -> None:
        """One more call, to its end. Sweeps: what an open circuit put to sleep is woken by a probe that is due."""
        posted = self.post()

        def is_done_after_a_sweep() -> bool:
            wiring.sweeper(load_settings()).sweep()
            story = self.stack.story(posted.call_id, tenant_id=TENANT)
            return any(line.request_state == "done" for line in story)

        wait_for(is_done_after_a_sweep, bool, what="a call in both CRMs")

    def waits_for_the_crm(self) -> None:
        """One more call, to where a refused tenant's calls stop."""
        posted = self.post()

        def is_stopped() -> bool:
            story = self.stack.story(posted.call_id, tenant_id=TENANT)
            return any(line.stage == "crm_sync" and line.state == "blocked" for line in story)

        wait_for(is_stopped, bool, what="a call that waits for the CRM")

    def refused(self) -> float:
        return totals_of_metrics(self.stack.telemetry_dir).get(REFUSED, 0)

    def troubles(self) -> Growth:
        return {one: count for one, count in standing(self.stack).items() if one == REFUSED or one[0] == OPENED}

    def recover(self) -> None:
        """Refusals are counted when they happen and told with a worker's next request: until all of them are told."""
        self.stack.tell("hubspot", "tokens", {"tokens": None})
        self.arrives()

        def are_all_told() -> bool:
            before = self.troubles()
            self.arrives()
            return self.troubles() == before

        wait_for(are_all_told, bool, what="no more refusals", timeout_s=90)


def test_a_vendor_that_refuses_a_tenant_and_messages_that_cannot_be_read(
    stack: LocalStack, promtool: Path, tmp_path: Path
) -> None:
    customer = Customer(stack)
    ok = series("pipeline_vendor_requests_total", vendor="hubspot", outcome="ok", tenant_id=TENANT)

    def part(happening: Callable[[], None]) -> Growth:
        before = standing(stack)
        happening()
        return grown(before, standing(stack))

    def well() -> None:
        customer.arrives()
        wait_for(lambda: totals_of_metrics(stack.telemetry_dir).get(ok, 0) >= 1, bool, what="its metrics")

    def fault() -> None:
        stack.tell("hubspot", "tokens", {"tokens": {}})
        wiring.publisher_of(load_settings()).publish("call-analyzed", b"rubbish", {"tenant_id": TENANT})
        for _ in range(3):
            customer.waits_for_the_crm()

        def is_known() -> bool:
            customer.waits_for_the_crm()  # with its next request a worker tells what it counted
            return customer.refused() >= 3 and {OPENED, LETTERS} <= {name for name, _ in standing(stack)}

        wait_for(is_known, bool, what="three refusals, an open circuit and a dead letter", timeout_s=90)
        assert post(stack, missed_call(number="+13035550199", company_id=COMPANY), key="x" * 32).status_code == 401
        customer.recover()

    story = Story(part(well), part(fault), part(customer.arrives))

    assert (
        faults_of(promtool, tmp_path, rules=rules_of("vendor_errors", "circuit_opened", "dead_letters"), story=story)
        == ""
    )


def test_every_alarm_is_seen_firing_in_one_test_or_another() -> None:
    """Over real series, or over made-up ones where only Google emits them."""
    folder = Path(__file__).resolve().parents[1]
    real = (folder / "integration" / "test_alarms.py").read_text(encoding="utf-8") + Path(__file__).read_text(
        encoding="utf-8"
    )
    missing = [
        alert["id"]
        for alert in load("alerts")["alerts"]
        if f'"{alert["id"]}"' not in real and alert["id"] not in MADE_UP
    ]

    assert missing == []
