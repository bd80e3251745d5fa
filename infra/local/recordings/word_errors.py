"""Compare what was heard with what was said."""

from __future__ import annotations

import re

SMALL_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
"""Recognisers write these as words or as digits as they please."""


def words_of(text: str) -> list[str]:
    """Lower-case words without punctuation; small numbers as digits, telephone numbers digit by digit."""
    tokens = re.findall(r"[a-z]+(?:'[a-z]+)?|\d+", text.lower())
    return [piece for token in tokens for piece in _spelled(token)]


def word_errors(said: list[str], heard: list[str]) -> int:
    """Words left out, added or mistaken: the edit distance that word error rates are made of."""
    row = list(range(len(heard) + 1))
    for said_index, said_word in enumerate(said, start=1):
        diagonal, row[0] = row[0], said_index
        for heard_index, heard_word in enumerate(heard, start=1):
            replaced = diagonal + (said_word != heard_word)
            diagonal = row[heard_index]
            row[heard_index] = min(row[heard_index] + 1, row[heard_index - 1] + 1, replaced)
    return row[-1]


def is_heard(phrase: str, heard: list[str]) -> bool:
    """Whether the words of `phrase` come one after the other somewhere in `heard`."""
    wanted = words_of(phrase)
    return any(heard[at : at + len(wanted)] == wanted for at in range(len(heard)))


def _spelled(token: str) -> list[str]:
    if token.isdigit():
        return list(token)
    return list(str(SMALL_NUMBERS.index(token))) if token in SMALL_NUMBERS else [token]
