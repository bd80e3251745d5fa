"""Every error code that the pipeline can raise, in plain words: what it means, and what helps.

`tests/unit/test_why.py` searches the code for codes and fails when one has no entry here. The runbook's tables are made
from this one: `python -m shared.meanings.table` writes them.
"""

from __future__ import annotations

from shared.meanings import commands, crm, delivery, google, recordings, storage
from shared.meanings.chapter import Chapter, Meaning

CHAPTERS: tuple[Chapter, ...] = (
    *delivery.CHAPTERS,
    *recordings.CHAPTERS,
    *google.CHAPTERS,
    *crm.CHAPTERS,
    *storage.CHAPTERS,
    *commands.CHAPTERS,
)


def meaning_of(code: str) -> Meaning | None:
    """The entry of a code, or of its family; None for a code that nobody explained."""
    found = (chapter.meaning_of(code) for chapter in CHAPTERS)
    return next((meaning for meaning in found if meaning is not None), None)
