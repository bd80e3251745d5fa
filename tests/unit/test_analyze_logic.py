"""From a checked reply, or from silence, to the analysis that is stored."""

from __future__ import annotations

import pytest

from schemas.analysis import CallAnalysis, ModelReply
from stages.analyze import logic
from stages.analyze.reply import ReplyInvalid
from tests.support.analysis_calls import HOT_LEAD, details, transcript_of

REPLY = ModelReply(
    summary="Water heater burst; **visit** agreed, see https://evil.example.",
    sentiment="neutral",
    intent="booking",
    topics=("water heater", "<b>water heater</b>", "price"),
    lead_score=70,
    lead_score_reasons=('Emergency: "water everywhere"', 'Rich: "I own a castle"'),
    next_step="Send somebody at three.",
)


def _judged(reply: ModelReply = REPLY, *, threshold: int = 70) -> CallAnalysis:
    return logic.judge(
        reply,
        transcript=transcript_of(*HOT_LEAD),
        threshold=threshold,
        model="gemini-3.5-flash-lite",
        prompt_version="1+abc",
    )


def test_texts_are_cleaned_and_only_proven_reasons_are_stored() -> None:
    analysis = _judged()
    assert analysis.summary == "Water heater burst; visit agreed, see [link removed]"
    assert analysis.topics == ("water heater", "price")
    assert analysis.lead_score_reasons == ('Emergency: "water everywhere" (caller, 00:05)',)
    assert analysis.basis == "transcript"


@pytest.mark.parametrize(("threshold", "qualified"), [(0, True), (69, True), (70, True), (71, False), (100, False)])
def test_a_lead_is_qualified_from_the_tenants_threshold_up(threshold: int, qualified: bool) -> None:
    assert _judged(threshold=threshold).qualified is qualified


def test_a_reply_whose_every_quotation_is_made_up_is_refused() -> None:
    made_up = REPLY.model_copy(update={"lead_score_reasons": ('Rich: "I own a castle"',)})
    with pytest.raises(ReplyInvalid):
        _judged(made_up)


@pytest.mark.parametrize("field", ["summary", "next_step"])
def test_a_reply_of_markup_alone_is_refused(field: str) -> None:
    with pytest.raises(ReplyInvalid):
        _judged(REPLY.model_copy(update={field: "<br/>"}))


@pytest.mark.parametrize("text", ["...", "—", "?!"])
def test_marks_of_silence_are_no_words(text: str) -> None:
    assert not logic.has_words(transcript_of(("caller", text)))


def test_a_call_without_turns_has_no_words() -> None:
    assert not logic.has_words(transcript_of())
    assert logic.has_words(transcript_of(("caller", "hm")))


@pytest.mark.parametrize(
    ("changes", "score", "next_step"),
    [
        ({}, 15, "Call back once to ask what the caller wanted."),
        ({"caller_number": ""}, 5, "Nothing to do unless the call was expected."),
        ({"direction": "outbound"}, 5, "Nothing to do unless the call was expected."),
    ],
)
def test_silence_is_judged_by_the_details_and_says_so(changes: dict[str, str], score: int, next_step: str) -> None:
    analysis = logic.analysis_without_words(details(**changes), threshold=10, prompt_version="1")
    assert (analysis.basis, analysis.intent, analysis.model) == ("metadata", "incomplete", "rules")
    assert (analysis.lead_score, analysis.next_step) == (score, next_step)
    assert analysis.qualified is (score >= 10)


def test_silence_is_summarised_without_inventing_anything() -> None:
    analysis = logic.analysis_without_words(details(voicemail=True), threshold=70, prompt_version="1")
    assert analysis.summary == "Voicemail of 62 s: no words were recognised on the recording."


def test_an_answer_counts_as_given_for_the_same_question_to_the_same_model() -> None:
    stored = _judged()
    assert logic.already_answers(stored, model="gemini-3.5-flash-lite", prompt_version="1+abc")
    assert not logic.already_answers(stored, model="gemini-3.8-flash", prompt_version="1+abc")
    assert not logic.already_answers(stored, model="gemini-3.5-flash-lite", prompt_version="1+def")
    assert not logic.already_answers(None, model="gemini-3.5-flash-lite", prompt_version="1+abc")


def test_an_analysis_from_metadata_never_answers_for_words() -> None:
    silent = logic.analysis_without_words(details(), threshold=70, prompt_version="1+abc")
    assert not logic.already_answers(silent, model="rules", prompt_version="1+abc")


@pytest.mark.parametrize(
    ("version", "label"),
    [("", "gemini-x"), ("gemini-x", "gemini-x"), ("gemini-x-002", "gemini-x (gemini-x-002)")],
)
def test_the_label_names_the_model_asked_and_the_version_that_answered(version: str, label: str) -> None:
    assert logic.model_label("gemini-x", version) == label
