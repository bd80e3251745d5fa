"""The alarms of infra/monitoring, evaluated by Prometheus's own engine over series that our code really emitted.

A story has three parts: all is well, a fault, all is well again. Each part says by how much every series grew while it
was watched for real, some seconds; on the timeline that growth is repeated in every minute of the part, because alarms
look at minutes and hours. Log lines become series as Cloud Logging makes them: by a metric's filter and extractors.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shared.pipeline import PIPELINE_FILE

FOLDER = PIPELINE_FILE.parent / "monitoring"
WELL_MIN, FAULT_MIN = 30, 60
"""How long, on the timeline, all is well before a fault, and how long the fault lasts."""

Series = tuple[str, tuple[tuple[str, str], ...]]
Growth = Mapping[Series, float]


def load(name: str) -> Any:
    """One of infra/monitoring's documents."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def series(name: str, **labels: str) -> Series:
    """A series by its PromQL name."""
    return name, tuple(sorted(labels.items()))


# --- what the code emitted ------------------------------------------------------------------------------


def growth_of_logs(lines: Iterable[Mapping[str, Any]]) -> dict[Series, float]:
    """What the log-based metrics of metrics.json count in these lines, under their PromQL names."""
    found: defaultdict[Series, float] = defaultdict(float)
    metrics = load("metrics")["log_based"]
    for line in lines:
        for metric in metrics:
            if matches(metric["filter"], line):
                labels = {name: _extracted(extractor, line) for name, extractor in metric["labels"].items()}
                labels["monitored_resource"] = "cloud_run_revision"
                name = f"logging_googleapis_com:user_{metric['name']}"
                if metric["value_type"] == "DISTRIBUTION":
                    found[series(f"{name}_sum", **labels)] += float(_extracted(metric["value_extractor"], line))
                    found[series(f"{name}_count", **labels)] += 1
                else:
                    found[series(name, **labels)] += 1
    return found


_TERM = re.compile(
    r"^(?P<field>resource\.type|jsonPayload\.\w+)(?P<operator>=|>)"
    r'(?P<value>"[^"]*"|[\d.]+|\("[^"]*"(?: OR "[^"]*")*\))$'
)


def matches(condition: str, line: Mapping[str, Any]) -> bool:
    """Cloud Logging's filter language as far as metrics.json uses it: terms joined by AND, `=` and `>`, lists of OR.

    Anything else is refused, so that no filter is taken for another one.
    """
    for term in re.split(r" AND (?![^(]*\))", condition):
        match = _TERM.match(term)
        if match is None:
            raise AssertionError(f"not understood: {term}")
        if match["field"] == "resource.type":
            if match["value"] != '"cloud_run_revision"':
                return False
            continue
        value = line.get(match["field"].removeprefix("jsonPayload."))
        if match["operator"] == ">":
            if not isinstance(value, int | float) or not value > float(match["value"]):
                return False
        elif str(value) not in re.findall(r'"([^"]*)"', match["value"]):
            return False
    return True


def _extracted(extractor: str, line: Mapping[str, Any]) -> str:
    match = re.fullmatch(r"EXTRACT\(jsonPayload\.(\w+)\)", extractor)
    assert match, extractor
    return str(line.get(match[1], ""))


def json_lines(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects among lines of any kind."""
    for line in text.splitlines():
        if line.startswith("{"):
            try:
                yield json.loads(line)
            except ValueError:
                continue


def totals_of_metrics(folder: Path) -> dict[Series, float]:
    """Where every series of the application stands, from the last line of each process in `metrics-*.jsonl`."""
    last: dict[str, dict[str, Any]] = {}
    for path in folder.glob("metrics-*.jsonl"):
        for document in json_lines(path.read_text(encoding="utf-8")):
            for resource in document["resource_metrics"]:
                last[resource["resource"]["attributes"]["service.instance.id"]] = resource
    totals: defaultdict[Series, float] = defaultdict(float)
    for resource in last.values():
        for scope in resource["scope_metrics"]:
            for metric in scope["metrics"]:
                for point in metric["data"]["data_points"]:
                    for name, value in _series_of(metric["name"], point).items():
                        totals[name] += value
    return totals


def _series_of(name: str, point: Mapping[str, Any]) -> dict[Series, float]:
    labels = {key: str(value) for key, value in point["attributes"].items()}
    if "bucket_counts" not in point:
        return {series(name, **labels): point["value"]}
    found = {series(f"{name}_sum", **labels): point["sum"], series(f"{name}_count", **labels): point["count"]}
    below = 0
    for bound, count in zip([*point["explicit_bounds"], "+Inf"], point["bucket_counts"], strict=True):
        below += count
        found[series(f"{name}_bucket", **labels, le=_bound(bound))] = below
    return found


def _bound(bound: float | str) -> str:
    return bound if isinstance(bound, str) else f"{bound:g}"


def grown(before: Growth, after: Growth) -> dict[Series, float]:
    """By how much each series grew."""
    return {name: value - before.get(name, 0) for name, value in after.items()}


# --- the evaluation -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Story:
    """Growth a minute in each part. `levels` are gauges: their value in the three parts."""

    well: Growth
    fault: Growth
    again: Growth
    levels: Mapping[Series, tuple[float, float, float]] = field(default_factory=dict)
    well_again_min: int = 120

    def input_series(self) -> list[dict[str, str]]:
        names = {*self.well, *self.fault, *self.again}
        counters = [(name, self._counter(name)) for name in sorted(names)]
        gauges = [(name, self._gauge(values)) for name, values in self.levels.items()]
        return [{"series": _text(name), "values": values} for name, values in (*counters, *gauges)]

    def _counter(self, name: Series) -> str:
        well, fault, again = (part.get(name, 0.0) for part in (self.well, self.fault, self.again))
        until_fault = well * WELL_MIN
        until_again = until_fault + fault * FAULT_MIN
        return (
            f"0+{well}x{WELL_MIN} {until_fault + fault}+{fault}x{FAULT_MIN - 1} "
            f"{until_again + again}+{again}x{self.well_again_min - 1}"
        )

    def _gauge(self, values: tuple[float, float, float]) -> str:
        before, during, after = values
        return f"{before}x{WELL_MIN} {during}x{FAULT_MIN - 1} {after}x{self.well_again_min - 1}"


def _text(name: Series) -> str:
    metric, labels = name
    return metric + "{" + ",".join(f"{key}={json.dumps(value)}" for key, value in labels) + "}"


def faults_of(promtool: Path, folder: Path, *, rules: Sequence[Mapping[str, Any]], story: Story) -> str:
    """What promtool finds wrong with "each rule is silent, then fires, then is silent again"; empty when nothing.

    A rule is `{"alert", "expr", "for"}`.
    """
    looks = [
        {
            "expr": f'count(ALERTS{{alertname="{rule["alert"]}",alertstate="firing"}}) > bool 0 or vector(0)',
            "eval_time": f"{minute}m",
            "exp_samples": [{"labels": "{}", "value": int(fires)}],
        }
        for rule in rules
        for minute, fires in (
            (WELL_MIN - 1, False),
            (WELL_MIN + FAULT_MIN - 1, True),
            (WELL_MIN + FAULT_MIN + story.well_again_min - 1, False),
        )
    ]
    (folder / "rules.json").write_text(json.dumps({"groups": [{"name": "alarms", "rules": list(rules)}]}))
    test = {
        "rule_files": ["rules.json"],
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": story.input_series(), "promql_expr_test": looks}],
    }
    (folder / "test.json").write_text(json.dumps(test))
    done = subprocess.run(
        [str(promtool), "test", "rules", "test.json"], cwd=folder, capture_output=True, text=True, check=False
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def rules_of(*ids: str) -> list[dict[str, Any]]:
    """Alerts of alerts.json as Prometheus's rules."""
    alerts = {alert["id"]: alert for alert in load("alerts")["alerts"]}
    return [{"alert": name, "expr": alerts[name]["query"], "for": f"{alerts[name]['duration_s']}s"} for name in ids]
