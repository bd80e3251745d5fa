"""The figures of a bench as tables for a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from infra.local.bench.counting import Cost
from infra.local.bench.machine import Machine
from infra.local.bench.race import Figures, RaceResult
from infra.local.bench.replay import ReplayResult
from infra.local.bench.run import BenchResult
from infra.local.bench.startup import Start
from infra.local.bench.targets import RECEIVER_READY_S, STAGE_COSTS, Verdict


def print_bench(console: Console, result: BenchResult) -> None:
    """All that was measured, then each target with its verdict."""
    console.print(_machine_line(result.machine))
    if result.race:
        console.print(_race_table(result.race))
    if result.stages:
        console.print(_stages_table(result.stages))
    if result.starts:
        console.print(_starts_table(result.starts))
    if result.replay:
        console.print(_replay_table(result.replay))
    console.print(_verdict_table(result.verdicts()))


def _machine_line(machine: Machine) -> Text:
    text = f"{machine.cores} cores of {machine.cpu}, {machine.memory_gib} GiB, Python {machine.python}, {machine.date}"
    if machine.load_before > machine.cores / 2:
        text += f"\nbusy before the start (load {machine.load_before}): the figures are too low"
    return Text(text)


def _race_table(race: RaceResult) -> Table:
    title = f"receiver and bare Flask handler: {race.workers} processes of {race.threads} threads each"
    table = _table(title, "conns", "who", "req/s", "of bare", "p50 ms", "p95", "p99", "errors", "inbox", "lost")
    for connections in race.receiver:
        table.add_row(str(connections), "receiver", *_cells(race.receiver[connections], race.ratio_at(connections)))
        table.add_row("", "bare", *_cells(race.bare[connections], None), style="dim", end_section=True)
    table.add_row("all", "receiver", "", f"{race.ratio_to_bare:.1%}")
    return table


def _cells(figures: Figures, ratio: float | None) -> list[str]:
    return [
        f"{figures.rps:,.0f}",
        "" if ratio is None else f"{ratio:.1%}",
        f"{figures.p50_ms:.1f}",
        f"{figures.p95_ms:.1f}",
        f"{figures.p99_ms:.1f}",
        str(figures.errors),
        str(figures.kept),
        str(figures.lost),
    ]


def _stages_table(costs: Mapping[str, Cost]) -> Table:
    table = _table("one two-channel call, counted at the clients", "stage", "commits", "reads", "publishes", "other")
    for stage, cost in costs.items():
        most = STAGE_COSTS[stage]
        table.add_row(
            stage,
            _within(cost.commits, most.commits),
            _within(cost.reads, most.reads),
            _within(cost.publishes, most.publishes),
            str(cost.other),
        )
    return table


def _within(count: int, most: int) -> Text:
    return Text(f"{count} of {most}", style="" if count <= most else "red")


def _starts_table(starts: Mapping[str, Start]) -> Table:
    table = _table("from start to first answer", "service", "seconds", "MiB")
    for name, start in starts.items():
        is_late = name == "webhook" and start.seconds > RECEIVER_READY_S
        table.add_row(name, Text(f"{start.seconds:.2f}", style="red" if is_late else ""), f"{start.rss_mib:.0f}")
    return table


def _replay_table(replay: ReplayResult) -> Table:
    course = replay.course
    title = (
        f"{replay.sent} of {course.letters} letters replayed at {course.rate:g} a second at most"
        f" in {replay.replay_s:.0f} s, beside {course.live_rate:g} live calls a second"
    )
    table = _table(title, "live calls", "calls", "unfinished", "p50 ms", "p95")
    for name, live in (("alone", replay.alone), ("beside the replay", replay.beside)):
        table.add_row(name, str(live.calls), str(live.unfinished), f"{live.p50_ms:.1f}", f"{live.p95_ms:.1f}")
    return table


def _verdict_table(verdicts: Sequence[Verdict]) -> Table:
    table = Table(title="targets", title_justify="left")
    for column in ("what", "target", "measured", "verdict"):
        table.add_column(column)
    for verdict in verdicts:
        shown = Text("met", style="green") if verdict.is_met else Text(f"missed: {verdict.miss}", style="red")
        table.add_row(verdict.name, verdict.target, verdict.measured, shown)
    return table


def _table(title: str, *columns: str) -> Table:
    """The first column and `who` are words, all others figures."""
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 or column == "who" else "right", no_wrap=True)
    return table
