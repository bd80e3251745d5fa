"""Voices on one channel, told apart by pitch: made of harmonics here, where the pitch is known."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from infra.local.standins.speech_voices import TimedWord, label_speakers

_RATE_HZ = 16_000
_PAUSE_S = 0.5


def spoken(*phrases: tuple[float, float]) -> tuple[list[TimedWord], NDArray[np.float32]]:
    """One word for each phrase of so many Hz and seconds, with pauses between."""
    words: list[TimedWord] = []
    pieces: list[NDArray[np.float32]] = []
    now = 0.0
    for pitch_hz, seconds in phrases:
        times = np.arange(int(seconds * _RATE_HZ)) / _RATE_HZ
        voice = sum(np.sin(2 * np.pi * pitch_hz * harmonic * times) / harmonic for harmonic in range(1, 6))
        pieces += [np.asarray(voice, dtype=np.float32), np.zeros(int(_PAUSE_S * _RATE_HZ), dtype=np.float32)]
        words.append(("word", now, now + seconds))
        now += seconds + _PAUSE_S
    return words, np.concatenate(pieces)


def test_a_low_and_a_high_voice_are_two_speakers() -> None:
    words, signal = spoken((110, 1.5), (190, 1.2), (112, 0.8), (185, 2.0))
    assert label_speakers(words, signal, _RATE_HZ) == ["1", "2", "1", "2"]


def test_a_voice_that_goes_up_and_down_is_one_speaker() -> None:
    words, signal = spoken((110, 1.5), (120, 1.2), (105, 0.8))
    assert label_speakers(words, signal, _RATE_HZ) == ["1", "1", "1"]


def test_a_last_word_in_a_creaking_voice_is_no_second_speaker() -> None:
    words, signal = spoken((110, 1.5), (115, 2.0), (80, 0.22))
    assert label_speakers(words, signal, _RATE_HZ) == ["1", "1", "1"]
