"""The form of a sample call's script: who says what, what CallRail would report, and what the pipeline should find."""

from __future__ import annotations

import hashlib
import json
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.analysis import Intent

Layout = Literal["two_channel", "one_channel", "no_audio"]
"""`two_channel`: agent on channel 1, caller on channel 2. `one_channel`: everybody mixed. `no_audio`: metadata only."""

Party = Literal["agent", "caller"]

Voice = Literal["rms", "slt", "awb", "kal16"]
"""Voices of Debian's flite; the first two (a man, a woman) are the ones a small recogniser understands best."""

ReservedNumber = Field(pattern=r"^\+1\d{3}55501\d{2}$")
"""555-01xx is set aside for fiction; nobody can be rung by accident."""

CHANNELS: dict[Layout, int] = {"two_channel": 2, "one_channel": 1, "no_audio": 0}


class ScriptPart(BaseModel):
    """Frozen, and a misspelt key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Line(ScriptPart):
    """One uninterrupted stretch of one speaker."""

    speaker: Party
    text: str = Field(min_length=1)
    pause_ms: int = Field(default=400, ge=0, le=5000)
    """Silence before the first word."""


class CallFacts(ScriptPart):
    """What CallRail reports about the call itself."""

    company_name: str
    time_zone: str
    answered: bool
    voicemail: bool = False
    call_type: Literal["answered", "missed", "voicemail"]
    duration_s: int = Field(ge=0)
    """From the first ring to hanging up: longer than the recording."""
    first_call: bool
    prior_calls: int = Field(ge=0)
    customer_name: str
    customer_number: str = ReservedNumber
    tracking_number: str = ReservedNumber
    business_number: str = ReservedNumber
    city: str
    state: str
    agent_email: str = Field(default="", pattern=r"^([a-z.]+@example\.com)?$")
    tags: tuple[str, ...] = ()


class Visit(ScriptPart):
    """What made the phone ring, in CallRail's words; empty where CallRail sends an empty string."""

    source: str = "direct"
    source_name: str = "Website pool"
    medium: str = "direct"
    campaign: str = ""
    keywords: str = ""
    referring_url: str = ""
    landing_page_url: str = ""
    gclid: str = ""


class Recording(ScriptPart):
    """How the call was recorded. `duration_s` is what the audio lasts, within a second."""

    layout: Layout
    duration_s: int = Field(default=0, ge=0)
    voices: dict[Party, Voice] = {}


class Expectation(ScriptPart):
    """What the pipeline should make of the call."""

    intent: Intent
    min_score: int = Field(ge=0, le=100)
    max_score: int = Field(ge=0, le=100)
    words: tuple[str, ...] = ()
    """Lower case; a tiny recogniser must hear every one of them."""

    @model_validator(mode="after")
    def _scores_are_a_range(self) -> Self:
        if self.min_score > self.max_score:
            raise ValueError("min_score is above max_score")
        return self


class Script(ScriptPart):
    """One sample call."""

    id: str = Field(pattern=r"^[a-z]+(-[a-z]+)*$")
    title: str
    recording: Recording
    call: CallFacts
    visit: Visit = Visit()
    turns: tuple[Line, ...] = ()
    expect: Expectation

    @property
    def channels(self) -> int:
        return CHANNELS[self.recording.layout]

    @property
    def speakers(self) -> frozenset[Party]:
        return frozenset(turn.speaker for turn in self.turns)

    @property
    def digest(self) -> str:
        """Changes when the audio has to be made anew; written into the MP3, so that a stale file is noticed."""
        sound = self.model_dump(mode="json", include={"turns": True, "recording": {"layout", "voices"}})
        return hashlib.sha256(json.dumps(sound, sort_keys=True).encode()).hexdigest()[:16]

    def text_of(self, speaker: Party) -> str:
        """Everything one speaker says."""
        return " ".join(turn.text for turn in self.turns if turn.speaker == speaker)

    @model_validator(mode="after")
    def _audio_is_possible(self) -> Self:
        if bool(self.turns) != (self.channels > 0) or bool(self.recording.duration_s) != (self.channels > 0):
            raise ValueError("turns and a recording's duration belong to calls with audio, and only to those")
        if set(self.recording.voices) != self.speakers:
            raise ValueError("every speaker needs a voice, and nobody else")
        if len(set(self.recording.voices.values())) != len(self.speakers):
            raise ValueError("two speakers share a voice")
        return self
