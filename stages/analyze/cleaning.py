"""Texts of the model made fit for a CRM: no links, no markup, nothing invisible, bounded. Pure."""

from __future__ import annotations

import re
import unicodedata

from schemas.plain_text import without_formula, without_links

_EMPHASIS = re.compile(r"\*{1,3}|`{1,3}|^#{1,6}\s+|(?<!\w)_{1,2}(?=\w)|(?<=\w)_{1,2}(?!\w)", re.MULTILINE)
_JOINERS = frozenset("\u200c\u200d")
"""Invisible, but parts of words in Persian and Hindi and of emoji."""


def clean_text(text: str, *, max_characters: int) -> str:
    """One line of plain text, cut at a blank when too long; empty when nothing of it was text."""
    plain = without_links(_visible(text))
    return _cut(without_formula(" ".join(_EMPHASIS.sub("", plain).split())), max_characters=max_characters)


def _visible(text: str) -> str:
    """Without control, formatting, private and unpaired characters, among them those that reverse the direction."""
    return "".join(letter if letter in _JOINERS else _printable(letter) for letter in text)


def _printable(letter: str) -> str:
    if letter in "\n\r\t":
        return " "
    return "" if unicodedata.category(letter).startswith("C") else letter


def _cut(text: str, *, max_characters: int) -> str:
    if len(text) <= max_characters:
        return text
    head = text[: max_characters - 1]
    return f"{head.rpartition(' ')[0] or head}…"
