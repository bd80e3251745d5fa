"""What a call means: the model's reply, checked and cleaned, or the rules for a call without words. Pure."""

from __future__ import annotations

from schemas.analysis import CallAnalysis, ModelReply
from schemas.calls import CallDetails
from schemas.transcript import Transcript
from stages.analyze.cleaning import clean_text
from stages.analyze.evidence import proven_reasons, spoken_words
from stages.analyze.reply import ReplyInvalid

_SUMMARY_CHARACTERS = 2000
_NEXT_STEP_CHARACTERS = 500
_REASON_CHARACTERS = 300
_TOPIC_CHARACTERS = 60

_CALL_BACK = "Call back once to ask what the caller wanted."
_NOTHING_TO_DO = "Nothing to do unless the call was expected."


def judge(
    reply: ModelReply, *, transcript: Transcript, threshold: int, model: str, prompt_version: str
) -> CallAnalysis:
    """The analysis to store: texts cleaned, reasons proven by the words of the call.

    Raises `ReplyInvalid` when nothing is left of the summary, the next step or the reasons.
    """
    reasons = _reasons(reply.lead_score_reasons, transcript)
    summary = clean_text(reply.summary, max_characters=_SUMMARY_CHARACTERS)
    next_step = clean_text(reply.next_step, max_characters=_NEXT_STEP_CHARACTERS)
    if not reasons:
        raise ReplyInvalid("no reason quotes words of the call")
    if not (summary and next_step):
        raise ReplyInvalid("the summary or the next step holds no text")
    return CallAnalysis(
        basis="transcript",
        summary=summary,
        sentiment=reply.sentiment,
        intent=reply.intent,
        topics=_clean_all(reply.topics, _TOPIC_CHARACTERS),
        lead_score=reply.lead_score,
        lead_score_reasons=reasons,
        next_step=next_step,
        qualified=reply.lead_score >= threshold,
        model=model,
        prompt_version=prompt_version,
    )


def has_words(transcript: Transcript) -> bool:
    """Whether anybody said anything: letters or digits, not only marks of silence."""
    return any(letter.isalnum() for turn in transcript.turns for letter in turn.text)


def analysis_without_words(details: CallDetails, *, threshold: int, prompt_version: str) -> CallAnalysis:
    """A recording on which nobody spoke, judged by the call's details alone; no model is asked."""
    worth_calling_back = details.direction == "inbound" and bool(details.caller_number)
    score = 15 if worth_calling_back else 5
    number = "known" if details.caller_number else "not known"
    return CallAnalysis(
        basis="metadata",
        summary=f"{_kind(details)}{_length(details)}: no words were recognised on the recording.",
        sentiment="neutral",
        intent="incomplete",
        topics=(),
        lead_score=score,
        lead_score_reasons=("Nobody spoke on the recording", f"The caller's number is {number}"),
        next_step=_CALL_BACK if worth_calling_back else _NOTHING_TO_DO,
        qualified=score >= threshold,
        model="rules",
        prompt_version=prompt_version,
    )


def already_answers(stored: CallAnalysis | None, *, model: str, prompt_version: str) -> bool:
    """Whether this very question was put to this model before: the first valid answer stays (no second bill)."""
    if stored is None or stored.basis != "transcript":
        return False
    return stored.prompt_version == prompt_version and stored.model.split(" ", 1)[0] == model


def with_threshold(stored: CallAnalysis, threshold: int) -> CallAnalysis:
    """A stored analysis under today's threshold, which the tenant may have moved since."""
    return stored.model_copy(update={"qualified": stored.lead_score >= threshold})


def model_label(model: str, version: str) -> str:
    """`CallAnalysis.model`: the id that was asked, and the version that answered when it says more."""
    return model if version in {"", model} else f"{model} ({version})"


def _reasons(given: tuple[str, ...], transcript: Transcript) -> tuple[str, ...]:
    """Proven first, cleaned after: a quotation that holds a web address is still a true one."""
    proven = proven_reasons(given, spoken_words(transcript))
    cleaned = ((clean_text(item.reason, max_characters=_REASON_CHARACTERS), item.source) for item in proven)
    return tuple(dict.fromkeys(f"{reason}{source}" for reason, source in cleaned if reason))


def _clean_all(texts: tuple[str, ...], max_characters: int) -> tuple[str, ...]:
    cleaned = (clean_text(text, max_characters=max_characters) for text in texts)
    return tuple(dict.fromkeys(text for text in cleaned if text))


def _kind(details: CallDetails) -> str:
    if details.voicemail:
        return "Voicemail"
    return "Inbound call" if details.direction == "inbound" else "Outbound call"


def _length(details: CallDetails) -> str:
    return "" if details.duration_s is None else f" of {details.duration_s} s"
