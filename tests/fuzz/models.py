"""What Speech and the model hand back: output objects, and replies that should be one JSON document."""

from __future__ import annotations

from typing import Any

from schemas.transcript import Transcript
from shared.errors import PermanentFailure
from shared.gateways.speech_output import parse_results
from shared.gateways.speech_turns import turns_of
from shared.ports import SpeechJob
from stages.analyze.logic import judge
from stages.analyze.reply import ReplyInvalid, parse_reply
from tests.fuzz.material import json_bytes
from tests.fuzz.target import Finding, Target

_WORDS = [
    {"word": "hello", "startOffset": "0.100s", "endOffset": "0.400s", "speakerLabel": "1"},
    {"word": "there", "startOffset": "0.500s", "endOffset": "0.900s", "speakerLabel": "2"},
]
SPEECH: tuple[dict[str, Any], ...] = (
    {
        "results": [
            {
                "alternatives": [{"transcript": "hello there", "words": _WORDS, "confidence": 0.9}],
                "channelTag": 1,
                "resultEndOffset": "1s",
                "languageCode": "en-US",
            },
            {"alternatives": [{"transcript": "goodbye"}], "channelTag": 2, "resultEndOffset": "3.5s"},
        ],
        "metadata": {"totalBilledDuration": "4s"},
    },
    {"results": [{"alternatives": [{"transcript": "", "words": _WORDS}]}]},
    {},
)
REPLY = {
    "summary": "Wants a quote for a water heater.",
    "sentiment": "positive",
    "intent": "new_lead",
    "topics": ["water heater"],
    "lead_score": 82,
    "lead_score_reasons": ['Asked for a price: "a quote for a water heater"'],
    "next_step": "Call back before noon.",
}
_SAID = Transcript.model_validate(
    {
        "language": "en-US",
        "model": "chirp_3",
        "turns": [{"speaker": "caller", "start_s": 0, "end_s": 2, "text": "I want a quote for a water heater."}],
    }
)


def check_speech(data: bytes) -> None:
    """Results become a transcript that can be stored and read, for one channel and for two."""
    results = parse_results(data)
    for channels in (1, 2):
        job = SpeechJob("gs://b/a", "gs://b/t/", channels, 60.0, ("en-US",), "chirp_3", 1)
        transcript = Transcript(language="en-US", model="chirp_3", turns=turns_of(results, job))
        if Transcript.model_validate_json(transcript.model_dump_json()) != transcript:
            raise Finding("the transcript changes when it is stored")
        starts = [turn.start_s for turn in transcript.turns]
        if starts != sorted(starts):
            raise Finding("turns are out of order")


def check_reply(data: bytes) -> None:
    """A reply becomes an analysis within its bounds, or is refused."""
    analysis = judge(
        parse_reply(data.decode(errors="replace")), transcript=_SAID, threshold=70, model="m", prompt_version="1"
    )
    if type(analysis).model_validate_json(analysis.model_dump_json()) != analysis:
        raise Finding("the analysis changes when it is stored")
    if not 0 <= analysis.lead_score <= 100 or analysis.qualified != (analysis.lead_score >= 70):
        raise Finding("the score is out of bounds")


TARGETS = (
    Target("speech_results", json_bytes(*SPEECH), check_speech, (PermanentFailure,)),
    Target("analysis_reply", json_bytes(REPLY), check_reply, (ReplyInvalid,)),
)
