"""Writes the runbook's tables of error codes: `python -m shared.meanings.table` (a test compares)."""

from __future__ import annotations

from pathlib import Path

from shared.meanings.chapter import Chapter
from shared.meanings.registry import CHAPTERS

RUNBOOK = Path(__file__).resolve().parents[2] / "docs" / "operations" / "runbook.md"
BEGIN = "<!-- made by `python -m shared.meanings.table`; do not edit between these marks -->"
END = "<!-- end of what `python -m shared.meanings.table` makes -->"


def tables() -> str:
    """Every chapter: where to look, what not to do, and a row for each code."""
    return "\n\n".join(_chapter(chapter) for chapter in CHAPTERS)


def _chapter(chapter: Chapter) -> str:
    rows = [
        f"| `{code}` | {meaning.means} | {meaning.helps} |"
        for code, meaning in sorted({**chapter.meanings, **chapter.families}.items())
    ]
    return "\n".join(
        [
            f"### {chapter.title}",
            "",
            f"Look: {chapter.look}",
            "",
            f"Do not: {chapter.avoid}",
            "",
            "| code | means | what helps |",
            "| --- | --- | --- |",
            *rows,
        ]
    )


def with_tables(text: str) -> str:
    """The runbook's text with fresh tables between the marks. Raises `ValueError` when a mark is missing."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{tables()}\n\n{END}{after}"


if __name__ == "__main__":
    RUNBOOK.write_text(with_tables(RUNBOOK.read_text(encoding="utf-8")), encoding="utf-8")
