"""What inputs are made of: hostile values, valid documents with a few things changed, and marks that must not leak."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

NAME = "Zebulon Quaverley"
NUMBER = "+13035550177"
MAIL = "zebulon.quaverley@example.com"
CARD = "4111 1111 1111 1111"
TOKEN = "-".join(("pat", "na1", "zebulons-key-0a1b2c3d"))
MARKS = (NAME, "Quaverley", NUMBER, "3035550177", MAIL, CARD, TOKEN)
"""Somebody's name, number, address, card and a token: found in an error or a log line, they are a leak."""

_DEEP = "@deep@"
_HUGE = "@huge@"
_SPECIAL = (
    *("", " ", "\x00", "\ufeff", "\ud800", "a\udfff", "\u2028", "\r\nX-Injected: 1", "²", "\u0661\u0662", "\U0001f600"),
    *("9" * 400, "1e999", "-1", "NaN", "Infinity", "0x10", "1_000", "true", "null", "[]", "{}", '{"a":1,"a":2}'),
    *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-11-23", "2026-11-23T12:00:00Z", "24:00"),
    *("../../etc", "a" * 5_000, "<script>", "=1+1", "{{7*7}}", "%00", "a/b", "COM1", "CAL1\n", "acme-plumbing\n"),
    *("http://169.254.169.254/", "https://api.callrail.com@example.com/", "//", "https://[::1", "file:///etc/passwd"),
    *(_DEEP, _HUGE),
)

marks = st.sampled_from((NAME, NUMBER, MAIL, CARD, TOKEN))
texts = st.one_of(st.sampled_from(_SPECIAL), marks, st.text(max_size=20))
numbers = st.one_of(
    st.integers(),
    st.integers(-(10**30), 10**30),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from((0, -1, 2**31, 2**63, 10**400, 1e308, 5e-324)),
)
values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
"""Any JSON value, and some that JSON writers make although JSON has no such thing."""


@st.composite
def changed(draw: st.DrawFn, documents: tuple[Any, ...]) -> Any:
    """One of the documents with up to four places replaced, removed, added to or wrapped."""
    document = copy.deepcopy(draw(st.sampled_from(documents)))
    for _ in range(draw(st.integers(0, 4))):
        document = _changed_once(draw, document)
    return document


def _changed_once(draw: st.DrawFn, document: Any) -> Any:
    if not isinstance(document, dict | list) or not document or draw(st.integers(0, 6)) == 0:
        return draw(values)
    keys = list(document) if isinstance(document, dict) else list(range(len(document)))
    key = draw(st.sampled_from(keys))
    action = draw(st.sampled_from(("replace", "descend", "descend", "remove", "add", "wrap")))
    if action == "replace":
        document[key] = draw(values)
    elif action == "descend":
        document[key] = _changed_once(draw, document[key])
    elif action == "remove":
        del document[key]
    elif action == "wrap":
        document[key] = [document[key]]
    elif isinstance(document, dict):
        document[draw(texts)] = draw(values)
    else:
        document.append(draw(values))
    return document


def as_bytes(document: Any) -> bytes:
    """A document as JSON; placeholders become nesting of thousands and a number of thousands of digits."""
    text = json.dumps(document)
    text = text.replace(f'"{_DEEP}"', "[" * 3_000 + "]" * 3_000).replace(f'"{_HUGE}"', "9" * 5_000)
    return text.encode()


@st.composite
def json_bytes(draw: st.DrawFn, *documents: Any) -> bytes:
    """A body: mostly a changed document, now and then damaged, doubled, cut, or no JSON at all."""
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return draw(st.binary(max_size=60))
    raw = as_bytes(draw(changed(documents)))
    if kind == 1:
        return raw[: draw(st.integers(0, len(raw)))]
    if kind == 2 and raw:
        place = draw(st.integers(0, len(raw) - 1))
        return raw[:place] + draw(st.binary(min_size=1, max_size=3)) + raw[place + 1 :]
    if kind == 3:
        return draw(st.sampled_from((b"\xef\xbb\xbf", b" \n", b"[", b'{"a":', raw[:1]))) + raw
    return raw


def leaked(text: str) -> set[str]:
    """The marks in a text."""
    return {mark for mark in MARKS if mark in text}
