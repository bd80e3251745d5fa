"""The picture of `pipeline cost --plot`: what a call costs as the load grows, and where a month's money goes."""

from __future__ import annotations

from pathlib import Path

from infra.cost.bill import SERVICES
from infra.cost.compare import LOADS, TRANSCRIPTIONS, Cost

_LEAST_SHARE = 0.02
"""Services below this share of the bill are one wedge together."""


def draw(cost: Cost, path: Path) -> None:
    """Write a PNG or SVG, by the file's ending."""
    from matplotlib.figure import Figure  # no pyplot: it would look for a screen

    figure = Figure(figsize=(11, 4.6), layout="constrained")
    growth, shares = figure.subplots(1, 2, width_ratios=(1.2, 1))
    for transcription in TRANSCRIPTIONS:
        totals = cost.by_load(transcription)
        per_call = [totals[calls] / calls for calls in LOADS]
        growth.plot(LOADS, per_call, marker="o", label=f"{transcription} transcription")
        for calls, usd in zip(LOADS, per_call, strict=True):
            above = transcription == "standard"
            growth.annotate(
                f"${usd:.3f}",
                (calls, usd),
                textcoords="offset points",
                xytext=(0, 9 if above else -16),
                ha="center",
                fontsize=8,
            )
    growth.set(xscale="log", yscale="log", xlabel="calls a month", ylabel="US dollars a call")
    growth.yaxis.set_major_formatter("${x:g}")
    growth.yaxis.set_minor_formatter("")
    growth.xaxis.set_major_formatter("{x:,.0f}")
    growth.margins(y=0.2, x=0.08)
    growth.set_title(f"{cost.load.minutes_per_call:g} minutes a call, {cost.region}, prices of {cost.prices.date}")
    growth.legend()
    growth.grid(visible=True, which="major", alpha=0.3)
    names, values = _wedges(cost)
    bars = shares.barh(names, values)
    shares.bar_label(bars, fmt="$%.0f", padding=3, fontsize=8)
    shares.margins(x=0.15)
    shares.invert_yaxis()
    shares.set_title(f"{cost.load.calls:,.0f} calls a month: ${cost.bill.total:,.0f}")
    shares.set_xlabel("US dollars a month")
    figure.savefig(path, dpi=110)


def _wedges(cost: Cost) -> tuple[list[str], list[float]]:
    by_service = cost.bill.by_service()
    least = cost.bill.total * _LEAST_SHARE
    large = {name: by_service[name] for name in SERVICES if by_service[name] >= least}
    rest = sum(usd for name, usd in by_service.items() if name not in large)
    shown = dict(sorted(large.items(), key=lambda pair: -pair[1])) | {"everything else": rest}
    return list(shown), list(shown.values())
