"""Draws a load test: latency second by second, its distribution, and how long calls took to the CRMs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from infra.load.report import LoadResult, percentile

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ENDINGS = {".png", ".svg"}


def is_picture(path: Path) -> bool:
    """Whether the plot can be written under this name."""
    return path.suffix.lower() in _ENDINGS


def draw(result: LoadResult, path: Path) -> None:
    """Write a PNG or SVG, by the name's ending."""
    # Imported here: it takes half a second, and only a plot needs it. No pyplot: that would look for a display.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 9), layout="constrained")
    over_time, spread, whole_way = figure.subplots(3, 1)
    figure.suptitle(f"{len(result.answers):,} webhooks at {result.rate:g}/s, {result.errors} errors")
    _over_time(over_time, result)
    _spread(spread, result.latencies_s(), scale=1000, unit="ms")
    spread.set_title("webhook answers: distribution (measured from the moment each was due)")
    _spread(whole_way, sorted(result.fate.end_to_end_s), scale=1, unit="s")
    whole_way.set_title(f"from the webhook to the CRMs: {result.fate.states['done']:,} calls done")
    figure.savefig(path, dpi=110)


def _over_time(axes: Axes, result: LoadResult) -> None:
    by_second: defaultdict[int, list[float]] = defaultdict(list)
    for answer in result.answers:
        by_second[int(answer.due_s)].append(answer.latency_s * 1000)
    seconds = sorted(by_second)
    for percent in (50, 99, 100):
        values = [percentile(sorted(by_second[second]), percent) for second in seconds]
        axes.plot(seconds, values, label="max" if percent == 100 else f"p{percent}")
    axes.set(xlabel="second of the run", ylabel="latency, ms", yscale="log", title="webhook answers: second by second")
    axes.grid(visible=True, which="both", alpha=0.25)
    axes.legend(loc="upper right")


def _spread(axes: Axes, ordered: Sequence[float], *, scale: float, unit: str) -> None:
    """Percentiles on a scale of nines, as HdrHistogram draws them: the tail gets as much room as the body."""
    axes.set(xlabel="percentile", ylabel=unit, xscale="log")
    axes.grid(visible=True, alpha=0.25)
    if not ordered:
        axes.text(0.5, 0.5, "nothing measured", transform=axes.transAxes, ha="center")
        return
    count = len(ordered)
    # 1 / (1 - rank): 50% stands at 2, 90% at 10, 99% at 100; the last sample has no finite place and gets 2 n.
    places = [count / (count - rank) if rank < count else 2.0 * count for rank in range(1, count + 1)]
    axes.plot(places, [value * scale for value in ordered])
    ticks = [(2, "50"), (10, "90"), (100, "99"), (1_000, "99.9"), (10_000, "99.99")]
    shown = [(place, label) for place, label in ticks if place <= 2 * count]
    axes.set_xticks([place for place, _ in shown], [label for _, label in shown])
    axes.set_ylim(bottom=0)
