"""Telephone numbers: one canonical form (E.164), and the forms CRMs search by."""

from __future__ import annotations

import re

import phonenumbers

DEFAULT_REGION = "US"
"""CallRail serves North America; a number without a country code is one of there."""

_WITHHELD = frozenset(
    {"", "anonymous", "restricted", "unavailable", "unknown", "private", "blocked", "+266696687", "266696687"}
)
"""What stands for a withheld number; 266696687 spells "anonymous" on a keypad."""


_CANONICAL = re.compile(r"\+1[2-9][0-9]{9}")
"""A North American number as CallRail sends nearly all of them. `phonenumbers` finds nothing to change in it, and takes
fifteen times as long to say so."""


def to_e164(raw: str, *, region: str = DEFAULT_REGION) -> str:
    """E.164, or an empty string when withheld, a short code, a SIP address or not a number at all."""
    text = raw.strip()
    if _CANONICAL.fullmatch(text):
        return text
    if text.lower() in _WITHHELD:
        return ""
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return ""
    if not phonenumbers.is_possible_number(number):
        return ""
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def national_digits(e164: str) -> str:
    """The digits as dialled within the country: HubSpot's searchable form, Salesforce's SOSL token."""
    number = phonenumbers.parse(e164)
    return phonenumbers.national_significant_number(number)


def is_same_number(e164: str, stored: str) -> bool:
    """Whether a CRM's free-text number is this one; CRMs over-match, so every hit is compared again."""
    return bool(e164) and to_e164(stored) == e164
