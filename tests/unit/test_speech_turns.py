"""Turns by speaker out of Speech's results."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from schemas.transcript import Turn
from shared.gateways.speech_output import parse_results
from shared.gateways.speech_turns import turns_of
from shared.ports import SpeechJob


def job(*, channels: int = 2, language: str = "en-US", agent_channel: int = 1) -> SpeechJob:
    return SpeechJob("gs://b/a", "gs://b/t/", channels, 60.0, (language,), "chirp_3", agent_channel)


def word(text: str, start_s: float | None = None, end_s: float | None = None, *, label: str = "") -> dict[str, Any]:
    """A word as protobuf JSON writes it: a zero offset is left out."""
    told: dict[str, Any] = {"word": text}
    if start_s:
        told["startOffset"] = f"{start_s}s"
    if end_s:
        told["endOffset"] = f"{end_s}s"
    if label:
        told["speakerLabel"] = label
    return told


def result(*words: dict[str, Any], channel: int = 0, end_s: float = 0.0, text: str = "") -> dict[str, Any]:
    transcript = text or " ".join(one["word"] for one in words)
    told: dict[str, Any] = {
        "alternatives": [{"transcript": transcript, "words": list(words)}],
        "resultEndOffset": f"{end_s}s",
        "languageCode": "en-us",
    }
    if channel:
        told["channelTag"] = channel
    return told


def turns(*results: dict[str, Any], of: SpeechJob) -> list[tuple[str, str]]:
    return [(turn.speaker, turn.text) for turn in whole_turns(*results, of=of)]


def whole_turns(*results: dict[str, Any], of: SpeechJob) -> tuple[Turn, ...]:
    return turns_of(parse_results(json.dumps({"results": list(results)}).encode()), of)


def test_an_answer_in_the_middle_of_a_result_splits_it() -> None:
    agent = result(word("Hello.", 0, 0.5), word("Good.", 2.0, 2.5), channel=1, end_s=2.5)
    caller = result(word("Hi.", 1.0, 1.5), channel=2, end_s=1.5)
    assert turns(agent, caller, of=job()) == [("agent", "Hello."), ("caller", "Hi."), ("agent", "Good.")]


def test_people_who_talk_at_the_same_time_keep_their_sentences() -> None:
    agent = result(*(word(f"a{n}", n * 0.3, n * 0.3 + 0.3) for n in range(10)), channel=1, end_s=3)
    caller = result(*(word(f"c{n}", 0.5 + n * 0.3, 0.8 + n * 0.3) for n in range(5)), channel=2, end_s=2)
    assert turns(agent, caller, of=job()) == [
        ("agent", "a0 a1 a2 a3 a4 a5 a6 a7 a8 a9"),
        ("caller", "c0 c1 c2 c3 c4"),
    ]


def test_silence_of_a_hold_starts_a_new_turn() -> None:
    agent = result(word("Wait.", 0, 0.5), word("Thanks.", 30, 30.5), channel=1, end_s=30.5)
    assert turns(agent, of=job()) == [("agent", "Wait."), ("agent", "Thanks.")]


def test_short_pauses_do_not_split_a_speaker() -> None:
    agent = result(word("One", 0, 0.5), word("two.", 2, 2.5), channel=1, end_s=2.5)
    assert whole_turns(agent, of=job()) == (Turn(speaker="agent", start_s=0, end_s=2.5, text="One two."),)


def test_without_word_times_results_are_ordered_by_where_they_began() -> None:
    agent = (
        result(channel=1, end_s=2, text="How can I help?"),
        result(channel=1, end_s=9, text="We will send somebody."),
    )
    caller = result(channel=2, end_s=6, text="My sink leaks.")
    assert turns(*agent, caller, of=job()) == [
        ("agent", "How can I help?"),
        ("caller", "My sink leaks."),
        ("agent", "We will send somebody."),
    ]


def test_diarized_words_change_speaker_without_a_pause() -> None:
    said = result(
        word("Coffee?", 0, 0.5, label="1"),
        word("Yes.", 0.5, 0.7, label="2"),
        word("Sugar?", 0.7, 1.0, label="1"),
        end_s=1,
    )
    assert turns(said, of=job(channels=1)) == [
        ("speaker_1", "Coffee?"),
        ("speaker_2", "Yes."),
        ("speaker_1", "Sugar?"),
    ]


def test_diarized_words_without_times_keep_their_order_inside_the_result() -> None:
    said = result(word("Coffee?", label="1"), word("Yes", label="2"), word("please.", label="2"), end_s=1.2)
    found = whole_turns(said, of=job(channels=1))
    assert [(turn.speaker, turn.text) for turn in found] == [("speaker_1", "Coffee?"), ("speaker_2", "Yes please.")]
    assert found[-1].end_s == 1.2


def test_labels_beyond_four_speakers_are_unknown() -> None:
    said = result(word("Hm.", 0, 1, label="5"), end_s=1)
    assert turns(said, of=job(channels=1)) == [("unknown", "Hm.")]


def test_channel_that_speech_does_not_name_is_unknown() -> None:
    assert turns(result(word("Hm.", 0, 1), end_s=1), of=job()) == [("unknown", "Hm.")]


def test_third_party_of_a_conference_keeps_its_number() -> None:
    said = result(word("Hello.", 0, 1), channel=3, end_s=1)
    assert turns(said, of=job(channels=3)) == [("speaker_3", "Hello.")]


def test_unspaced_languages_are_joined_without_spaces() -> None:
    said = result(word("今日", 0, 0.5, label="1"), word("は", 0.5, 0.7, label="1"), end_s=1)
    assert turns(said, of=job(channels=1, language="ja-JP")) == [("speaker_1", "今日は")]


def test_subword_marks_are_removed() -> None:
    said = result(word("\u2581Hello", 0, 0.5), word("\u2581", 0.5, 0.6), channel=1, end_s=1)
    assert turns(said, of=job()) == [("agent", "Hello")]


def test_results_without_words_leave_no_turn() -> None:
    empty = {"alternatives": [], "resultEndOffset": "3s", "channelTag": 1}
    assert turns(empty, result(text="   ", channel=2, end_s=4), of=job()) == []


def test_fields_google_adds_later_are_ignored() -> None:
    said = {**result(word("Hi.", 0, 1), channel=1, end_s=1), "mood": "sunny"}
    assert turns(said, of=job()) == [("agent", "Hi.")]


_TIMES = st.floats(min_value=0, max_value=3600).map(lambda seconds: round(seconds, 3))
_SPOKEN = st.lists(st.tuples(st.sampled_from([1, 2]), _TIMES, st.sampled_from(["yes", "no", "maybe"])), max_size=30)


@given(_SPOKEN)
def test_no_word_is_lost_invented_or_given_to_the_other_party(spoken: list[tuple[int, float, str]]) -> None:
    told = [result(word(text, at, at + 0.25), channel=channel, end_s=at) for channel, at, text in spoken]

    found = whole_turns(*told, of=job())

    names = {1: "agent", 2: "caller"}
    assert Counter((turn.speaker, text) for turn in found for text in turn.text.split()) == Counter(
        (names[channel], text) for channel, _, text in spoken
    )
    assert [turn.start_s for turn in found] == sorted(turn.start_s for turn in found)
    assert all(turn.start_s <= turn.end_s for turn in found)
