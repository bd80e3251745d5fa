"""Telephone numbers, for importers that know them under this name."""

from schemas.phones import is_same_number, national_digits, to_e164

__all__ = ["is_same_number", "national_digits", "to_e164"]
