"""The little of protocol buffers that Terraform's plugin protocol 5 needs: strings, bytes, flags and messages.

Field numbers are those of the published protocol (tfplugin5). Generated code would bring a compiler and a module of a
thousand lines for six small messages.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

_NESTING = {"single": 1, "one": 2, "list": 2, "set": 3}
_LENGTH_DELIMITED = 2


def message(fields: Iterable[tuple[int, bytes | str | int]]) -> bytes:
    """Encode (field number, value) pairs."""
    encoded = bytearray()
    for number, value in fields:
        if isinstance(value, int):
            encoded += _varint(number << 3) + _varint(value)
        else:
            content = value.encode() if isinstance(value, str) else value
            encoded += _varint(number << 3 | _LENGTH_DELIMITED) + _varint(len(content)) + content
    return bytes(encoded)


def parsed(content: bytes) -> dict[int, bytes]:
    """The length-delimited fields of a message by number; the last of each wins, numbers are skipped."""
    fields: dict[int, bytes] = {}
    at = 0
    while at < len(content):
        tag, at = _read_varint(content, at)
        length, at = _read_varint(content, at)
        if tag & 7 == _LENGTH_DELIMITED:
            fields[tag >> 3] = content[at : at + length]
            at += length
    return fields


def schema_message(block: Mapping[str, Any]) -> bytes:
    """A `Schema` of a block in the snapshot's notation."""
    return message([(1, 0), (2, _block(block))])


def _block(block: Mapping[str, Any]) -> bytes:
    attributes = [
        (2, message([(1, name), (2, json.dumps(item["type"])), *((_FLAGS[flag], 1) for flag in item["is"])]))
        for name, item in block["attributes"].items()
    ]
    return message([*attributes, *((3, _nested(name, item)) for name, item in block["blocks"].items())])


_FLAGS = {"required": 4, "optional": 5, "computed": 6}


def _nested(name: str, item: Mapping[str, Any]) -> bytes:
    fields: list[tuple[int, bytes | str | int]] = [(1, name), (2, _block(item)), (3, _NESTING[item["nesting"]])]
    if item["required"]:
        fields.append((4, 1))
    if item["nesting"] == "one":
        fields.append((5, 1))
    return message(fields)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _read_varint(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
