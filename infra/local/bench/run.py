"""Runs the parts of a bench on a stack of its own and judges them by their targets."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from infra.local.bench.costs import TARGETS, Cost, count_costs
from infra.local.bench.race import Race, run_race
from infra.local.bench.startup import Startup, measure_startups
from infra.local.environment import applied
from infra.local.prepare import prepare
from infra.local.stack import Stack, StackOptions

PARTS = ("receiver", "stages", "startup")
RATIO_TARGET = 0.9
RPS_TARGET_AT_512 = 3564
"""What Mozilla's edge reached at 512 connections on such a machine (docs/operations/bench.md)."""
RECEIVER_READY_TARGET_S = 1.5


@dataclass(frozen=True)
class BenchOptions:
    """Which parts to run, and how long one round of load lasts."""

    parts: tuple[str, ...] = PARTS
    seconds: float = 5.0


@dataclass(frozen=True)
class BenchReport:
    """What was measured; a part that was not run is None."""

    race: Race | None = None
    costs: Mapping[str, Cost] | None = None
    startups: Mapping[str, Startup] | None = None
    machine: Mapping[str, Any] = field(default_factory=dict)

    def missed(self) -> list[str]:
        """Every target that was missed, by how much."""
        return [*self._missed_by_receiver(), *self._missed_by_stages(), *self._missed_by_startup()]

    def document(self) -> dict[str, Any]:
        """The JSON form that docs/operations/bench.md describes."""
        document: dict[str, Any] = {"machine": dict(self.machine), "missed_targets": self.missed()}
        if self.race:
            receiver = {str(count): asdict(line) for count, line in self.race.receiver.items()}
            document["receiver"] = {
                "ratio_to_bare": round(self.race.ratio_to_bare, 3),
                "p99_ms": self.race.receiver[32].p99_ms,
                "by_connections": receiver,
                "answered": self.race.answered,
                "published": self.race.published,
            }
            document["bare"] = {"by_connections": {str(count): asdict(line) for count, line in self.race.bare.items()}}
        if self.costs:
            document["stages"] = {name: asdict(cost) for name, cost in self.costs.items()}
        if self.startups:
            document["startup_s"] = {name: round(one.seconds, 3) for name, one in self.startups.items()}
            document["rss_mib"] = {name: round(one.rss_mib, 1) for name, one in self.startups.items()}
        return document

    def _missed_by_receiver(self) -> Iterator[str]:
        if self.race is None:
            return
        if self.race.ratio_to_bare < RATIO_TARGET:
            yield f"receiver: {self.race.ratio_to_bare:.0%} of the bare handler, wanted {RATIO_TARGET:.0%}"
        rps = self.race.receiver[512].rps
        if rps < RPS_TARGET_AT_512:
            bare = self.race.bare[512].rps
            wanted = f"wanted {RPS_TARGET_AT_512:,} (bare: {bare:,.0f})"
            yield f"receiver: {rps:,.0f} requests/s at 512 connections, {wanted}"
        if self.race.published < self.race.answered:
            yield f"receiver: {self.race.answered} answered, {self.race.published} published"

    def _missed_by_stages(self) -> Iterator[str]:
        for name, cost in (self.costs or {}).items():
            target = TARGETS[name]
            for kind in ("commits", "reads", "publishes"):
                if getattr(cost, kind) > getattr(target, kind):
                    yield f"{name}: {getattr(cost, kind)} {kind}, wanted {getattr(target, kind)} ({target.why})"

    def _missed_by_startup(self) -> Iterator[str]:
        ready = (self.startups or {}).get("webhook")
        if ready and ready.seconds > RECEIVER_READY_TARGET_S:
            yield f"receiver: ready after {ready.seconds:.1f} s, wanted {RECEIVER_READY_TARGET_S} s"


def run_bench(options: BenchOptions, *, report: Callable[[str], None]) -> BenchReport:
    """Measure on a stack without workers, which ends with this function."""
    with _stack(report) as env, applied(env):
        # Start-up first: it wants a quiet machine.
        startups = measure_startups(env, report=report) if "startup" in options.parts else None
        costs = count_costs(env, report=report) if "stages" in options.parts else None
        race = run_race(env, seconds=options.seconds, report=report) if "receiver" in options.parts else None
    return BenchReport(race=race, costs=costs, startups=startups, machine=_machine())


@contextmanager
def _stack(report: Callable[[str], None]) -> Iterator[Mapping[str, str]]:
    report("starting emulators and stand-ins")
    with tempfile.TemporaryDirectory(prefix="pipeline-bench-") as folder:
        stack = Stack(StackOptions(state_dir=Path(folder), only=()), prepare=prepare, report=lambda _line: None)
        state = stack.start()
        try:
            yield {**state.env, **state.exports, **state.extra}
        finally:
            stack.stop()


def _machine() -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cores": os.cpu_count(),
        "cpu": _cpu_model(),
        "python": platform.python_version(),
        "load_1m": round(os.getloadavg()[0], 2),
    }


def _cpu_model() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor())
