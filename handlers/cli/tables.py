"""Tables on a terminal: as a table where it fits, as one block of lines for each row where it does not."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table


def print_table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]], *, console: Console) -> None:
    """The first column names the row and is never cut. Cells are printed as they are, whatever they hold."""
    table = Table(title=title, title_justify="left")
    for number, heading in enumerate(headings):
        table.add_column(heading, no_wrap=number == 0)
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
    """Whether no word has to be cut: rich would shorten them until nobody can read them."""
    return Measurement.get(console, console.options.update(max_width=1_000), table).minimum <= console.width
