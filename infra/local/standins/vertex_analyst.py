"""The rule-based analyst behind the Vertex stand-in: reads a call as a person would skim it, always the same way.

The caller's words decide; what the business says (greetings, prices, offers) does not. Where a recording has no
named parties, whoever greets first is taken for the business.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from infra.local.standins import vertex_words as words

_LINE = re.compile(
    r"^\s*(?:\[[\d:.]+\]\s*)?(?P<speaker>agent|caller|speaker_\d|unknown)\s*:\s*(?P<text>\S.*)$", re.IGNORECASE
)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_QUOTE_CHARACTERS = 110
_MOST_REASONS = 5


@dataclass(frozen=True)
class Heard:
    """A signal and the caller's own words that carry it."""

    signal: words.Signal
    quote: str

    @property
    def reason(self) -> str:
        return f'{self.signal.says}: "{self.quote}"'


@dataclass(frozen=True)
class Line:
    speaker: str
    text: str


def analyse(user_text: str) -> dict[str, Any]:
    """Everything the analyst can say of the call, by the property names it knows."""
    lines = _lines(user_text)
    sentences = _sentences_of_caller(lines)
    heard = [found for signal in _all_signals() if (found := _listen(signal, sentences))]
    intent = _intent(heard, sentences)
    deciding = _deciding(intent, heard)
    voicemail = bool(words.VOICEMAIL.search(user_text))
    return {
        "summary": _summary(intent, sentences, voicemail=voicemail),
        "sentiment": _sentiment(" ".join(sentences)),
        "intent": intent,
        "topics": _topics(" ".join(sentences)),
        "lead_score_reasons": _reasons(deciding, lines, sentences),
        "lead_score": _score(intent, deciding),
        "next_step": _next_step(intent, deciding),
    }


def _all_signals() -> list[words.Signal]:
    return [signal for signal, _ in words.FIRM_INTENTS] + [*words.LEAD_SIGNALS, words.QUESTION]


def _lines(user_text: str) -> list[Line]:
    matches = (_LINE.match(line) for line in user_text.splitlines())
    return [Line(match["speaker"].lower(), match["text"].strip()) for match in matches if match]


def _sentences_of_caller(lines: list[Line]) -> list[str]:
    business = _business(lines)
    spoken = [line.text for line in lines if line.speaker != business]
    sentences = [part for text in spoken for part in _SENTENCE_END.split(text) if part]
    named = any(line.speaker == "caller" for line in lines)
    return sentences if named else [part for part in sentences if not words.GREETING.search(part)]


def _business(lines: list[Line]) -> str:
    """The label of the business's party; empty when all lines carry one label that nobody can tell apart."""
    labels = {line.speaker for line in lines}
    if "agent" in labels:
        return "agent"
    if len(labels) < 2:
        return ""
    return next((line.speaker for line in lines if words.GREETING.search(line.text)), "")


def _listen(signal: words.Signal, sentences: list[str]) -> Heard | None:
    for sentence in sentences:
        match = signal.pattern.search(sentence)
        if match:
            return Heard(signal, _quote(sentence, match.start()))
    return None


def _quote(sentence: str, at: int = 0) -> str:
    """The caller's words around position `at`, letter for letter, cut at blanks."""
    if len(sentence) <= _QUOTE_CHARACTERS:
        return sentence.replace('"', "").strip()
    start = max(0, at - _QUOTE_CHARACTERS // 3)
    start = sentence.rfind(" ", 0, start) + 1 if start else 0
    piece = sentence[start : start + _QUOTE_CHARACTERS]
    return piece.rpartition(" ")[0].replace('"', "").strip() or piece


def _intent(heard: list[Heard], sentences: list[str]) -> str:
    names = {found.signal.name for found in heard}
    firm = next((intent for signal, intent in words.FIRM_INTENTS if signal.name in names), None)
    if not any(re.search(r"\w{2,}", sentence) for sentence in sentences):
        return "incomplete"
    if firm:
        return firm
    if "booking" in names:
        return "booking"
    if names & {"emergency", "price", "need"}:
        return "new_lead"
    return "general_inquiry" if len(" ".join(sentences).split()) > 3 else "incomplete"


def _deciding(intent: str, heard: list[Heard]) -> list[Heard]:
    """What a reason may rest on: the words behind the intent, or for a lead everything that moved the score."""
    lead_names = {signal.name for signal in words.LEAD_SIGNALS}
    if intent in {"new_lead", "booking"}:
        return [found for found in heard if found.signal.name in lead_names]
    if intent == "general_inquiry":
        return [found for found in heard if found.signal.name == "question"]
    return [found for found in heard if found.signal.name == intent]


def _score(intent: str, deciding: list[Heard]) -> int:
    return max(0, min(100, words.BASE_SCORE[intent] + sum(found.signal.points for found in deciding)))


def _reasons(deciding: list[Heard], lines: list[Line], sentences: list[str]) -> list[str]:
    if deciding:
        return [found.reason for found in deciding[:_MOST_REASONS]]
    if sentences:
        return [f'The caller said no more than: "{_quote(sentences[0])}"']
    if lines:
        return [f'Only the business spoke: "{_quote(lines[0].text)}"']
    return ["Nobody spoke"]


def _summary(intent: str, sentences: list[str], *, voicemail: bool) -> str:
    opening = "Voicemail" if voicemail else "Call"
    kind = intent.replace("_", " ")
    if not sentences:
        return f"{opening} without words from the caller ({kind})."
    longest = sorted(sentences, key=len, reverse=True)[:2]
    told = " ".join(_quote(sentence) for sentence in sentences if sentence in longest)
    return f"{opening} ({kind}). The caller said: {told}"


def _sentiment(text: str) -> str:
    positive, negative = bool(words.POSITIVE.search(text)), bool(words.NEGATIVE.search(text))
    if positive and negative:
        return "mixed"
    if negative:
        return "negative"
    return "positive" if positive else "neutral"


def _topics(text: str) -> list[str]:
    return [topic for topic, pattern in words.TOPICS.items() if re.search(pattern, text, re.IGNORECASE)]


def _next_step(intent: str, deciding: list[Heard]) -> str:
    if any(found.signal.name == "emergency" for found in deciding):
        return "Call back at once and send somebody today."
    return words.NEXT_STEP[intent]
