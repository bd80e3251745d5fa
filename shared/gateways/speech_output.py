"""Speech's output object, parsed: protobuf JSON of `BatchRecognizeResults` (google.cloud.speech.v2).

Parsed without the vendor's package: protobuf's own JSON parser takes five times as long (0.17 s for an hour of words).
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from shared.errors import PermanentFailure

_DURATION = re.compile(r"^([0-9]+(?:\.[0-9]+)?)s$")
_KNOWN_KEYS = frozenset({"results", "metadata"})


def _seconds(value: Any) -> float:
    """Protobuf JSON writes a Duration as `"1.200s"`."""
    match = _DURATION.match(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("not a duration")
    return float(match[1])


Seconds = Annotated[float, BeforeValidator(_seconds)]


class _Message(BaseModel):
    """Unknown fields are ignored: Google adds some now and then."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel)


class SpokenWord(_Message):
    """One word. Without word times both offsets stay 0; without diarization the label stays empty."""

    word: str = ""
    start_offset: Seconds = 0.0
    end_offset: Seconds = 0.0
    speaker_label: str = ""


class Alternative(_Message):
    transcript: str = ""
    words: tuple[SpokenWord, ...] = ()


class SpeechResult(_Message):
    """A stretch of one channel; `channel_tag` counts from 1, 0 when channels were not separated."""

    alternatives: tuple[Alternative, ...] = ()
    channel_tag: int = Field(default=0, ge=0)
    result_end_offset: Seconds = 0.0
    language_code: str = ""

    @property
    def best(self) -> Alternative:
        """The first alternative is the most likely one; a stretch without words may have none."""
        return self.alternatives[0] if self.alternatives else Alternative()


class _Output(_Message):
    results: tuple[SpeechResult, ...] = ()


def parse_results(data: bytes) -> tuple[SpeechResult, ...]:
    """The results in the service's order; none when nobody spoke.

    Raises `PermanentFailure` (`speech_output_unreadable`) when the bytes are not such a document; the error says
    where it is wrong and never quotes what was said.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _unreadable("not JSON") from error
    if not isinstance(document, dict) or (document and _KNOWN_KEYS.isdisjoint(document)):
        raise _unreadable("JSON, but not Speech's results")
    try:
        return _Output.model_validate(document).results
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        # The cause is left out: its text quotes the input, which is what the caller said.
        raise _unreadable(f"{first['type']} at {place}") from None


def _unreadable(why: str) -> PermanentFailure:
    return PermanentFailure("speech_output_unreadable", f"Speech's output object is {why}")
