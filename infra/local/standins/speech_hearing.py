"""What a recognizer hears: words, utterances, a whole file. Needs no engine and no model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class NotAudio(Exception):
    """The bytes are no audio that the decoder knows."""


@dataclass(frozen=True)
class HeardWord:
    """One word with its times in seconds; `speaker` stays empty without diarization."""

    text: str
    start_s: float
    end_s: float
    speaker: str = ""


@dataclass(frozen=True)
class Utterance:
    """A stretch of one channel (from 1); it has at least one word."""

    channel: int
    words: tuple[HeardWord, ...]

    @property
    def end_s(self) -> float:
        return self.words[-1].end_s


@dataclass(frozen=True)
class Hearing:
    """What was heard in a file, in the order of the utterances' ends."""

    utterances: tuple[Utterance, ...]
    duration_s: float
    channels: int
    """How many channels were listened to, and so are billed."""


class Recognizer(Protocol):
    """Turns audio into words."""

    def hear(self, audio: bytes, *, all_channels: bool, diarize: bool) -> Hearing:
        """Recognise English. Without `all_channels` only the first one, as the real service. Raises `NotAudio`."""
        ...
