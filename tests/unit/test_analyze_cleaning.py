"""Texts of the model enter a CRM as plain words."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.analyze.cleaning import clean_text


def _clean(text: str) -> str:
    return clean_text(text, max_characters=2000)


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("Pay at https://evil.example/pay?x=1 now", "Pay at [link removed] now"),
        ("See www.evil.example today", "See [link removed] today"),
        ("See evil.com/login, thanks", "See [link removed] thanks"),
        ("Their site is acme-plumbing.com", "Their site is [link removed]"),
        ("Click [here](https://evil.example) now", "Click here now"),
        ("javascript:alert(1) was said", "[link removed] was said"),
        ("<b>Urgent</b> <script>alert(1)</script>", "Urgent alert(1)"),
        ("**Hot** lead, `now`", "Hot lead, now"),
        ("# Summary\nCaller\twants help", "Summary Caller wants help"),
        ("Mail dana@example.com about it", "Mail dana@example.com about it"),
        ("At 5 p.m. on St. John's Rd.", "At 5 p.m. on St. John's Rd."),
        ("Costs < 100 and > 50", "Costs < 100 and > 50"),
        ("metadata:none", "metadata:none"),
        ("a\u202egnp.exe\u202c b\u200bc\x00d", "agnp.exe bcd"),
        ("\ud800 lone", "lone"),
        ("<br/>", ""),
    ],
)
def test_links_markup_and_invisible_characters_go_words_stay(text: str, stored: str) -> None:
    assert _clean(text) == stored


def test_a_long_text_is_cut_at_a_blank() -> None:
    assert clean_text("one two three four", max_characters=12) == "one two…"


@given(st.text(), st.integers(min_value=10, max_value=50))
def test_what_is_stored_is_short_visible_and_clean_already(text: str, limit: int) -> None:
    stored = clean_text(text, max_characters=limit)
    assert len(stored) <= limit
    assert not any(unicodedata.category(letter) in {"Cc", "Cs", "Co"} for letter in stored)
    assert stored == stored.strip()
