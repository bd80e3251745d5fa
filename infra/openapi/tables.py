"""Statuses as the documents promise them: the receiver's (docs/api/webhook.md), the runner's (docs/architecture.md)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from shared.pipeline import PIPELINE_FILE

DOCS = PIPELINE_FILE.parents[1] / "docs"
_ROW = re.compile(r"^\|(?P<cells>.*)\|$", re.MULTILINE)
_MORE = "…"
"""Behind the beginning of a code: what a gateway puts after it."""


@dataclass(frozen=True)
class WebhookAnswer:
    """One row of the receiver's table. `codes` may end in an ellipsis: any code that begins so."""

    status: int
    codes: tuple[str, ...]
    meaning: str
    advice: str


def webhook_answers() -> list[WebhookAnswer]:
    """The receiver's answers, in the order of the document."""
    chapter = (DOCS / "api" / "webhook.md").read_text(encoding="utf-8").split("\n## Answers\n")[1].split("\n## ")[0]
    rows = _rows(chapter, columns=4)
    return [
        WebhookAnswer(int(status), tuple(re.findall(r"`([a-z_…]+)`", codes)), meaning, advice)
        for status, codes, meaning, advice in rows
        if status.isdigit()
    ]


def runner_answers() -> dict[int, list[str]]:
    """What a worker answers to Pub/Sub: status → what leads to it."""
    chapter = (DOCS / "architecture.md").read_text(encoding="utf-8").split("\n## The runner\n")[1].split("\n## ")[0]
    found: dict[int, list[str]] = {}
    for raised, row, answer in _rows(chapter.split("| raised |")[1], columns=3):
        if status := re.search(r"\b[2-5]\d\d\b", answer):
            found.setdefault(int(status[0]), []).append(f"{raised} ({row})")
    return found


def codes_schema(codes: list[str]) -> dict[str, object]:
    """JSON Schema of `error`: the codes as they are, and those known by their beginning as patterns."""
    whole = [code for code in codes if not code.endswith(_MORE)]
    begun = [code.removesuffix(_MORE) for code in codes if code.endswith(_MORE)]
    options: list[dict[str, object]] = [{"enum": whole}] if whole else []
    options += [{"pattern": f"^{beginning}"} for beginning in begun]
    return {"type": "string", **(options[0] if len(options) == 1 else {"anyOf": options})}


def _rows(text: str, *, columns: int) -> list[tuple[str, ...]]:
    """The rows of the tables in a text that have so many columns."""
    rows = [tuple(cell.strip() for cell in match["cells"].split(" | ")) for match in _ROW.finditer(text)]
    return [row for row in rows if len(row) == columns]
