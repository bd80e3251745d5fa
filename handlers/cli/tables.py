"""Lists on a terminal: a framed table, a plain one where that is too wide, otherwise a block of lines for each row."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table


def print_table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]], *, console: Console) -> None:
    """Nothing is cut: rich would shorten words until nobody can read them. Cells are printed as they are."""
    framed = Table(*headings, title=title, title_justify="left")
    plain = Table(*headings, title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
    for table in (framed, plain):
        for row in rows:
            table.add_row(*(escape(cell) for cell in row))
        if not rows or _fits(table, console):
            console.print(table)
            return
    console.print(title, markup=False, style="italic")
    indent = max(map(len, headings)) + 2
    for row in rows:
        console.print()
        for heading, cell in zip(headings, row, strict=True):
            console.print(f"{heading:>{indent}}: {cell}", markup=False, highlight=False, soft_wrap=True)


def _fits(table: Table, console: Console) -> bool:
    return Measurement.get(console, console.options.update(max_width=10_000), table).maximum <= console.width
