"""`pipeline chaos`: the whole local stack under every fault we know, and an audit of what became of the calls."""

from __future__ import annotations

import json
import secrets
import sys
from pathlib import Path
from typing import Annotated

import typer

from handlers.cli.sweep import seconds_of


def chaos(
    *,
    calls: Annotated[int, typer.Option(help="Phone calls; each comes with one to five webhooks.", min=1)] = 100,
    seed: Annotated[int | None, typer.Option(help="The same seed plans the same faults; default: a new one.")] = None,
    duration: Annotated[str, typer.Option(help="How long faults happen, for example 60s or 5m.")] = "60s",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
    logs: Annotated[Path | None, typer.Option(help="Keep the services' logs in this directory.")] = None,
) -> None:
    """Kill, freeze, double, lose and spoil for a while, let everything settle, replay, and count. Exit status 1 when
    anything was lost, doubled or left unfinished."""
    from infra.local.chaos.run import ChaosOptions, run_chaos

    options = ChaosOptions(
        calls=calls,
        seed=secrets.randbelow(1_000_000) if seed is None else seed,
        duration_s=seconds_of(duration),
        keep_logs=logs,
    )
    result = run_chaos(options, lambda line: print(line, file=sys.stderr, flush=True))
    if as_json:
        typer.echo(json.dumps(result.document(), indent=2))
    else:
        for invariant in result.verdict.invariants:
            typer.echo(invariant.line())
        if not result.rest.is_quiet:
            typer.echo(f"FAIL  the stack came to rest: not within {result.rest.seconds:.0f} s")
        typer.echo(f"{result.verdict.summary()} replayed={result.rest.replayed} seed={options.seed}")
    if not result.holds:
        raise typer.Exit(1)
