"""`pipeline cost`: what a month costs at Google, from the dated price list of the repository. Asks nobody."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.console import Console

from handlers.cli.tables import print_table
from shared.errors import ConfigurationError

if TYPE_CHECKING:
    from infra.cost.compare import Cost

_PICTURES = (".png", ".svg")


def cost(
    *,
    calls: Annotated[int, typer.Option(help="Calls a month.", min=1)] = 1000,
    minutes_per_call: Annotated[float, typer.Option(help="Their average length.", min=0.1, max=600)] = 3.0,
    channels: Annotated[int, typer.Option(help="2 for recordings that keep the speakers apart.", min=1, max=2)] = 1,
    transcription: Annotated[
        str, typer.Option(help="standard (minutes), or dynamic (within 24 hours, a fifth of the price).")
    ] = "standard",
    installation: Annotated[str, typer.Option(help="Sizes: small (Terraform's defaults) or large.")] = "small",
    spanner_units: Annotated[
        int | None, typer.Option(help="Spanner processing units, in hundreds.", min=100, max=100_000)
    ] = None,
    region: Annotated[str, typer.Option(help="Where everything runs.")] = "us-central1",
    plot: Annotated[Path | None, typer.Option(help="Write a picture (.png or .svg).", dir_okay=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """The monthly bill by service, beside the deployment guide's, and how it grows."""
    from infra.cost.bill import Load, Transcription
    from infra.cost.compare import TRANSCRIPTIONS, Cost
    from infra.cost.prices import load_installations, load_prices, load_usage

    prices, installations = load_prices(), load_installations()
    _check("--region", region, prices.regions, more="add its prices to infra/cost/prices.json")
    _check("--transcription", transcription, TRANSCRIPTIONS)
    _check("--installation", installation, tuple(installations))
    size = installations[installation]
    if spanner_units is not None:
        if spanner_units % 100:
            raise ConfigurationError(
                "wrong_size", f"--spanner-units {spanner_units}: not a multiple of 100", fix="100, 200, 300 …"
            )
        size = size.model_copy(update={"spanner_processing_units": spanner_units})
    if plot is not None and plot.suffix not in _PICTURES:
        raise ConfigurationError("wrong_picture", f"--plot {plot}: unknown ending", fix="end it with .png or .svg")
    load = Load(
        calls=calls,
        minutes_per_call=minutes_per_call,
        channels=channels,
        transcription=cast(Transcription, transcription),
    )
    result = Cost(load, size, prices, load_usage(), region)
    if plot is not None:
        _draw(result, plot)
    if as_json:
        sys.stdout.write(json.dumps(result.document(), indent=2) + "\n")
    else:
        _print(result, Console())


def _check(option: str, value: str, known: tuple[str, ...], *, more: str = "") -> None:
    if value not in known:
        fix = f"choose from {', '.join(known)}" + (f", or {more}" if more else "")
        raise ConfigurationError("unknown_choice", f"{option}: there is no {value}", fix=fix)


def _draw(result: Cost, path: Path) -> None:
    from infra.cost.plot import draw

    try:
        draw(result, path)
    except OSError as error:
        raise ConfigurationError("not_written", f"cannot write {path}: {error.strerror}") from error


def _print(result: Cost, console: Console) -> None:
    from infra.cost.bill import GUIDE
    from infra.cost.compare import LOADS, TRANSCRIPTIONS

    bill, load = result.bill, result.load
    rows = [
        [service, f"{usd:,.2f}", f"{GUIDE[service]:,.0f}" if service in GUIDE else ""]
        for service, usd in bill.by_service().items()
    ]
    rows.append(["total", f"{bill.total:,.2f}", f"{sum(GUIDE.values()):,.0f}"])
    title = (
        f"{load.calls:,.0f} calls of {load.minutes_per_call:g} minutes a month, {load.transcription} transcription, "
        f"{load.channels} channel(s): US dollars a month"
    )
    print_table(title, ["service", "here", "guide (1,000 calls, 50 h)"], rows, console=console)
    print_table(
        "as the load grows: US dollars a month (and a call)",
        ["calls a month", *TRANSCRIPTIONS],
        [
            [f"{calls:,.0f}", *(f"{totals[calls]:,.0f} ({totals[calls] / calls:.3f})" for totals in _growth(result))]
            for calls in LOADS
        ],
        console=console,
    )
    print_table(
        "by the size of Spanner",
        ["processing units", "US dollars a month"],
        [[f"{size:,}", f"{usd:,.0f}"] for size, usd in result.by_spanner_size().items()],
        console=console,
    )
    console.print(
        f"{result.region}, prices of {result.prices.date} (infra/cost/prices.json says how sure each one is); "
        "storage as full as retention lets it become.",
        highlight=False,
    )


def _growth(result: Cost) -> list[dict[float, float]]:
    from infra.cost.compare import TRANSCRIPTIONS

    return [result.by_load(transcription) for transcription in TRANSCRIPTIONS]
