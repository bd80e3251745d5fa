"""`pipeline load`: signed webhooks at a constant rate, their latency, and what became of every call."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from handlers.cli.connection import StateDirOption, connected
from handlers.cli.sweep import seconds_of
from shared.errors import ConfigurationError


def load(
    *,
    url: Annotated[
        str | None, typer.Option(envvar="WEBHOOK_URL", help="The receiver's base URL; default: the local stack.")
    ] = None,
    rate: Annotated[float, typer.Option(help="Webhooks a second, whatever the answers do.", min=0.1)] = 100.0,
    duration: Annotated[str, typer.Option(help="How long, for example 60s.")] = "60s",
    tenant: Annotated[
        str | None, typer.Option(envvar="DEMO_TENANT_ID", help="Whose calls they are; default: the local stack's.")
    ] = None,
    company: Annotated[
        str | None, typer.Option(envvar="DEMO_COMPANY_ID", help="The tenant's CallRail company; default: as above.")
    ] = None,
    secret: Annotated[
        str | None, typer.Option(envvar="DEMO_WEBHOOK_SECRET", help="The tenant's signing key; default: as above.")
    ] = None,
    settle: Annotated[str, typer.Option(help="How long the calls may take to their end afterwards.")] = "15m",
    i_own_this: Annotated[
        str, typer.Option("--i-own-this", metavar="HOST", help="The host again, when it is not this machine.")
    ] = "",
    plot: Annotated[Path | None, typer.Option(help="Draw the result into this PNG or SVG.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
    state_dir: StateDirOption = None,
) -> None:
    """Post calls without audio, measure every answer from the moment it was due, and follow each call to its end.

    Exit status 1 unless all were accepted, all calls are done, and the 95th percentile is under 2 s.
    """
    from infra.load.plot import draw, is_picture
    from infra.load.report import lines_of
    from infra.load.run import LoadOptions, run_load
    from infra.load.target import check_size, check_target

    count = check_size(rate=rate, duration_s=seconds_of(duration))
    if plot and not (is_picture(plot) and plot.parent.is_dir()):
        raise ConfigurationError("bad_plot", f"cannot draw into {plot}", fix="--plot NAME.png or NAME.svg")
    known = _known(url, tenant, company, secret, state_dir)
    check_target(known["WEBHOOK_URL"], owned_host=i_own_this)
    with connected(state_dir) as settings:
        options = LoadOptions(
            url=known["WEBHOOK_URL"],
            tenant_id=known["DEMO_TENANT_ID"],
            company_id=known["DEMO_COMPANY_ID"],
            key=known["DEMO_WEBHOOK_SECRET"],
            rate=rate,
            count=count,
            settle_s=seconds_of(settle),
            run=secrets.token_hex(6),
        )
        result = run_load(options, settings, tell=_tell_every(max(1, count // 10)))
    document = result.document()
    if plot:
        draw(result, plot)
    typer.echo(json.dumps(document, indent=2) if as_json else "\n".join(lines_of(document)))
    if not result.holds:
        raise typer.Exit(1)


def _known(
    url: str | None, tenant: str | None, company: str | None, secret: str | None, state_dir: Path | None
) -> dict[str, str]:
    """Where to and as whom. Away from the local stack nothing is guessed."""
    given = {
        "WEBHOOK_URL": url,
        "DEMO_TENANT_ID": tenant,
        "DEMO_COMPANY_ID": company,
        "DEMO_WEBHOOK_SECRET": secret,
    }
    stack: dict[str, str] = {}
    if state_dir is not None or not os.environ.get("GOOGLE_CLOUD_PROJECT"):
        from infra.local.stack import DEFAULT_STATE_DIR
        from infra.local.state import StateDir

        state = StateDir(state_dir or DEFAULT_STATE_DIR).running()
        stack = {**state.env, **state.exports, **state.extra}
    known = {name: value or stack.get(name, "") for name, value in given.items()}
    missing = [name for name, value in known.items() if not value]
    if missing:
        raise ConfigurationError(
            "load_needs_more", f"unknown: {', '.join(missing)}", fix="give --url, --tenant, --company and --secret"
        )
    return known


def _tell_every(step: int) -> Callable[[str, int, int], None]:
    def tell(what: str, number: int, count: int) -> None:
        if number % step == 0 or number == count:
            print(f"{what} {number} of {count}", file=sys.stderr, flush=True)

    return tell
