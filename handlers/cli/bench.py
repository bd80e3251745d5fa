"""`pipeline bench`: the figures that README.md promises, measured on this machine."""

from __future__ import annotations

import json
import logging
import sys
from typing import Annotated

import structlog
import typer
from rich.console import Console


def bench(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
    only: Annotated[
        str, typer.Option(help="Parts to measure, separated by commas: receiver, stages, startup, replay.")
    ] = "receiver,stages,startup",
    seconds: Annotated[int, typer.Option(help="Seconds for each round of the receiver's race.", min=1, max=60)] = 5,
    rounds: Annotated[int, typer.Option(help="Rounds for each number of connections.", min=1, max=20)] = 3,
    connections: Annotated[str, typer.Option(help="Numbers of senders, separated by commas.")] = "1,32,128,512",
    letters: Annotated[int, typer.Option(help="Part replay: so many dead letters.", min=1, max=100_000)] = 10_000,
    rate: Annotated[float, typer.Option(help="Part replay: its cap, letters a second.", min=0.1, max=1000)] = 10.0,
    live_rate: Annotated[float, typer.Option(help="Part replay: live calls a second.", min=0.1, max=100)] = 2.0,
    most: Annotated[
        str, typer.Option("--for", help="Part replay: stop it after this time (20m); otherwise it goes to its end.")
    ] = "",
    fast: Annotated[bool, typer.Option("--fast", help="One short round and one start of each: a glance.")] = False,
) -> None:
    """Measure the receiver beside a bare handler, what a call costs at each stage, and every service's start.

    With `--only replay`: live calls beside a replay of many dead letters.
    """
    from handlers.cli.sweep import seconds_of
    from infra.local.bench.race import Course
    from infra.local.bench.replay import ReplayCourse
    from infra.local.bench.run import BenchOptions, run_bench
    from infra.local.bench.screens import print_bench

    course = (
        Course(_numbers(connections), rounds=1, seconds=2) if fast else Course(_numbers(connections), rounds, seconds)
    )
    replay = ReplayCourse(letters, rate, live_rate, most_s=seconds_of(most) if most else None)
    options = BenchOptions(parts=_parts(only), course=course, starts=1 if fast else 3, replay=replay)
    # The stages run in this process; their log must not get between the figures.
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    progress = Console(stderr=True)
    with progress.status("measuring") as status:

        def report(line: str) -> None:
            status.update(line)
            progress.print(line, style="dim", highlight=False)

        result = run_bench(options, report)
    if as_json:
        sys.stdout.write(json.dumps(result.document(), indent=2) + "\n")
    else:
        print_bench(Console(), result)
    if result.race and result.race.lost:
        raise typer.Exit(1)


def _parts(text: str) -> tuple[str, ...]:
    from infra.local.bench.run import PARTS
    from shared.errors import ConfigurationError

    names = tuple(name.strip() for name in text.split(",") if name.strip())
    unknown = sorted(set(names) - set(PARTS))
    if unknown or not names:
        what = ", ".join(unknown) or "nothing"
        fix = f"choose from {', '.join(PARTS)}"
        raise ConfigurationError("unknown_part", f"--only: cannot measure {what}", fix=fix)
    return names


def _numbers(text: str) -> tuple[int, ...]:
    from shared.errors import ConfigurationError

    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigurationError("bad_connections", f"--connections {text}: not numbers", fix="1,32,128,512") from error
    if not all(1 <= number <= 1000 for number in numbers):
        raise ConfigurationError("bad_connections", f"--connections {text}: 1 to 1000 each", fix="1,32,128,512")
    return numbers
