"""Alarms and objectives over Google's own metrics: the series are made up here, because no emulator emits them; the
evaluation is Prometheus's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.alarms import Growth, Series, Story, faults_of, rules_of, series

WEBHOOK = {"monitored_resource": "cloud_run_revision", "service_name": "webhook"}


def requests(*, ok: float, failed: float) -> Growth:
    """The receiver's requests a minute."""
    name = "run_googleapis_com:request_count"
    return {
        series(name, **WEBHOOK, response_code_class="2xx"): ok,
        series(name, **WEBHOOK, response_code_class="5xx"): failed,
    }


def backlog(subscription: str) -> Series:
    name = "pubsub_googleapis_com:subscription_oldest_unacked_message_age"
    return series(name, monitored_resource="pubsub_subscription", subscription_id=subscription)


CPU = series(
    "spanner_googleapis_com:instance_cpu_utilization_by_priority",
    **{"monitored_resource": "spanner_instance", "instance_id": "pipeline-prod", "priority": "high"},
)
WELL = requests(ok=60, failed=0)
STORIES: dict[str, Story] = {
    "webhook_error_rate": Story(WELL, requests(ok=50, failed=10), WELL),
    "webhook_unavailable": Story(WELL, requests(ok=58, failed=2), WELL),
    "stage_backlog": Story({}, {}, {}, levels={backlog("analyze-call-transcribed"): (3, 1200, 10)}),
    "dead_letters_unrecorded": Story({}, {}, {}, levels={backlog("dead-letter-dead-letters"): (0, 1000, 0)}),
    "spanner_cpu": Story({}, {}, {}, levels={CPU: (0.3, 0.8, 0.4)}),
}


@pytest.mark.parametrize("alert", STORIES)
def test_an_alarm_fires_under_its_fault_and_clears_after_it(promtool: Path, tmp_path: Path, alert: str) -> None:
    assert faults_of(promtool, tmp_path, rules=rules_of(alert), story=STORIES[alert]) == ""


NEARLY: dict[str, Story] = {
    "webhook_error_rate": Story(WELL, requests(ok=58, failed=2), WELL),
    "webhook_unavailable": Story(WELL, requests(ok=600, failed=1), WELL),
    "stage_backlog": Story({}, {}, {}, levels={backlog("dead-letters-archive"): (3, 90_000, 10)}),
    "dead_letters_unrecorded": Story({}, {}, {}, levels={backlog("dead-letter-dead-letters"): (0, 800, 0)}),
    "spanner_cpu": Story({}, {}, {}, levels={CPU: (0.3, 0.6, 0.4)}),
}


@pytest.mark.parametrize("alert", NEARLY)
def test_it_stays_silent_below_its_bound(promtool: Path, tmp_path: Path, alert: str) -> None:
    found = faults_of(promtool, tmp_path, rules=rules_of(alert), story=NEARLY[alert])

    assert found.count("got: {} 0E+00") == 1, found


def burn_rule(name: str, *, bad: str, total: str, goal: float, burn: dict[str, Any]) -> dict[str, str]:
    """An objective's burn rate as Cloud Monitoring's `select_slo_burn_rate` computes it."""
    window = f"[{burn['window_s']}s]"
    ratio = f"sum(increase({bad}{window})) / sum(increase({total}{window}))"
    return {"alert": name, "expr": f"({ratio}) / {1 - goal} > {burn['rate']}"}


def test_the_availability_objective_burns_and_recovers(promtool: Path, tmp_path: Path) -> None:
    from tests.support.alarms import load

    slo = next(slo for slo in load("slos")["slos"] if slo["id"] == "webhook_availability")
    total = 'run_googleapis_com:request_count{service_name="webhook"}'
    bad = 'run_googleapis_com:request_count{service_name="webhook",response_code_class="5xx"}'
    rules = [
        burn_rule(f"burn{burn['window_s']}", bad=bad, total=total, goal=slo["goal"], burn=burn)
        for burn in slo["burn_rates"]
    ]
    story = Story(WELL, requests(ok=10, failed=50), WELL, well_again_min=600)

    assert faults_of(promtool, tmp_path, rules=rules, story=story) == ""


def test_the_latency_objective_burns_and_recovers(promtool: Path, tmp_path: Path) -> None:
    from tests.support.alarms import load

    slo = next(slo for slo in load("slos")["slos"] if slo["id"] == "webhook_latency")
    name = "run_googleapis_com:request_latencies"
    quick = {series(f"{name}_bucket", le="2000"): 60.0, series(f"{name}_bucket", le="+Inf"): 60.0}
    slow = {series(f"{name}_bucket", le="2000"): 20.0, series(f"{name}_bucket", le="+Inf"): 60.0}
    rules = [_latency_rule(name, slo, burn) for burn in slo["burn_rates"]]

    assert faults_of(promtool, tmp_path, rules=rules, story=Story(quick, slow, quick, well_again_min=600)) == ""


def _latency_rule(name: str, slo: dict[str, Any], burn: dict[str, Any]) -> dict[str, str]:
    window, cut = f"[{burn['window_s']}s]", slo["distribution_cut"]["max"]
    good = f'sum(increase({name}_bucket{{le="{cut}"}}{window}))'
    total = f'sum(increase({name}_bucket{{le="+Inf"}}{window}))'
    return {"alert": f"slow{burn['window_s']}", "expr": f"(1 - {good} / {total}) / {1 - slo['goal']} > {burn['rate']}"}
