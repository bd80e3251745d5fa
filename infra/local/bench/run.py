"""Runs the bench: each part on a fresh stack of its own, so that no part works off another's leftovers."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from infra.local.bench.counting import Cost
from infra.local.bench.machine import Machine, this_machine
from infra.local.bench.race import Course, Figures, RaceResult, run_race
from infra.local.bench.replay import WORKERS as REPLAY_WORKERS
from infra.local.bench.replay import ReplayCourse, ReplayResult, measure_replay
from infra.local.bench.stages import measure_stages
from infra.local.bench.startup import Start, measure_starts
from infra.local.bench.targets import Verdict, judge_race, judge_replay, judge_stages, judge_starts
from infra.local.bench.wrk import find_wrk
from infra.local.errors import Report
from infra.local.prepare import prepare
from infra.local.stack import Stack, StackOptions
from infra.local.state import StackState

PARTS = ("receiver", "stages", "startup", "replay")
USUAL_PARTS = ("receiver", "stages", "startup")
"""What a run without `--only` measures: a replay of ten thousand letters takes longer than everything else."""


@dataclass(frozen=True)
class BenchOptions:
    """What to measure and for how long."""

    parts: tuple[str, ...] = USUAL_PARTS
    course: Course = field(default_factory=Course)
    starts: int = 3
    replay: ReplayCourse = field(default_factory=ReplayCourse)


@dataclass(frozen=True)
class BenchResult:
    """The figures of one run; a part that was left out is None."""

    machine: Machine
    race: RaceResult | None = None
    stages: Mapping[str, Cost] | None = None
    starts: Mapping[str, Start] | None = None
    replay: ReplayResult | None = None

    def verdicts(self) -> list[Verdict]:
        return [
            *(judge_race(self.race) if self.race else ()),
            *(judge_stages(self.stages) if self.stages else ()),
            *(judge_starts(self.starts) if self.starts else ()),
            *(judge_replay(self.replay) if self.replay else ()),
        ]

    def document(self) -> dict[str, Any]:
        """The JSON form that docs/operations/bench.md describes."""
        document: dict[str, Any] = {"machine": asdict(self.machine)}
        if self.race:
            document |= _race_document(self.race)
        if self.stages:
            document["stages"] = {name: asdict(cost) for name, cost in self.stages.items()}
        if self.starts:
            document["startup_s"] = {name: round(start.seconds, 3) for name, start in self.starts.items()}
            document["rss_mib"] = {name: round(start.rss_mib, 1) for name, start in self.starts.items()}
        if self.replay:
            document["replay"] = {**asdict(self.replay), "p95_ratio": round(self.replay.p95_ratio, 3)}
        document["targets"] = [{**asdict(verdict), "met": verdict.is_met} for verdict in self.verdicts()]
        return document


def run_bench(options: BenchOptions, report: Report) -> BenchResult:
    """Measure. Raises `PipelineError` when something that is needed is missing or does not work."""
    if "receiver" in options.parts:
        find_wrk(report)  # before anything takes time
    machine = this_machine()
    race = stages = starts = replay = None
    if "receiver" in options.parts:
        with _stack(report) as state:
            key = state.extra["DEMO_WEBHOOK_SECRET"]
            race = run_race(state.env, key=key, course=options.course, report=report)
    if "stages" in options.parts:
        with _stack(report) as state:
            env = {**state.env, **state.exports}
            stages = measure_stages(env, tenant_id=state.extra["DEMO_TENANT_ID"], report=report)
    if "startup" in options.parts:
        with _stack(report) as state:
            starts = measure_starts(state.env, runs=options.starts, report=report)
    if "replay" in options.parts:
        with _stack(report, workers=REPLAY_WORKERS) as state:
            replay = measure_replay(
                {**state.env, **state.exports},
                base_url=state.exports["WEBHOOK_URL"],
                key=state.extra["DEMO_WEBHOOK_SECRET"],
                course=options.replay,
                report=report,
            )
    return BenchResult(machine, race, stages, starts, replay)


@contextmanager
def _stack(report: Report, *, workers: tuple[str, ...] = ()) -> Iterator[StackState]:
    """Emulators and stand-ins with the demo tenant, and only these workers."""
    with tempfile.TemporaryDirectory(prefix="pipeline-bench-") as folder:
        report("starting emulators and stand-ins")
        # Without telemetry, unless the caller asks for it: what it costs is measured by comparing.
        environ = {"PIPELINE_TRACES": "off", "PIPELINE_METRICS": "off", **os.environ}
        options = StackOptions(state_dir=Path(folder), only=workers, environ=environ)
        with Stack(options, prepare=prepare) as stack:
            yield stack.state


def _race_document(race: RaceResult) -> dict[str, Any]:
    return {
        "receiver": {
            "ratio_to_bare": round(race.ratio_to_bare, 3),
            "p99_ms": round(race.p99_ms, 1),
            "lost": race.lost,
            "workers": race.workers,
            "threads": race.threads,
            "by_connections": {
                str(connections): {**_figures(one), "ratio_to_bare": round(race.ratio_at(connections), 3)}
                for connections, one in race.receiver.items()
            },
        },
        "bare": {"by_connections": {str(connections): _figures(one) for connections, one in race.bare.items()}},
    }


def _figures(figures: Figures) -> dict[str, float]:
    return {name: round(value, 1) for name, value in asdict(figures).items()}
