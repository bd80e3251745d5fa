"""Writes docs/operations/infrastructure-coverage.md: each command of the hand-typed guide and what does it now."""

from __future__ import annotations

import json
from typing import TypedDict

from tests.support.provider_schema import ROOT

ROWS = ROOT / "tests" / "data" / "guide_coverage.json"
COMMANDS = ROOT / "tests" / "data" / "guide_commands.txt"
PAGE = ROOT / "docs" / "operations" / "infrastructure-coverage.md"
_HEAD = """# From the guide's commands to code

Made by `python -m tests.support.guide_coverage`; `tests/architecture/test_infra_coverage.py` keeps it whole. The guide
walked a person through these commands. Where it was wrong, the last column says what is right.

| the guide | now | test | what is right, and why |
| --- | --- | --- | --- |
"""


class Row(TypedDict):
    """One command; `now` is a resource type, a variable, an output, a file, a command, or `none`."""

    guide: str
    now: str
    test: str
    right: str


def rows() -> list[Row]:
    found: list[Row] = json.loads(ROWS.read_text(encoding="utf-8"))
    return found


def page() -> str:
    """The page's text."""
    lines = [
        f"| {row['guide']} | {'nothing' if row['now'] == 'none' else '`' + row['now'] + '`'} "
        f"| `test_{row['test']}` | {row['right']} |\n"
        for row in rows()
    ]
    return _HEAD + "".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
