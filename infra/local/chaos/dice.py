"""Chance that repeats itself: everything a chaos run draws follows from its seed."""

from __future__ import annotations

import hashlib
import random


def dice(seed: int, what: str) -> random.Random:
    """A source of its own for each subject, so that one more draw here changes nothing there."""
    return random.Random(f"{seed}/{what}")  # noqa: S311 - a repeatable plan, not a secret


def share_of(seed: int, data: bytes) -> float:
    """A number in [0, 1) that belongs to these bytes: the same message meets the same fate in every run."""
    digest = hashlib.sha256(f"{seed}/".encode() + data).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
