"""A transcript as lines of text inside a fence that no word of it can close. Pure."""

from __future__ import annotations

import unicodedata

from schemas.transcript import Transcript, Turn

MAX_TRANSCRIPT_CHARACTERS = 120_000
"""About 30,000 tokens or two hours of talk; what a call is about is said at its ends."""
_LONGEST_LINE = 4_000
"""A recording without separated speakers can be one single turn; cut into lines it can be shortened in its middle."""

_FENCE_LETTERS = str.maketrans({"<": "‹", ">": "›", "＜": "‹", "＞": "›"})
_INVISIBLE = frozenset({"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"})


def as_data(text: str) -> str:
    """Text on one line without angle brackets or invisible characters: no fence and no speaker can be forged."""
    visible = "".join(" " if unicodedata.category(letter) in _INVISIBLE else letter for letter in text)
    return " ".join(visible.translate(_FENCE_LETTERS).split())


def render_transcript(transcript: Transcript, *, max_characters: int = MAX_TRANSCRIPT_CHARACTERS) -> str:
    """One line `[mm:ss] speaker: words` a turn, shortened in the middle to about `max_characters`."""
    lines = [line for turn in transcript.turns for line in _lines(turn)]
    return "\n".join(_without_middle(lines, max_characters=max_characters))


def clock(seconds: float) -> str:
    """`mm:ss`; minutes go past 59."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes:02d}:{rest:02d}"


def _lines(turn: Turn) -> list[str]:
    words = as_data(turn.text)
    pieces = [words[start : start + _LONGEST_LINE] for start in range(0, len(words), _LONGEST_LINE)]
    return [f"[{clock(turn.start_s)}] {turn.speaker}: {piece}" for piece in pieces]


def _without_middle(lines: list[str], *, max_characters: int) -> list[str]:
    """The first and the last lines that fit, half of the room each, and a marker for what is left out."""
    if sum(len(line) + 1 for line in lines) <= max_characters:
        return lines
    head = _fitting(lines, room=max_characters // 2)
    tail = _fitting(lines[head:][::-1], room=max_characters // 2)
    left_out = len(lines) - head - tail
    return [*lines[:head], f"[{left_out} lines left out]", *lines[len(lines) - tail :]]


def _fitting(lines: list[str], *, room: int) -> int:
    """How many lines from the start fit into `room` characters."""
    for count, line in enumerate(lines):
        room -= len(line) + 1
        if room < 0:
            return count
    return len(lines)
