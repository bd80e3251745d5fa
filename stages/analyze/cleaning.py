"""Texts of the model made fit for a CRM: no links, no markup, nothing invisible, bounded. Pure."""

from __future__ import annotations

import re
import unicodedata

_MARKDOWN_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_TAG = re.compile(r"</?[A-Za-z!][^>]*>")
_LINK = re.compile(r"(?<!\w)(?:[a-z][a-z0-9+.-]{1,20}://|www\.|(?:javascript|data|mailto):)\S+", re.IGNORECASE)
_BARE_DOMAIN = re.compile(
    r"(?<![\w@.-])(?:[a-z0-9-]+\.)+(?:com|net|org|info|biz|io|co|ai|app|dev|ly|me|ru|cn|xyz|top|site|online|shop|"
    r"link|click|us|uk|eu|de|example)\b(?!@)(?:/\S*)?",
    re.IGNORECASE,
)
"""Many CRMs turn these into links by themselves; e-mail addresses (after an @) stay."""
_EMPHASIS = re.compile(r"\*{1,3}|`{1,3}|^#{1,6}\s+|(?<!\w)_{1,2}(?=\w)|(?<=\w)_{1,2}(?!\w)", re.MULTILINE)
_REMOVED = "[link removed]"
_JOINERS = frozenset("\u200c\u200d")
"""Invisible, but parts of words in Persian and Hindi and of emoji."""


def clean_text(text: str, *, max_characters: int) -> str:
    """One line of plain text, cut at a blank when too long; empty when nothing of it was text."""
    plain = _TAG.sub(" ", _MARKDOWN_LINK.sub(r"\1", _visible(text)))
    plain = _BARE_DOMAIN.sub(_REMOVED, _LINK.sub(_REMOVED, plain))
    return _cut(" ".join(_EMPHASIS.sub("", plain).split()), max_characters=max_characters)


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
