"""What Speech, the model and Secret Manager hand back: output objects, messages, values, replies of JSON."""

from __future__ import annotations

import warnings
from typing import Any

from hypothesis import strategies as st

from schemas.transcript import Transcript
from shared.errors import PermanentFailure, TenantBlocked, TransientFailure
from shared.gateways.gemini_messages import read_answer
from shared.gateways.secrets import as_text
from shared.gateways.speech_output import parse_results
from shared.gateways.speech_turns import turns_of
from shared.ports import ModelTruncated, SpeechJob
from stages.analyze.logic import judge
from stages.analyze.reply import ReplyInvalid, parse_reply
from tests.fuzz.material import NAME, TOKEN, json_bytes, texts
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


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """Gemini's message on the wire: fields in any state, then now and then damaged bytes."""
    from google.cloud.aiplatform_v1.types import content, prediction_service

    def part() -> Any:
        return content.Part(text=as_utf8(draw(texts)), thought=draw(st.booleans()))

    response = prediction_service.GenerateContentResponse(
        model_version=as_utf8(draw(st.sampled_from(("", "gemini-3.5-flash-lite-001", NAME)))),
        candidates=[
            content.Candidate(
                content=content.Content(parts=[part() for _ in range(draw(st.integers(0, 3)))]),
                finish_reason=draw(st.sampled_from((*range(12), 77, 2**31 - 1, -1))),
                finish_message=as_utf8(draw(texts)),
            )
            for _ in range(draw(st.integers(0, 2)))
        ],
        usage_metadata={
            name: draw(st.integers(-(2**31), 2**31 - 1))
            for name in ("prompt_token_count", "candidates_token_count", "thoughts_token_count")
        },
    )
    if draw(st.integers(0, 4)) == 0:
        response.prompt_feedback = prediction_service.GenerateContentResponse.PromptFeedback(
            block_reason=draw(st.sampled_from((0, 1, 2, 5, 99))), block_reason_message=as_utf8(draw(texts))
        )
    raw: bytes = prediction_service.GenerateContentResponse.serialize(response)
    if raw and draw(st.integers(0, 3)) == 0:
        place = draw(st.integers(0, len(raw) - 1))
        return raw[:place] + draw(st.binary(max_size=3)) + raw[place + 1 :]
    return raw


def as_utf8(text: str) -> str:
    """Protobuf's strings hold no lone surrogates: its writer refuses them."""
    return text.encode(errors="replace").decode()


def check_answer(given: bytes) -> None:
    """A message that can be decoded is an answer with words in it, or one of our errors without anything it said."""
    from google.cloud.aiplatform_v1.types import prediction_service
    from google.protobuf.message import DecodeError

    try:
        response = prediction_service.GenerateContentResponse.deserialize(given)
    except DecodeError:
        return  # gRPC answers INTERNAL for it, which is the client's error and translated as such
    with warnings.catch_warnings():
        # proto-plus warns about a number without a name: reasons newer than this client are part of the inputs.
        warnings.filterwarnings("ignore", message="Unrecognized", category=UserWarning)
        answer = read_answer(response, model="gemini-3.5-flash-lite")
    if not answer.text.strip() or not answer.model_version:
        raise Finding("an answer without words or without a model")


_secret_bytes = st.one_of(
    st.binary(max_size=40),
    texts.map(lambda text: text.encode(errors="surrogatepass")),
    st.tuples(st.sampled_from((TOKEN, NAME)), st.binary(max_size=4)).map(lambda two: two[0].encode() + two[1]),
)


def check_secret(given: bytes) -> None:
    """A secret's bytes are text without line ends at the end, or refused without a byte of them."""
    value = as_text("acme-plumbing-webhook-secret", given)
    if not value or value[-1] in "\r\n" or value.encode() != given.rstrip(b"\r\n"):
        raise Finding("the value is not what was stored")


TARGETS = (
    Target("gemini_message", answers(), check_answer, (PermanentFailure, TransientFailure, ModelTruncated)),
    Target("secret_payload", _secret_bytes, check_secret, (TenantBlocked,)),
    Target("speech_results", json_bytes(*SPEECH), check_speech, (PermanentFailure,)),
    Target("analysis_reply", json_bytes(REPLY), check_reply, (ReplyInvalid,)),
)
