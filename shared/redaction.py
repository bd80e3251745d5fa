"""Masks card numbers, US social security numbers, e-mail addresses, bank details and long runs of digits in speech.

Speech writes numbers as digits or as words ("four one one one …"), in groups, over several turns, with an "okay" of the
other party in between. So the words of one speaker are read as one stream: runs of digits and number words, whatever
punctuation or filler stands between them, are judged by their digits and by the words before them. Pure.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from schemas.base import Contract
from schemas.redaction import RedactionKind
from schemas.transcript import Transcript

ALL_KINDS: frozenset[RedactionKind] = frozenset({"card", "ssn", "email", "bank", "digits"})
_LABELS: dict[RedactionKind, str] = {
    "card": "[card number]",
    "ssn": "[social security number]",
    "email": "[e-mail address]",
    "bank": "[bank details]",
    "digits": "[number]",
}
_LONG = 7
"""Digits in a row that are no price, year or house number: a telephone number without its area has seven."""

_UNITS = {"zero": "0", "oh": "0", "o": "0"} | {
    word: str(number)
    for number, word in enumerate(("one", "two", "three", "four", "five", "six", "seven", "eight", "nine"), 1)
}
_TEENS = {"ten": "10", "eleven": "11", "twelve": "12"} | {
    f"{word}teen": str(number)
    for number, word in enumerate(("thir", "four", "fif", "six", "seven", "eigh", "nine"), 13)
}
_TENS = {
    f"{word}ty": str(number)
    for number, word in enumerate(("twen", "thir", "for", "fif", "six", "seven", "eigh", "nine"), 2)
}
_REPEATS = {"double": 2, "triple": 3}
_FILLERS = frozenset({"dash", "hyphen", "space", "um", "uh", "uhm", "er", "and", "then", "so", "yeah", "okay", "ok"})
_MOST_FILLERS = 3
_ENDS_A_RUN = frozenset("$%:")
"""A price, a share, a time of day: the next number is another one."""

_WORD = re.compile(r"\d+|[^\W\d_]+|[^\w\s]|_")
_EMAIL = re.compile(r"[\w.+%-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,64}){1,4}")
_SPOKEN_END = re.compile(r"\bdot\s+(?:com|net|org|edu|gov|io|co|us|biz|info)\b", re.IGNORECASE)
_SPOKEN_BEGINNING = re.compile(
    r"(?:(?<![\w'’])[a-z]\s+){0,8}\b[\w+-]{1,64}(?:\s+(?:dot|underscore|dash|hyphen|period)\s+[\w+-]{1,64}){0,3}"
    r"\s+at\s+[\w-]{1,64}(?:\s+dot\s+[\w-]{1,64}){0,2}\s+$",
    re.IGNORECASE,
)
_SPOKEN_LENGTH = 120
"""Characters before "dot com" in which an address may begin: the search is bounded, whatever was said."""
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b")
_BEFORE = 60
"""Characters before a run in which a word may say what it is."""
_SAYS_SSN = re.compile(r"\b(social|s\.?s\.?n)\b", re.IGNORECASE)
_SAYS_BANK = re.compile(r"\b(routing|account|iban|sort code|bank)\b", re.IGNORECASE)
_SAYS_CODE = re.compile(r"\b(cvv|cvc|security code|pin|pin code|three digits on the back)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Finding:
    """A stretch of a text that is to be masked."""

    start: int
    end: int
    kind: RedactionKind


@dataclass(frozen=True)
class _Run:
    start: int
    end: int
    groups: tuple[str, ...]

    @property
    def digits(self) -> str:
        return "".join(self.groups)


def find(text: str, kinds: Collection[RedactionKind] = ALL_KINDS) -> list[Finding]:
    """What is to be masked, in order, without overlaps."""
    found = [Finding(*match.span(), "email") for match in _EMAIL.finditer(text)]
    found += _spoken_addresses(text)
    found += [Finding(*match.span(), "bank") for match in _IBAN.finditer(text)]
    found += [Finding(run.start, run.end, kind) for run in _runs(text) if (kind := _kind_of(run, text))]
    apart: list[Finding] = []
    for one in sorted(found, key=lambda finding: (finding.start, -finding.end)):
        if not apart or one.start >= apart[-1].end:
            apart.append(one)
    return [one for one in apart if one.kind in kinds]


def redact(text: str, kinds: Collection[RedactionKind] = ALL_KINDS) -> str:
    """The text with every finding replaced by what it was."""
    return _replaced(text, find(text, kinds))


def redact_transcript(transcript: Transcript, kinds: Collection[RedactionKind]) -> Transcript:
    """The same for a transcript; a number that goes on in the speaker's next turn is masked in both."""
    texts = [turn.text for turn in transcript.turns]
    of_speaker: dict[str, list[int]] = defaultdict(list)
    for index, turn in enumerate(transcript.turns):
        of_speaker[turn.speaker].append(index)
    for indexes in of_speaker.values():
        for index, text in zip(indexes, _redact_stream([texts[index] for index in indexes], kinds), strict=True):
            texts[index] = text
    turns = tuple(turn.model_copy(update={"text": text}) for turn, text in zip(transcript.turns, texts, strict=True))
    return transcript.model_copy(update={"turns": turns})


Model = TypeVar("Model", bound=Contract)


def redact_fields(model: Model, kinds: Collection[RedactionKind], *, only: Sequence[str]) -> Model:
    """A model with the texts of some fields redacted, lists of texts included."""
    changed = {name: _redacted_value(getattr(model, name), kinds) for name in only}
    return model.model_copy(update=changed)


ANALYSIS_TEXTS = ("summary", "topics", "lead_score_reasons", "next_step")
"""What the model wrote in its own words."""


def _redacted_value(value: object, kinds: Collection[RedactionKind]) -> object:
    if isinstance(value, str):
        return redact(value, kinds)
    if isinstance(value, tuple):
        return tuple(_redacted_value(item, kinds) for item in value)
    return value


def _redact_stream(texts: Sequence[str], kinds: Collection[RedactionKind]) -> Iterator[str]:
    joined = "\n".join(texts)
    findings = find(joined, kinds)
    start = 0
    for text in texts:
        end = start + len(text)
        inside = [
            Finding(max(one.start, start) - start, min(one.end, end) - start, one.kind)
            for one in findings
            if one.start < end and one.end > start
        ]
        yield _replaced(text, inside)
        start = end + 1


def _replaced(text: str, findings: Sequence[Finding]) -> str:
    for one in reversed(findings):
        text = text[: one.start] + _LABELS[one.kind] + text[one.end :]
    return text


def _spoken_addresses(text: str) -> Iterator[Finding]:
    """ "marjorie dot quill at example dot com": found from its end, because "at" alone is everywhere."""
    for ending in _SPOKEN_END.finditer(text):
        window = max(0, ending.start() - _SPOKEN_LENGTH)
        beginning = _SPOKEN_BEGINNING.search(text[window : ending.start()])
        if beginning:
            yield Finding(window + beginning.start(), ending.end(), "email")


# --- runs of digits -------------------------------------------------------------------------------------


class _Reader:
    """Collects one run. `take` says whether a word belongs to it."""

    def __init__(self) -> None:
        self.start = -1
        self.end = 0
        self.groups: list[str] = []
        self._fillers = 0
        self._repeat = 1
        self._is_tens = False

    def take(self, word: str, start: int, end: int) -> bool:
        digits = _digits_of(word)
        if digits:
            self._add(word, digits)
        elif word in _REPEATS:
            self._repeat = _REPEATS[word]
        else:
            return self._skips(word)
        self.start = start if self.start < 0 else self.start
        self.end = end if digits else self.end
        return True

    def _add(self, word: str, digits: str) -> None:
        if self._is_tens and len(digits) == 1 and word in _UNITS and digits != "0":
            self.groups[-1] = self.groups[-1][0] + digits  # twenty-five
        else:
            self.groups.append(digits * self._repeat)
        self._fillers, self._repeat, self._is_tens = 0, 1, word in _TENS

    def _skips(self, word: str) -> bool:
        """Punctuation and a few fillers between digits."""
        is_filler = word in _FILLERS
        if self.start < 0 or not (is_filler or not word[0].isalnum()) or word in _ENDS_A_RUN:
            return False
        self._fillers += is_filler
        self._is_tens = self._is_tens and word == "-"
        return self._fillers <= _MOST_FILLERS


def _runs(text: str) -> Iterator[_Run]:
    """Stretches of digits and number words. Ends at any other word, and at more filler than people say."""
    reader = _Reader()
    for match in _WORD.finditer(text):
        if reader.take(match.group().lower(), *match.span()):
            continue
        if reader.groups:
            yield _run_of(reader, text)
        reader = _Reader()
    if reader.groups:
        yield _run_of(reader, text)


def _run_of(reader: _Reader, text: str) -> _Run:
    """With the plus and the bracket that a telephone number begins with."""
    start = reader.start
    while start > 0 and text[start - 1] in "+(":
        start -= 1
    return _Run(start, reader.end, tuple(reader.groups))


def _digits_of(word: str) -> str:
    if word.isdecimal() and word.isascii():
        return word
    if word in _TENS:
        return _TENS[word] + "0"
    return _UNITS.get(word) or _TEENS.get(word, "")


def _kind_of(run: _Run, text: str) -> RedactionKind | None:
    digits = run.digits
    before = text[max(0, run.start - _BEFORE) : run.start]
    if 13 <= len(digits) <= 19 and _passes_luhn(digits):
        return "card"
    if _SAYS_CODE.search(before) and 3 <= len(digits) <= 6:
        return "card"
    if len(digits) == 9 and (_SAYS_SSN.search(before) or [len(group) for group in run.groups] == [3, 2, 4]):
        return "ssn"
    if _SAYS_SSN.search(before) and len(digits) == 4:
        return "ssn"
    if len(digits) >= 6 and _SAYS_BANK.search(before):
        return "bank"
    return "digits" if len(digits) >= _LONG and not _is_date(text[run.start : run.end]) else None


def _is_date(text: str) -> bool:
    return bool(re.fullmatch(r"\d{4}-\d\d?-\d\d?|\d\d?[/.-]\d\d?[/.-]\d{4}", text))


def _passes_luhn(digits: str) -> bool:
    total = 0
    for position, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if position % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0
