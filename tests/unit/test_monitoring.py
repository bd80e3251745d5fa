"""infra/monitoring names what is there: metrics that the code emits, log lines that it writes, anchors that exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Set
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from shared.meanings.table import RUNBOOK
from shared.measures import MEASURES
from shared.pipeline import PIPELINE_FILE, load_pipeline
from tests.support.alarms import load, matches

ROOT = PIPELINE_FILE.parents[1]
METRICS, ALERTS, SLOS, DASHBOARD = (load(name) for name in ("metrics", "alerts", "slos", "dashboard"))
LOG_BASED = {metric["name"]: metric for metric in METRICS["log_based"]}
GOOGLES = {
    "run_googleapis_com:request_count",
    "run_googleapis_com:request_latencies_bucket",
    "pubsub_googleapis_com:subscription_oldest_unacked_message_age",
    "spanner_googleapis_com:instance_cpu_utilization_by_priority",
}
"""Metrics that Google's services emit by themselves."""


def queries() -> list[str]:
    tiles = DASHBOARD["mosaicLayout"]["tiles"]
    charts = [data for tile in tiles for data in tile["widget"]["xyChart"]["dataSets"]]
    return [
        *(alert["query"] for alert in ALERTS["alerts"]),
        *(data["timeSeriesQuery"]["prometheusQuery"] for data in charts),
    ]


def names_in(query: str) -> set[str]:
    """The series that a query asks for, by their PromQL names."""
    return set(re.findall(r"\b(?:\w+_googleapis_com:\w+|pipeline_\w+)", re.sub(r'"[^"]*"', '""', query)))


def emitted() -> set[str]:
    """Everything that our code and Google's services emit, by PromQL names."""
    found = set(GOOGLES)
    for measure in MEASURES:
        parts = ("_bucket", "_sum", "_count") if measure.kind == "histogram" else ("",)
        found |= {measure.name + part for part in parts}
    for name, metric in LOG_BASED.items():
        parts = ("_bucket", "_sum", "_count") if metric["value_type"] == "DISTRIBUTION" else ("",)
        found |= {f"logging_googleapis_com:user_{name}{part}" for part in parts}
    return found


def test_alarms_and_charts_ask_only_for_what_is_emitted() -> None:
    asked = {name for query in queries() for name in names_in(query)}

    assert asked - emitted() == set()


def test_every_metric_serves_an_alarm_a_chart_or_an_objective() -> None:
    asked = {name for query in queries() for name in names_in(query)}
    unused = [name for name in LOG_BASED if not any(f"user_{name}" in one for one in asked)]
    unused += [measure.name for measure in MEASURES if not any(one.startswith(measure.name) for one in asked)]

    assert unused == []


def test_the_applications_metrics_are_the_codes() -> None:
    assert METRICS["application"] == [
        {
            "name": measure.name,
            "kind": measure.kind,
            "unit": measure.unit,
            "labels": list(measure.labels),
            "description": measure.description,
        }
        for measure in MEASURES
    ]


def measured_in_the_code() -> dict[str, set[str]]:
    """Measure → the labels that the calls of `count`, `observe` and `gauge` give it."""
    names = {name: value for name, value in vars(__import__("shared.measures").measures).items() if name.isupper()}
    found: dict[str, set[str]] = {}
    for folder in ("shared", "handlers"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Name):
                    measure = names.get(node.args[0].id)
                    if measure in MEASURES and isinstance(node.func, ast.Attribute):
                        labels = {keyword.arg for keyword in node.keywords if keyword.arg}
                        found.setdefault(measure.name, set()).update(labels)
    return found


def test_every_metric_is_measured_somewhere_with_its_labels() -> None:
    assert measured_in_the_code() == {measure.name: set(measure.labels) for measure in MEASURES}


@cache
def logged_in_the_code() -> Set[str]:
    """The event of every log line."""
    return {
        str(node.args[0].value)
        for folder in ("shared", "stages", "handlers")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"info", "warning", "error", "exception"}
        and node.args
        and isinstance(node.args[0], ast.Constant)
    }


@pytest.mark.parametrize("metric", METRICS["log_based"], ids=lambda metric: metric["name"])
def test_a_log_based_metric_counts_lines_that_the_code_writes(metric: dict[str, Any]) -> None:
    messages = re.search(r'jsonPayload\.message=(\([^)]*\)|"[^"]*")', metric["filter"])
    assert messages
    named = set(re.findall(r'"([^"]*)"', messages[1]))

    assert named
    assert named - logged_in_the_code() == set()
    matches(metric["filter"], {})  # raises for a filter that the local evaluation would misread


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("alert", ALERTS["alerts"], ids=lambda alert: alert["id"])
def test_an_alarm_says_where_to_read_on(alert: dict[str, Any]) -> None:
    path, _, anchor = alert["runbook"].partition("#")

    assert anchor in anchors(ROOT / path)
    assert set(alert) == {
        *("id", "display_name", "severity", "query", "duration_s", "evaluation_interval_s", "runbook", "summary")
    }
    assert alert["severity"] in {"CRITICAL", "ERROR", "WARNING"}


def test_no_entry_of_the_runbook_belongs_to_no_alarm() -> None:
    ids = {alert["id"].replace("_", "-") for alert in ALERTS["alerts"]} | {
        slo["id"].replace("_", "-") for slo in SLOS["slos"]
    }

    assert {anchor.removeprefix("alarm-") for anchor in anchors(RUNBOOK) if anchor.startswith("alarm-")} == ids


def test_the_backlog_alarm_watches_every_subscription_of_a_stage_and_no_archive() -> None:
    query = next(alert["query"] for alert in ALERTS["alerts"] if alert["id"] == "stage_backlog")
    watched = re.compile(re.findall(r'subscription_id=~"([^"]*)"', query)[0])
    pipeline = load_pipeline()
    stages = [item.subscription for name in pipeline.stages for item in pipeline.services[name].subscribes]

    assert [name for name in stages if not watched.fullmatch(f"prefix-{name}")] == []
    assert [archive for archive in pipeline.archives if watched.fullmatch(archive.subscription)] == []


@pytest.mark.parametrize("slo", SLOS["slos"], ids=lambda slo: slo["id"])
def test_an_objective_can_be_reached_and_missed(slo: dict[str, Any]) -> None:
    assert 0.9 <= slo["goal"] < 1
    assert ("distribution_cut" in slo) != ("good_filter" in slo and "total_filter" in slo)
    for burn in slo["burn_rates"]:
        assert burn["rate"] * (1 - slo["goal"]) < 1, "this rate could not be reached with everything failing"


def test_the_objective_of_ten_minutes_cuts_at_a_bound_of_the_histogram() -> None:
    slo = next(slo for slo in SLOS["slos"] if slo["id"] == "call_to_crm")
    measure = next(measure for measure in MEASURES if f"/{measure.name}/" in slo["distribution_cut"]["filter"])

    assert slo["distribution_cut"]["max"] in measure.bounds


def test_a_tenant_is_a_label_only_where_the_question_is_whose() -> None:
    """A series for each tenant is paid for: docs/operations/observability.md says why these."""
    assert {measure.name for measure in MEASURES if "tenant_id" in measure.labels} == {
        "pipeline_vendor_requests_total",
        "pipeline_audio_seconds_total",
        "pipeline_model_tokens_total",
    }
    assert not {"call_id", "request_id"} & {label for measure in MEASURES for label in measure.labels}
