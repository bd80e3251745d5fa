"""Texts from outside made harmless for people's screens and sheets: no links, no markup, no formulas. Pure."""

from __future__ import annotations

import re

_MARKDOWN_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_TAG = re.compile(r"</?[A-Za-z!][^>]*>")
_LINK = re.compile(r"(?<!\w)(?:[a-z][a-z0-9+.-]{1,20}://|www\.|(?:javascript|data|mailto):)\S+", re.IGNORECASE)
_BARE_DOMAIN = re.compile(
    r"(?<![\w@.-])(?:[a-z0-9-]+\.)+(?:com|net|org|info|biz|io|co|ai|app|dev|ly|me|ru|cn|xyz|top|site|online|shop|"
    r"link|click|us|uk|eu|de|example)\b(?!@)(?:/\S*)?",
    re.IGNORECASE,
)
"""Many CRMs turn these into links by themselves; e-mail addresses (after an @) stay."""
_REMOVED = "[link removed]"
FORMULA_STARTS = "=+-@|%\t\r "
"""What a spreadsheet takes for the beginning of a formula when a CRM's list is exported as CSV."""


def without_links(text: str) -> str:
    """Without tags and without anything that a screen turns into a link by itself; a Markdown link keeps its words."""
    plain = _TAG.sub(" ", _MARKDOWN_LINK.sub(r"\1", text))
    return _BARE_DOMAIN.sub(_REMOVED, _LINK.sub(_REMOVED, plain))


def without_formula(text: str) -> str:
    """Without the characters at its beginning that make a cell a formula."""
    return text.lstrip(FORMULA_STARTS)
