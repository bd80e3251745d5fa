"""Record ids as Salesforce writes them."""

from __future__ import annotations

_BASE62 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def numbered_id(key_prefix: str, number: int) -> str:
    """The id of the record with this number; the prefix (three letters) names its object."""
    letters = ""
    while number:
        number, rest = divmod(number, 62)
        letters = _BASE62[rest] + letters
    return with_checksum(key_prefix + "5g" + letters.rjust(10, "0"))


def with_checksum(id15: str) -> str:
    """Salesforce's 18-character form: three letters that encode which of the 15 are upper case."""
    suffix = ""
    for start in (0, 5, 10):
        bits = sum(1 << index for index, letter in enumerate(id15[start : start + 5]) if letter.isupper())
        suffix += "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"[bits]
    return id15 + suffix
