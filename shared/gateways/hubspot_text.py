"""Text for HubSpot: escaped HTML for rich-text fields, cleaned plain text for the others, both cut to length."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Iterable

from schemas.crm import CrmSection
from schemas.plain_text import without_formula

LONGEST_VALUE = 65_536
"""Characters per property value; HubSpot documents it for note bodies. Counted in UTF-16 units, as Java counts."""

_DIRECTION_MARKS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_CUT_NOTE = "<p>(shortened)</p>"


def body_html(sections: Iterable[CrmSection], *, limit: int = LONGEST_VALUE) -> str:
    """Headings and lines as paragraphs; what does not fit is cut from the end, tags stay balanced."""
    room = limit - _units(_CUT_NOTE)
    parts: list[str] = []
    for section in sections:
        opening = f"<p><strong>{_escape(section.heading)}</strong>"
        room -= _units(opening) + len("</p>")
        if room < 0:
            return "".join([*parts, _CUT_NOTE])
        parts.append(opening)
        for line in section.lines:
            item = _escape(f"\n{line}")
            if _units(item) > room:
                return "".join([*parts, _escape_within(f"\n{line}", room), "</p>", _CUT_NOTE])
            parts.append(item)
            room -= _units(item)
        parts.append("</p>")
    return "".join(parts)


def plain(text: str) -> str:
    """Without control characters other than line breaks, trimmed; HubSpot escapes plain-text fields itself.

    Nor with the beginning of a formula: lists of contacts are exported as spreadsheets.
    """
    return without_formula(_printable(text)).strip()


def _printable(text: str) -> str:
    return "".join(letter for letter in text.replace("\t", " ") if letter == "\n" or not _is_control(letter))


def _is_control(letter: str) -> bool:
    """Joiners stay (Persian, emoji); what turns the direction of reading goes: it can make a name read as another."""
    return unicodedata.category(letter) in {"Cc", "Cs"} or letter in _DIRECTION_MARKS


def cut(text: str, limit: int) -> str:
    """At most `limit` UTF-16 units, with an ellipsis when something was cut."""
    if _units(text) <= limit:
        return text
    return text.encode("utf-16-le")[: 2 * (limit - 1)].decode("utf-16-le", errors="ignore") + "…"


def _escape(text: str) -> str:
    return html.escape(_printable(text)).replace("\n", "<br>")


def _escape_within(text: str, room: int) -> str:
    """As much of `text` as fits into `room` once escaped; never half an entity."""
    kept: list[str] = []
    for letter in _printable(text):
        escaped = _escape_letter(letter)
        room -= _units(escaped)
        if room < 0:
            break
        kept.append(escaped)
    return "".join(kept)


def _escape_letter(letter: str) -> str:
    return "<br>" if letter == "\n" else html.escape(letter)


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", errors="surrogatepass")) // 2
