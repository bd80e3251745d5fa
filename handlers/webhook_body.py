"""Reads a webhook body, JSON or form-encoded, into plain names and values; never guesses from its content."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn
from urllib.parse import parse_qsl

JSON_TYPE = "application/json"
FORM_TYPE = "application/x-www-form-urlencoded"
CONTENT_TYPES = frozenset({JSON_TYPE, FORM_TYPE})
MAX_FIELDS = 2000
"""A real form body has about 110 fields."""

_NESTED = re.compile(r"^(?P<name>[^\[\]]+)\[(?P<key>[^\[\]]*)\]$")


class UnreadableBody(ValueError):
    """The body is not what its content type says; the text names the place, never the content."""


def read_body(raw: bytes, content_type: str) -> dict[str, Any]:
    """The body as names and values. Raises `UnreadableBody`."""
    return _read_json(raw) if content_type == JSON_TYPE else _read_form(raw)


def _read_json(raw: bytes) -> dict[str, Any]:
    try:
        document = json.loads(raw, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise UnreadableBody("the body is not JSON") from error
    if not isinstance(document, dict):
        raise UnreadableBody("the body is not a JSON object")
    return document


def _refuse_constant(_name: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


def _read_form(raw: bytes) -> dict[str, Any]:
    """Names as sent; `k[]` gathers a list, `k[sub]` an object, and a JSON array or object in a value is opened.

    CallRail does not document how arrays look in this variant, so all three forms are read.
    """
    try:
        pairs = parse_qsl(
            raw.decode("utf-8"),
            keep_blank_values=True,
            strict_parsing=bool(raw),
            errors="strict",
            max_num_fields=MAX_FIELDS,
        )
    except ValueError as error:
        raise UnreadableBody("the body is not form-encoded") from error
    document: dict[str, Any] = {}
    for name, text in pairs:
        _place(document, name, _open_json(text))
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
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
