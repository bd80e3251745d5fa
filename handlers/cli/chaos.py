"""`pipeline chaos`: the whole local stack under every fault we know, and an audit of what became of the calls."""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from handlers.cli.sweep import seconds_of


class Drill(StrEnum):
    """One trouble alone, measured."""

    FROZEN_PUBSUB = "frozen-pubsub"


def chaos(
    *,
    calls: Annotated[int, typer.Option(help="Phone calls; each comes with one to five webhooks.", min=1)] = 100,
    seed: Annotated[int | None, typer.Option(help="The same seed plans the same faults; default: a new one.")] = None,
    duration: Annotated[
        str | None, typer.Option(help="How long faults happen, for example 5m. Default: 60s, or 15s for a drill.")
    ] = None,
    drill: Annotated[Drill | None, typer.Option(help="Only this: Pub/Sub stands still under load.")] = None,
    rate: Annotated[float, typer.Option(help="Webhooks a second during a drill.", min=1, max=1000)] = 20.0,
    seeds: Annotated[
        int | None, typer.Option(help="So many runs one after the other, from --seed (default 1) on.", min=1)
    ] = None,
    report: Annotated[Path, typer.Option(help="With --seeds: keeps each run; what it has is not run again.")] = Path(
        "chaos-series.jsonl"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
    logs: Annotated[Path | None, typer.Option(help="Keep the services' logs in this directory.")] = None,
) -> None:
    """Kill, freeze, double, lose and spoil for a while, let everything settle, replay, and count. Exit status 1 when
    anything was lost, doubled or left unfinished."""
    if drill is Drill.FROZEN_PUBSUB:
        holds = _frozen_pubsub(freeze_s=seconds_of(duration or "15s"), per_s=rate, as_json=as_json)
    elif seeds is not None:
        first = 1 if seed is None else seed
        holds = _series(
            range(first, first + seeds), calls=calls, duration_s=seconds_of(duration or "60s"), report=report
        )
    else:
        chosen = secrets.randbelow(1_000_000) if seed is None else seed
        holds = _storm(calls=calls, seed=chosen, duration_s=seconds_of(duration or "60s"), logs=logs, as_json=as_json)
    if not holds:
        raise typer.Exit(1)


def _storm(*, calls: int, seed: int, duration_s: float, logs: Path | None, as_json: bool) -> bool:
    from infra.local.chaos.run import ChaosOptions, run_chaos

    result = run_chaos(ChaosOptions(calls=calls, seed=seed, duration_s=duration_s, keep_logs=logs), _tell)
    if as_json:
        typer.echo(json.dumps(result.document(), indent=2))
        return result.holds
    for invariant in result.verdict.invariants:
        typer.echo(invariant.line())
    if not result.rest.is_quiet:
        typer.echo(f"FAIL  the stack came to rest: not within {result.rest.seconds:.0f} s")
    typer.echo(f"{result.verdict.summary()} replayed={result.rest.replayed} seed={seed}")
    return result.holds


def _series(seeds: range, *, calls: int, duration_s: float, report: Path) -> bool:
    from infra.local.chaos.run import ChaosOptions, run_chaos
    from infra.local.chaos.series import run_series, seed_line, series_line

    def run(seed: int) -> Mapping[str, Any]:
        return run_chaos(ChaosOptions(calls=calls, seed=seed, duration_s=duration_s), _tell).document()

    documents = []
    for document in run_series(seeds, report=report, same={"calls": calls, "duration_s": duration_s}, run=run):
        documents.append(document)
        typer.echo(seed_line(document))
    typer.echo(series_line(documents))
    return all(document["holds"] for document in documents)


def _frozen_pubsub(*, freeze_s: float, per_s: float, as_json: bool) -> bool:
    from infra.local.chaos.frozen import run_frozen_pubsub

    result = run_frozen_pubsub(freeze_s=freeze_s, per_s=per_s, report=_tell)
    typer.echo(json.dumps(result.document(), indent=2) if as_json else result.line())
    return result.holds


def _tell(line: str) -> None:
    """Progress; standard output is for the result."""
    print(line, file=sys.stderr, flush=True)
