"""Draws what an installation costs from 1,000 to a million calls a month, by recognition and Spanner size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from infra.cost.bill import Bill


def draw(bills: Sequence[Bill], path: Path) -> None:
    """One line for each combination of recognition and processing units; PNG or SVG by the name's ending."""
    # Imported here: only a plot needs it. No pyplot: that would look for a display.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots()
    lines = sorted({(bill.size.speech_dynamic_batch, bill.size.spanner_processing_units) for bill in bills})
    for dynamic, units in lines:
        ours = [
            bill
            for bill in bills
            if (bill.size.speech_dynamic_batch, bill.size.spanner_processing_units) == (dynamic, units) and bill.fits
        ]
        kind = "dynamic batch" if dynamic else "standard"
        style = "-" if dynamic else "--"
        axes.plot(
            [one.calls for one in ours], [one.total for one in ours], style, marker="o", label=f"{kind}, {units} PU"
        )
    axes.plot([1_000], [1_843], "k*", markersize=12, label="the guide's table")
    axes.axhline(200, color="grey", linewidth=0.8)
    axes.annotate("$200", (1_000, 200), textcoords="offset points", xytext=(-28, 3))
    first = bills[0]
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="calls a month",
        ylabel="US dollars a month",
        title=f"{first.minutes_per_call:g} minutes a call, {first.region}, list prices",
    )
    axes.grid(visible=True, which="both", alpha=0.25)
    axes.legend()
    figure.savefig(path, dpi=110)
