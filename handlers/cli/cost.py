"""`pipeline cost`: the monthly bill by service, from a dated price list, beside the production guide's table."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from shared.errors import ConfigurationError

if TYPE_CHECKING:
    from infra.cost.bill import Bill

_SCALE = (1_000, 10_000, 100_000, 1_000_000)
_UNITS = (100, 300, 1_000)


class SizeName(StrEnum):
    """Installations of infra/cost/sizes.toml."""

    SMALL = "small"
    GUIDE = "guide"


class Recognition(StrEnum):
    """How Speech is asked."""

    STANDARD = "standard"
    DYNAMIC = "dynamic"


def cost(
    *,
    calls: Annotated[int, typer.Option(help="Calls a month.", min=0, max=100_000_000)] = 1_000,
    minutes_per_call: Annotated[float, typer.Option(help="Minutes of audio a call.", min=0, max=240)] = 3.0,
    region: Annotated[str, typer.Option(help="Where it runs.")] = "us-central1",
    size: Annotated[SizeName, typer.Option(help="small: Terraform's defaults; guide: the production guide's.")] = (
        SizeName.SMALL
    ),
    recognition: Annotated[Recognition | None, typer.Option(help="Default: the installation's.")] = None,
    channels: Annotated[int, typer.Option(help="Channels of a recording; Speech bills each.", min=1, max=2)] = 1,
    processing_units: Annotated[int | None, typer.Option(help="Spanner's size; default: the installation's.")] = None,
    scale: Annotated[bool, typer.Option("--scale", help="Also 1,000 to a million calls, by recognition and size.")] = (
        False
    ),
    plot: Annotated[Path | None, typer.Option(help="Draw the scale into this PNG or SVG.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Usage of one call times list prices. Nothing is asked of Google; the list says how sure each price is."""
    from infra.cost.bill import GUIDE, bill
    from infra.cost.plot import draw
    from infra.cost.tables import prices, sizes, usage
    from infra.load.plot import is_picture

    if plot and not (is_picture(plot) and plot.parent.is_dir()):
        raise ConfigurationError("bad_plot", f"cannot draw into {plot}", fix="--plot NAME.png or NAME.svg")
    if processing_units is not None and (processing_units < 100 or processing_units % 100):
        raise ConfigurationError("bad_units", f"Spanner has no {processing_units} units", fix="a multiple of 100")
    chosen = sizes()[size]
    changes = {"spanner_processing_units": processing_units} if processing_units else {}
    if recognition:
        changes["speech_dynamic_batch"] = recognition is Recognition.DYNAMIC
    chosen = chosen.model_copy(update=changes)

    call = usage().call.model_copy(update={"channels": channels})
    used = usage().model_copy(update={"call": call})

    def priced(count: int, **more: Any) -> Bill:
        return bill(
            calls=count,
            minutes_per_call=minutes_per_call,
            region=region,
            size=chosen.model_copy(update=more),
            prices=prices(),
            usage=used,
        )

    one = priced(calls)
    many = [
        priced(count, speech_dynamic_batch=dynamic, spanner_processing_units=units)
        for dynamic in (True, False)
        for units in _UNITS
        for count in _SCALE
    ]
    if plot:
        draw(many, plot)
    if as_json:
        document = {"as_of": str(prices().as_of), **one.document(), "guide_usd_by_service": dict(GUIDE)}
        if scale:
            document["scale"] = [each.document() for each in many]
        typer.echo(json.dumps(document, indent=2))
        return
    console = Console()
    console.print(_bill_table(one, GUIDE))
    if not one.fits:
        console.print(f"{one.size.spanner_processing_units} processing units are too few for these calls", style="red")
    if scale:
        console.print(_scale_table(many))
    doubtful = sorted(name for name, price in prices().rows.items() if price.confidence == "low")
    console.print(f"list prices of {prices().as_of}; low confidence: {', '.join(doubtful)}", soft_wrap=True)


def _bill_table(one: Bill, guide: Any) -> Table:
    table = Table(title=f"{one.calls:,} calls of {one.minutes_per_call:g} minutes a month, {one.region}")
    table.add_column("service")
    table.add_column("US dollars", justify="right")
    table.add_column("guide, 1,000 calls", justify="right")
    for name, usd in one.by_service.items():
        table.add_row(name, f"{usd:,.2f}", f"{guide[name]:,}" if name in guide else "")
    table.add_section()
    table.add_row("in all", f"{one.total:,.2f}", f"{sum(guide.values()):,}")
    if one.calls:
        table.add_row("a call", f"{one.total / one.calls:,.4f}", f"{sum(guide.values()) / 1000:,.2f}")
    return table


def _scale_table(many: list[Bill]) -> Table:
    table = Table(title="US dollars a month by calls; a dash: the database would be too small")
    for name in ("recognition", "processing units", *(f"{count:,}" for count in _SCALE)):
        table.add_column(name, justify="left" if name == "recognition" else "right")
    for start in range(0, len(many), len(_SCALE)):
        row = many[start : start + len(_SCALE)]
        kind = "dynamic batch" if row[0].size.speech_dynamic_batch else "standard"
        cells = [f"{each.total:,.0f}" if each.fits else "-" for each in row]
        table.add_row(kind, str(row[0].size.spanner_processing_units), *cells)
    return table
