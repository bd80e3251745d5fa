"""A call as a sales person reads it in the CRM."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.analysis import CallAnalysis
from schemas.calls import CrmRecord, Marketing, Marks, RecordingFacts
from schemas.crm import CrmCall
from stages.crm_sync.logic import ScoreBands, crm_call, previous_record, title
from tests.support.analysis_calls import NOW, call_record, details, transcript_of

BANDS = ScoreBands()
ANALYSIS = CallAnalysis(
    basis="transcript",
    summary="Wants a new water heater.",
    sentiment="positive",
    intent="new_lead",
    topics=("water heater", "price"),
    lead_score=82,
    lead_score_reasons=('Asked for a price: "how much" (caller, 00:05)', "Owns the house"),
    next_step="Call back before noon.",
    qualified=True,
    model="gemini-3.5-flash-lite",
    prompt_version="1+abc",
)
RECORDING = RecordingFacts(
    object_name="recordings/acme/CAL1.wav",
    content_type="audio/wav",
    size_bytes=10,
    sha256="0" * 64,
    duration_s=222.4,
    channels=2,
)


def _call(analysis: CallAnalysis | None = ANALYSIS, **changes: Any) -> CrmCall:
    call = call_record(**changes).model_copy(update={"analysis": analysis})
    return crm_call(call, bands=BANDS, previous=None)


def _lines(call: CrmCall, heading: str) -> tuple[str, ...]:
    return next((section.lines for section in call.sections if section.heading == heading), ())


def test_the_title_says_who_what_and_how_good() -> None:
    assert _call().title == "Call from +13035550123: new lead (score 82, hot)"


@pytest.mark.parametrize(
    ("changes", "start"),
    [
        ({"caller_number": ""}, "Call from a withheld number: "),
        ({"direction": "outbound"}, "Call to +13035550123: "),
        ({"voicemail": True}, "Voicemail from +13035550123: "),
    ],
)
def test_the_title_fits_the_kind_of_call(changes: dict[str, Any], start: str) -> None:
    assert title(details(**changes), ANALYSIS, bands=BANDS).startswith(start)


def test_the_title_never_outgrows_the_crms_field() -> None:
    assert len(title(details(caller_number="9" * 400), ANALYSIS, bands=BANDS)) == 255


@pytest.mark.parametrize(
    ("score", "band"), [(100, "hot"), (70, "hot"), (69, "warm"), (40, "warm"), (39, "cold"), (0, "cold")]
)
def test_scores_fall_into_bands(score: int, band: str) -> None:
    assert BANDS.of(score) == band


def test_sections_come_most_important_first_and_the_transcript_last() -> None:
    call = _call(
        details=details(marketing=Marketing(source="Google Ads"), marks=Marks(tags=("vip",))),
        recording=RECORDING,
        transcript=transcript_of(("agent", "Hello"), ("caller", "How much?")),
    )
    assert [section.heading for section in call.sections] == [
        "Summary",
        "Next step",
        "Lead score",
        "Topics",
        "Marketing",
        "Marks",
        "Recording",
        "Transcript",
    ]


def test_the_score_stands_with_its_reasons() -> None:
    assert _lines(_call(), "Lead score") == (
        "82 of 100 (hot, qualified)",
        '- Asked for a price: "how much" (caller, 00:05)',
        "- Owns the house",
        "Intent: new lead. Sentiment: positive.",
    )


def test_turns_carry_time_and_speaker_past_the_hour_too() -> None:
    transcript = transcript_of(*[("agent", "Hello"), ("speaker_2", "Hi")] * 400)
    lines = _lines(_call(transcript=transcript), "Transcript")
    assert lines[:2] == ("00:00 Agent: Hello", "00:05 Speaker 2: Hi")
    assert lines[-1].startswith("66:35 ")


def test_what_is_unknown_is_left_out() -> None:
    headings = [section.heading for section in _call(ANALYSIS.model_copy(update={"topics": ()})).sections]
    assert headings == ["Summary", "Next step", "Lead score", "Recording"]


def test_marketing_and_marks_show_only_what_is_there() -> None:
    call = _call(
        details=details(
            marketing=Marketing(source="Google Ads", keywords="plumber near me", gclid="abc"),
            marks=Marks(tags=("vip", "roof"), note="called twice", value="1200.00", lead_status="good_lead"),
        )
    )
    assert _lines(call, "Marketing") == ("Source: Google Ads", "Keywords: plumber near me", "Google click id: abc")
    assert _lines(call, "Marks") == (
        "Tags: vip, roof",
        "Note: called twice",
        "Value: 1200.00",
        "Lead status: good lead",
    )


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"audio_s": RECORDING.duration_s}, "Recorded, 03:42 long."),
        ({"no_audio_reason": "recording_disabled"}, "No recording: recording disabled."),
        ({}, "No recording: none was made."),
    ],
)
def test_the_reader_knows_whether_there_is_something_to_listen_to(changes: dict[str, Any], line: str) -> None:
    assert _lines(_call(**changes), "Recording") == (line,)


def test_an_analysis_without_words_says_so() -> None:
    blind = ANALYSIS.model_copy(update={"basis": "metadata"})
    assert _lines(_call(blind), "Recording")[-1] == "Judged from the call's details alone: no words were known."


def test_the_previous_record_is_that_of_the_same_crm() -> None:
    record = CrmRecord(provider="salesforce", activity_id="00T1", activity_type="task", synced_at=NOW)
    call = call_record(crm=(record,))
    assert previous_record(call, "salesforce") == record
    assert previous_record(call, "hubspot") is None


def test_a_call_that_nobody_judged_says_so_and_makes_nothing_up() -> None:
    call = _call(None, transcript=transcript_of(("caller", "Hello")))
    assert call.title.endswith(": not analyzed yet")
    assert call.analysis is None
    assert _lines(call, "Summary") == _lines(call, "Lead score") == ()
    assert "completed" in _lines(call, "Analysis")[0]
    assert _lines(call, "Transcript")
