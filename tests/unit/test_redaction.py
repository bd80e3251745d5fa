"""What must not be stored is found, written or spoken; the rest stays. Figures on a labelled set."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.redaction import RedactionKind
from schemas.transcript import Transcript, Turn
from shared.redaction import ALL_KINDS, Finding, find, redact, redact_transcript

DATA = Path(__file__).parents[1] / "data" / "redaction.txt"
DOCUMENT = Path(__file__).parents[2] / "docs" / "security" / "redaction.md"
_MARK = re.compile(r"\{\{(?P<kind>\w+)\|(?P<text>[^}]*)\}\}")


def labelled() -> list[tuple[str, list[tuple[str, str]]]]:
    """Each utterance without its marks, and what was marked."""
    lines = [line for line in DATA.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    return [
        (_MARK.sub(lambda match: match["text"], line), [(m["kind"], m["text"]) for m in _MARK.finditer(line)])
        for line in lines
    ]


SET = labelled()
SENSITIVE = [(text, marks) for text, marks in SET if marks]
HARMLESS = [text for text, marks in SET if not marks]


@pytest.mark.parametrize(("text", "marks"), SENSITIVE, ids=[text for text, _ in SENSITIVE])
def test_what_is_marked_is_masked_and_the_rest_stays(text: str, marks: list[tuple[str, str]]) -> None:
    found = [(one.kind, text[one.start : one.end]) for one in find(text)]

    assert found == marks


@pytest.mark.parametrize("text", HARMLESS)
def test_what_a_business_needs_to_read_stays(text: str) -> None:
    assert redact(text) == text


def test_the_figures_of_the_document_are_those_of_the_set() -> None:
    wanted: Counter[str] = Counter()
    hit: Counter[str] = Counter()
    extra = 0
    for text, marks in SET:
        found = [(one.kind, text[one.start : one.end]) for one in find(text)]
        for mark in marks:
            wanted[mark[0]] += 1
            hit[mark[0]] += mark in found
        extra += len([one for one in found if one not in marks])

    rows = [f"| {kind} | {wanted[kind]} | {hit[kind]} |" for kind in sorted(ALL_KINDS)]
    table = DOCUMENT.read_text(encoding="utf-8")
    for row in [*rows, f"| in {len(HARMLESS)} harmless utterances | 0 | {extra} |"]:
        assert row in table


@pytest.mark.parametrize("kind", sorted(ALL_KINDS))
def test_a_tenant_chooses_what_is_masked(kind: RedactionKind) -> None:
    for text, marks in SENSITIVE:
        found = {one.kind for one in find(text, {kind})}
        assert found <= {kind}
        assert bool(found) == (kind in {mark for mark, _ in marks})
    assert find("4111 1111 1111 1111", ()) == []


def transcript(*turns: tuple[str, str]) -> Transcript:
    made = (
        Turn(speaker=speaker, start_s=number, end_s=number + 1, text=text)
        for number, (speaker, text) in enumerate(turns)
    )
    return Transcript(language="en-US", model="test", turns=tuple(made))


def test_a_number_said_over_several_turns_is_one_number() -> None:
    said = transcript(
        ("agent", "What is the card number?"),
        ("caller", "It's 4111 1111"),
        ("agent", "okay"),
        ("caller", "1111"),
        ("agent", "mm-hm, go on"),
        ("caller", "one one one one. And I need it today."),
    )

    texts = [turn.text for turn in redact_transcript(said, ALL_KINDS).turns]

    assert texts[1] == "It's [card number]"
    assert texts[3] == "[card number]"
    assert texts[5] == "[card number]. And I need it today."
    assert (texts[0], texts[2], texts[4]) == ("What is the card number?", "okay", "mm-hm, go on")


def test_nothing_else_of_a_transcript_changes() -> None:
    said = transcript(("caller", "my number is 303 555 0142"), ("agent", "thanks"))
    masked = redact_transcript(said, ALL_KINDS)

    assert [turn.model_copy(update={"text": ""}) for turn in masked.turns] == [
        turn.model_copy(update={"text": ""}) for turn in said.turns
    ]
    assert redact_transcript(said, ()) == said


def luhn(prefix: str) -> str:
    return next(prefix + str(last) for last in range(10) if [one.kind for one in find(prefix + str(last))] == ["card"])


@given(st.from_regex(r"[3-6][0-9]{14}", fullmatch=True), st.sampled_from(["", " ", "-", ". ", ", ", " dash "]))
def test_every_card_is_found_however_it_is_grouped(prefix: str, separator: str) -> None:
    card = luhn(prefix)
    grouped = separator.join(card[start : start + 4] for start in range(0, 16, 4))

    assert [one.kind for one in find(f"it is {grouped} today")] == ["card"]


WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


@given(st.from_regex(r"[2-9][0-9]{9}", fullmatch=True))
def test_every_telephone_number_is_found_spoken(number: str) -> None:
    spoken = " ".join(WORDS[int(digit)] for digit in number)

    assert redact(f"call {spoken} now") == "call [number] now"


@given(st.text(max_size=400))
def test_any_text_comes_through_and_findings_do_not_overlap(text: str) -> None:
    found = find(text)

    assert all(isinstance(one, Finding) and 0 <= one.start < one.end <= len(text) for one in found)
    assert all(before.end <= after.start for before, after in itertools.pairwise(found))
    redact(text)


def test_a_long_call_is_redacted_in_a_moment() -> None:
    """20,000 words, and texts made to be slow."""
    for text in ("we said four and at two dot " * 3000, "a at " * 20_000, "1 and " * 20_000, "a dot " * 20_000):
        redact(text)
