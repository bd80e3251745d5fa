"""`pipeline bench`: the receiver beside a bare handler, what a call costs, how fast services start."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from shared.errors import ConfigurationError

if TYPE_CHECKING:
    from infra.local.bench.run import BenchReport


def bench(
    *,
    only: Annotated[str | None, typer.Option(help="Parts, separated by commas: receiver, stages, startup.")] = None,
    seconds: Annotated[float, typer.Option(help="Length of one round of load.", min=1, max=60)] = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Measure what the README promises, on this machine; a missed target is named."""
    from infra.local.bench.run import PARTS, BenchOptions, run_bench

    parts = tuple(part.strip() for part in only.split(",")) if only else PARTS
    if unknown := set(parts) - set(PARTS):
        raise ConfigurationError(
            "unknown_part", f"no part is called {', '.join(sorted(unknown))}", fix=f"one of {PARTS}"
        )
    progress = Console(stderr=True)
    with progress.status("starting") as status:
        report = run_bench(BenchOptions(parts=parts, seconds=seconds), report=status.update)
    if as_json:
        typer.echo(json.dumps(report.document(), indent=2))
    else:
        _print(Console(), report)


def _print(console: Console, report: BenchReport) -> None:
    console.print(", ".join(f"{name} {value}" for name, value in report.machine.items()), style="dim")
    if report.race:
        console.print(_race_table(report))
        console.print(
            f"receiver / bare: {report.race.ratio_to_bare:.0%}; "
            f"answered {report.race.answered:,}, published {report.race.published:,}"
        )
    if report.costs:
        console.print(_cost_table(report))
    if report.startups:
        console.print(_startup_table(report))
    missed = report.missed()
    for line in missed:
        console.print(f"missed: {line}", style="yellow")
    if not missed:
        console.print("every target met", style="green")


def _race_table(report: BenchReport) -> Table:
    assert report.race is not None
    table = Table(title="receiver beside a bare handler", title_justify="left")
    for heading in ("connections", "who", "requests/s", "p50 ms", "p95 ms", "p99 ms", "errors"):
        table.add_column(heading, justify="right")
    for count in report.race.receiver:
        for who, lines in (("bare", report.race.bare), ("receiver", report.race.receiver)):
            line = lines[count]
            figures = (f"{line.rps:,.0f}", f"{line.p50_ms:.1f}", f"{line.p95_ms:.1f}", f"{line.p99_ms:.1f}")
            table.add_row(str(count), who, *figures, str(line.errors))
    return table


def _cost_table(report: BenchReport) -> Table:
    from infra.local.bench.costs import TARGETS

    table = Table(title="one call, counted at the clients (most allowed)", title_justify="left")
    for heading in ("stage", "commits", "reads", "publishes", "DML", "commits are"):
        table.add_column(heading)
    for name, cost in (report.costs or {}).items():
        target = TARGETS[name]
        table.add_row(
            name,
            f"{cost.commits} ({target.commits})",
            f"{cost.reads} ({target.reads})",
            f"{cost.publishes} ({target.publishes})",
            str(cost.dml),
            target.why,
        )
    return table


def _startup_table(report: BenchReport) -> Table:
    table = Table(title="start-up and memory", title_justify="left")
    for heading in ("service", "ready after s", "RSS MiB"):
        table.add_column(heading)
    for name, one in (report.startups or {}).items():
        table.add_row(name, f"{one.seconds:.2f}", f"{one.rss_mib:.0f}")
    return table
