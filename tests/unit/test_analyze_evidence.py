"""What a reason quotes must have been said; the reader learns by whom and when."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.analyze.evidence import proven_reasons, spoken_words
from tests.support.analysis_calls import transcript_of

SPOKEN = spoken_words(
    transcript_of(
        ("agent", "Thanks for calling, how can I help?"),
        ("caller", "Uh, my water heater, it's leaking."),
        ("caller", "I don't have hot water since Monday!"),
        ("speaker_1", "おはようございます、予約をお願いします。"),
    )
)


def _proven(*reasons: str) -> list[str]:
    return [f"{item.reason}{item.source}" for item in proven_reasons(reasons, SPOKEN)]


@pytest.mark.parametrize(
    ("reason", "stored"),
    [
        ('Has a leak: "my water heater, it\'s leaking"', " (caller, 00:05)"),
        ("Has a leak: “My Water Heater it’s LEAKING”", " (caller, 00:05)"),
        ('Without hot water: "I dont have hot water"', " (caller, 00:10)"),
        ("Over two turns: \"it's leaking. I don't have hot water\"", " (caller, 00:05)"),
        ('Shortened: "my water heater … since Monday"', " (caller, 00:05)"),
        ('Shortened: "my water heater ... since Monday"', " (caller, 00:05)"),
        ('Two quotes: "since Monday" and "it\'s leaking"', " (caller, 00:10)"),
        ('Greeted: "how can I help"', " (agent, 00:00)"),
        ("Wants a date: 「予約」 “予約をお願いします”", " (speaker 1, 00:15)"),
        ("Named no service", ""),
    ],
)
def test_a_true_quotation_is_kept_with_speaker_and_time(reason: str, stored: str) -> None:
    assert _proven(reason) == [reason + stored]


@pytest.mark.parametrize(
    "reason",
    [
        'Will pay: "I will pay anything"',
        'Half true: "my water heater" and "exploded"',
        'Other order: "heater water my"',
        'Part of a word: "ater heat"',
        'Never ends: "my water heater',
        'Shortened: "my water heater … exploded"',
        "Other order: “お願いします予約”",
    ],
)
def test_a_reason_whose_quotation_nobody_said_is_dropped(reason: str) -> None:
    assert _proven(reason, "Named no service") == ["Named no service"]


def test_nothing_is_proven_by_a_call_without_words() -> None:
    silent = spoken_words(transcript_of(("caller", "...")))
    assert proven_reasons(('Said "hello"',), silent) == ()


@given(st.lists(st.text(alphabet="abc .,'", min_size=1, max_size=12).filter(str.strip), min_size=1, max_size=6))
def test_every_turn_is_found_where_it_starts(texts: list[str]) -> None:
    """Any turn quoted whole is found, at its own start or at an earlier one with the same words."""
    transcript = transcript_of(*(("caller", text) for text in texts))
    spoken = spoken_words(transcript)
    for turn in transcript.turns:
        if any(letter.isalnum() for letter in turn.text):
            found = spoken.turn_of(turn.text)
            assert found is not None
            assert found.start_s <= turn.start_s
