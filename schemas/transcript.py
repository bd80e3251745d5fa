"""What was said: turns by speaker with times, as stored in `call_records.transcript`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from schemas.base import Contract

Speaker = Literal["agent", "caller", "speaker_1", "speaker_2", "speaker_3", "speaker_4", "unknown"]


class Turn(Contract):
    """One uninterrupted stretch of one speaker; times in seconds from the start of the recording."""

    speaker: Speaker
    start_s: float = Field(ge=0)
    end_s: float = Field(ge=0)
    text: str = Field(min_length=1)


class Transcript(Contract):
    """All turns in order of their start. `turns` is empty when nobody spoke."""

    language: str
    model: str
    turns: tuple[Turn, ...] = ()

    @property
    def text(self) -> str:
        """The words with speaker labels, one turn a line."""
        return "\n".join(f"{turn.speaker}: {turn.text}" for turn in self.turns)
