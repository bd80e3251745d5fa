"""`pipeline sweep`: push on what does not move, once or again and again."""

from __future__ import annotations

import json
import re
import threading
from typing import TYPE_CHECKING, Annotated

import typer

from handlers.cli.connection import StateDirOption, connected
from shared.errors import ConfigurationError

if TYPE_CHECKING:
    from shared.sweeper import SweepReport

_DURATION = re.compile(r"^(?P<number>\d+(?:\.\d+)?)(?P<unit>s|m|h|)$")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}


def sweep(
    *,
    once: Annotated[bool, typer.Option("--once", help="One sweep (the default).")] = False,
    every: Annotated[str | None, typer.Option(help="Sweep again and again, for example 60s, until Ctrl-C.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document a sweep.")] = False,
    state_dir: StateDirOption = None,
) -> None:
    """Send again what is due, expired, overdue or stuck, and publish what the receiver kept in the inbox."""
    from handlers import wiring
    from shared.sweeper import sweep_forever

    if once and every:
        raise ConfigurationError("one_mode", "give either --once or --every")
    with connected(state_dir) as settings:
        sweeper = wiring.sweeper(settings)
        if every is None:
            _print(sweeper.sweep(), as_json=as_json)
            return
        sweep_forever(
            sweeper.sweep,
            every_s=seconds_of(every),
            wait=threading.Event().wait,
            report=lambda report: _print(report, as_json=as_json),
            trouble=lambda error: typer.echo(f"not swept: {error.detail}; tried again in {every}", err=True),
        )


def seconds_of(text: str) -> float:
    """`90`, `90s`, `2m`, `1h` in seconds. Raises `ConfigurationError` for anything else."""
    match = _DURATION.match(text.strip())
    if match is None or float(match["number"]) <= 0:
        raise ConfigurationError("bad_duration", f"{text!r} is not a duration", fix="write 90s, 2m or 1h")
    return float(match["number"]) * _SECONDS[match["unit"]]


def _print(report: SweepReport, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(report.document()))
        return
    actions = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in report.actions.items())
    typer.echo(f"swept: {actions or 'nothing to do'}")
    if report.failed_tenants:
        typer.echo(f"  {report.failed_tenants} tenant(s) could not be looked at; see the log")
