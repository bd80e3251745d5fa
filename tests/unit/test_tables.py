"""A list on a terminal can be read at any width: nothing is shortened to a letter and three dots."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from handlers.cli.tables import print_table

HEADINGS = ("id", "tenant", "reason", "what to do")
ROW = ("d-9db78c02ee99925ec701634efb5bc3dc", "demo-tenant-001", "recording_unreadable", "look at the recording [b]")


def printed(*, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_table("1 dead letter", HEADINGS, [ROW], console=console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_every_word_is_there_whole(width: int) -> None:
    text = printed(width=width)
    assert "…" not in text
    assert [word for cell in ROW for word in cell.split() if word not in text] == []


def test_wide_enough_it_is_a_table_and_otherwise_a_block_for_each_row() -> None:
    assert "┃ reason" in printed(width=200)
    assert "\n  what to do: look at the recording [b]" in printed(width=80)
