"""Reads a webhook body, JSON or form-encoded, into plain names and values; its content type decides which it is."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn
from urllib.parse import parse_qsl

JSON_TYPE = "application/json"
FORM_TYPE = "application/x-www-form-urlencoded"
CONTENT_TYPES = frozenset({JSON_TYPE, FORM_TYPE})
MAX_FIELDS = 2000
"""A real form body has about 110 fields."""
MAX_DEPTH = 64
"""CallRail nests three deep; what is deeper than 255 cannot be written into an event."""

_NESTED = re.compile(r"^(?P<name>[^\[\]]+)\[(?P<key>[^\[\]]*)\]$")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


_IDENTITY = frozenset(
    {"tenant_id", "company_resource_id", "company_id", "callrail_company_id", "resource_id", "id", "call_id"}
)
"""Names that decide whose call it is and which. Repeated with another value they would be read as anybody likes."""


class UnreadableBody(ValueError):
    """The body is not what its content type says; the text names the place, never the content."""


def read_body(raw: bytes, content_type: str) -> dict[str, Any]:
    """The body as names and values that can be written as JSON again. Raises `UnreadableBody`."""
    return _read_json(raw) if content_type == JSON_TYPE else _read_form(raw)


def _read_json(raw: bytes) -> dict[str, Any]:
    try:
        document = _load_json(raw.decode("utf-8-sig"))
    except ValueError as error:
        raise UnreadableBody("the body is not JSON") from error
    if not isinstance(document, dict):
        raise UnreadableBody("the body is not a JSON object")
    return document


def _load_json(text: str) -> Any:
    """Raises `ValueError`."""
    try:
        document = _DECODER.decode(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    # Looked for in the text first: walking through every body would cost more than reading it did.
    if _SURROGATE.search(text) or text.count("[") + text.count("{") > MAX_DEPTH:
        return _writable(document, depth=1)
    return document


def _refuse_constant(_name: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Parsers disagree on which of two equal names counts, so a body that has them means nothing for sure."""
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return document


def _float_or_text(text: str) -> float | str:
    """What no float holds (1e999) stays as it was written: as infinity it would leave the event as null."""
    number = float(text)
    return number if math.isfinite(number) else text


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_float_or_text, object_pairs_hook=_once_each)
"""Made once: `json.loads` with an argument makes a new one, with its own scanner, for every body."""


def _writable(value: Any, *, depth: int) -> Any:
    """The same document without half characters: a text cut inside an emoji is JSON, but cannot become UTF-8.

    Raises `ValueError` when it is nested too deeply.
    """
    if depth > MAX_DEPTH:
        raise ValueError("nested too deeply")
    if isinstance(value, str):
        return value.encode("utf-8", errors="replace").decode()
    if isinstance(value, list):
        return [_writable(item, depth=depth + 1) for item in value]
    if isinstance(value, dict):
        return {_writable(name, depth=depth): _writable(item, depth=depth + 1) for name, item in value.items()}
    return value


def _read_form(raw: bytes) -> dict[str, Any]:
    """Names as sent; `k[]` gathers a list, `k[sub]` an object, and a JSON array or object in a value is opened.

    CallRail does not document how arrays look in this variant, so all three forms are read. A stray `&` or a byte
    that is not UTF-8 spoils no call: the signature covers the raw bytes, and CallRail sends nothing twice.
    """
    try:
        pairs = parse_qsl(
            raw.decode("utf-8", errors="replace"), keep_blank_values=True, errors="replace", max_num_fields=MAX_FIELDS
        )
    except ValueError as error:
        raise UnreadableBody(f"the body has more than {MAX_FIELDS} fields") from error
    document: dict[str, Any] = {}
    for name, text in pairs:
        if name in _IDENTITY and document.get(name, text) != text:
            raise UnreadableBody("the body names its company, tenant or call twice, and differently")
        _place(document, name, text if name in _IDENTITY else _open_json(text))
    return document


def _place(document: dict[str, Any], name: str, value: Any) -> None:
    match = _NESTED.match(name)
    if match is None:
        document[name] = value
    elif match["key"] == "":
        items = document.setdefault(match["name"], [])
        if isinstance(items, list):
            items.append(value)
    else:
        fields = document.setdefault(match["name"], {})
        if isinstance(fields, dict):
            fields[match["key"]] = value


def _open_json(text: str) -> Any:
    if not text.startswith(("[", "{")):
        return text
    try:
        return _load_json(text)
    except ValueError:
        return text
