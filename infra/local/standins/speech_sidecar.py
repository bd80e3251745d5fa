"""Transcripts given instead of recognised: for fast tests, for load, and where the model is not installed.

A sidecar is a JSON object beside the audio (`<audio>.json`) or one registered over the admin port:
`{"duration_s": 12.5, "turns": [{"channel": 1, "start_s": 0, "end_s": 2, "text": "..."}]}`.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase

from pydantic import BaseModel, ConfigDict, Field

from infra.local.standins.speech_hearing import HeardWord, Hearing, Utterance


class SidecarTurn(BaseModel):
    """One stretch of speech; `speaker` is the label that diarization finds on one channel."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    channel: int = Field(default=1, ge=1, le=8)
    start_s: float = Field(ge=0)
    end_s: float = Field(ge=0)
    text: str
    speaker: str = "1"


class Sidecar(BaseModel):
    """What is said in one file. Without `duration_s` the last turn ends it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    turns: tuple[SidecarTurn, ...] = ()
    duration_s: float | None = Field(default=None, ge=0)

    def hearing(self, *, all_channels: bool, diarize: bool) -> Hearing:
        """What the recognizer would have heard: only the first channel unless told otherwise."""
        heard = [turn for turn in self.turns if (all_channels or turn.channel == 1) and turn.text.split()]
        utterances = sorted((_utterance(turn, diarize=diarize) for turn in heard), key=lambda one: one.end_s)
        channels = max((turn.channel for turn in self.turns), default=1) if all_channels else 1
        last_end_s = max((turn.end_s for turn in self.turns), default=0.0)
        duration_s = last_end_s if self.duration_s is None else self.duration_s
        return Hearing(tuple(utterances), duration_s=duration_s, channels=channels)


def _utterance(turn: SidecarTurn, *, diarize: bool) -> Utterance:
    """Words spread evenly over the turn, to the millisecond."""
    texts = turn.text.split()
    step = (turn.end_s - turn.start_s) / len(texts)
    words = tuple(
        HeardWord(
            text,
            start_s=_milliseconds(turn.start_s + index * step),
            end_s=_milliseconds(turn.start_s + (index + 1) * step),
            speaker=turn.speaker if diarize else "",
        )
        for index, text in enumerate(texts)
    )
    return Utterance(turn.channel, words)


def _milliseconds(seconds: float) -> float:
    return math.floor(seconds * 1000 + 0.5) / 1000


class RegisteredSidecars:
    """Sidecars by shell pattern over the audio's URI; the one registered last wins."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, Sidecar] = {}

    def add(self, pattern: str, sidecar: Sidecar) -> None:
        with self._lock:
            self._known.pop(pattern, None)
            self._known[pattern] = sidecar

    def find(self, audio_uri: str) -> Sidecar | None:
        with self._lock:
            for pattern, sidecar in reversed(self._known.items()):
                if fnmatchcase(audio_uri, pattern):
                    return sidecar
        return None

    def clear(self) -> None:
        with self._lock:
            self._known.clear()

    @contextmanager
    def standing_still(self) -> Iterator[dict[str, Sidecar]]:
        """See keeping.py."""
        with self._lock:
            yield self._known

    def take_up(self, kept: dict[str, Sidecar]) -> None:
        with self._lock:
            self._known = kept
