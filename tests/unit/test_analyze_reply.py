"""The model's text is the document it was asked for, or it is refused without repeating what it held."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.analyze.reply import ReplyInvalid, parse_reply

GOOD: dict[str, Any] = {
    "summary": "Wants a new water heater.",
    "sentiment": "neutral",
    "intent": "new_lead",
    "topics": ["water heater"],
    "lead_score_reasons": ["Asked for a price"],
    "lead_score": 82,
    "next_step": "Call back.",
}


def _text(**changes: Any) -> str:
    return json.dumps(GOOD | changes)


def test_a_document_against_its_schema_is_read() -> None:
    reply = parse_reply(_text())
    assert (reply.lead_score, reply.intent, reply.topics) == (82, "new_lead", ("water heater",))


@pytest.mark.parametrize("score", [0, 100])
def test_the_bounds_themselves_are_scores(score: int) -> None:
    assert parse_reply(_text(lead_score=score)).lead_score == score


@pytest.mark.parametrize(
    "score", [420, -1, 101, "82", True, False, 82.5, 82.0, None, [82], float("nan"), float("inf"), 10**30]
)
def test_anything_but_a_whole_number_from_0_to_100_is_no_score(score: Any) -> None:
    with pytest.raises(ReplyInvalid):
        parse_reply(_text(lead_score=score))


@pytest.mark.parametrize(
    "changes",
    [
        {"summary": ""},
        {"summary": "  "},
        {"summary": "x" * 2001},
        {"intent": "hot_lead"},
        {"sentiment": "Positive"},
        {"topics": "water heater"},
        {"topics": [1]},
        {"lead_score_reasons": []},
        {"lead_score_reasons": ["a"] * 9},
        {"next_step": None},
        {"confidence": 3},
    ],
)
def test_a_document_against_its_schema_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ReplyInvalid):
        parse_reply(_text(**changes))


@pytest.mark.parametrize("missing", sorted(set(GOOD) - {"topics"}))
def test_a_missing_property_is_refused(missing: str) -> None:
    with pytest.raises(ReplyInvalid, match=missing):
        parse_reply(json.dumps({name: value for name, value in GOOD.items() if name != missing}))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I cannot help with that.",
        "Here it is: " + _text(),
        _text() + "\nHope this helps!",
        _text()[:-20],
        "[]",
        "null",
        '"text"',
        "[" * 100_000,
        '{"lead_score": 1' + "0" * 5000 + "}",
        _text()[:-1] + ', "lead_score": 3}',
    ],
)
def test_text_that_is_not_exactly_one_document_is_refused(text: str) -> None:
    with pytest.raises(ReplyInvalid):
        parse_reply(text)


def test_one_fence_around_the_whole_text_is_taken_off() -> None:
    assert parse_reply(f"```json\n{_text()}\n```") == parse_reply(_text())


def test_prose_beside_a_fence_is_refused() -> None:
    with pytest.raises(ReplyInvalid):
        parse_reply(f"Sure!\n```json\n{_text()}\n```")


def test_a_refusal_never_repeats_what_the_reply_held() -> None:
    with pytest.raises(ReplyInvalid) as caught:
        parse_reply(_text(summary=["Dana Example"], **{"Dana Example": 1}))
    assert "Dana" not in str(caught.value)
    assert "summary" in str(caught.value)
    assert caught.value.__cause__ is None


@given(st.text(max_size=300))
def test_any_text_is_a_reply_or_a_refusal(text: str) -> None:
    with pytest.raises(ReplyInvalid):
        parse_reply(text)
