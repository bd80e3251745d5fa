"""Proof for reasons: what a reason quotes must have been said, and the reader is told by whom and when. Pure."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from schemas.transcript import Transcript, Turn
from stages.analyze.rendering import clock

_QUOTED = re.compile(r'["“”„«»]([^"“”„«»]+)["“”„«»]')
_QUOTE_MARK = re.compile(r'["“”„«»]')
_UNSPACED_LETTER = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
"""Thai, Japanese and Chinese are written without blanks between words."""
_LEFT_OUT = re.compile(r"…|\.{3,}|\[[^\]]*\]")
"""Marks of a shortened quotation: what stands on both sides must have been said."""
_NOT_A_WORD = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class SpokenWords:
    """The call's words without case and punctuation, and where each turn starts in them."""

    words: str
    starts: tuple[int, ...]
    turns: tuple[Turn, ...]

    def turn_of(self, quote: str) -> Turn | None:
        """The turn in which these words begin; None when nobody said them in this order."""
        plain = _plain(quote)
        at = self.words.find(f" {plain} ") if plain else -1
        return None if at < 0 else self.turns[bisect_right(self.starts, at) - 1]


class ProvenReason(NamedTuple):
    reason: str
    source: str
    """` (caller, 00:12)`: who said the first quotation and when; empty for a reason without one."""


def spoken_words(transcript: Transcript) -> SpokenWords:
    """Index a transcript for look-ups; quotes may run over the end of a turn."""
    plain = [_plain(turn.text) for turn in transcript.turns]
    lengths = [len(words) + 1 if words else 0 for words in plain]
    starts = accumulate(lengths, initial=0)
    return SpokenWords(f" {' '.join(filter(None, plain))} ", tuple(starts)[:-1], transcript.turns)


def proven_reasons(reasons: tuple[str, ...], spoken: SpokenWords) -> tuple[ProvenReason, ...]:
    """The reasons that hold.

    A reason that quotes words nobody said is dropped whole: its claim rests on them. So is one whose quotation
    never ends. One without a quotation is a judgement ("no service was named") and stays.
    """
    checked = (_proven(reason, spoken) for reason in reasons)
    return tuple(reason for reason in checked if reason)


def _proven(reason: str, spoken: SpokenWords) -> ProvenReason | None:
    parts = [part for quote in _QUOTED.findall(reason) for part in _LEFT_OUT.split(quote)]
    quotes = [part for part in parts if _plain(part)]
    turns = [spoken.turn_of(quote) for quote in quotes]
    if None in turns or _QUOTE_MARK.search(_QUOTED.sub("", reason)):
        return None
    first = turns[0] if turns else None
    return ProvenReason(reason, f" ({first.speaker.replace('_', ' ')}, {clock(first.start_s)})" if first else "")


def _plain(text: str) -> str:
    """Lower-case words with single blanks: speech has no punctuation of its own, models add theirs.

    Apostrophes vanish inside words ("don't" is one word however it is written); in scripts without blanks each
    letter counts as a word.
    """
    folded = unicodedata.normalize("NFKC", text).casefold().replace("'", "").replace("’", "")
    return _NOT_A_WORD.sub(" ", _UNSPACED_LETTER.sub(r" \g<0> ", folded)).strip()
