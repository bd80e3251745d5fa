"""A list on a terminal can be read at any width: nothing is shortened to a letter and three dots."""

from __future__ import annotations

import io

from rich.console import Console

from handlers.cli.tables import print_table

HEADINGS = ("id", "tenant", "reason", "what to do")
ROW = ("d-9db78c02ee99925ec701634efb5bc3dc", "demo-tenant-001", "recording_unreadable", "look at the recording [b]")


def printed(*, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_table("1 dead letter", HEADINGS, [ROW], console=console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_every_word_is_there_whole_at_any_width() -> None:
    words = [word for cell in (*HEADINGS, *ROW) for word in cell.split()]
    assert {word: width for width in range(30, 130) for word in words if word not in printed(width=width)} == {}


def test_a_frame_is_whole() -> None:
    framed = [text for width in range(90, 130) if "┃" in (text := printed(width=width))]
    assert framed
    assert all(text.count("┓") == text.count("┘") == 1 for text in framed)


def test_the_narrower_the_plainer() -> None:
    assert "┃ reason" in printed(width=200)
    assert "demo-tenant-001 recording_unreadable" in printed(width=102)
    assert "\n  what to do: look at the recording [b]" in printed(width=80)
