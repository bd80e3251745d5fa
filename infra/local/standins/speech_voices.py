"""Who speaks, on one channel: phrases are told apart by the pitch of the voice.

Plain on purpose: the median fundamental frequency of each phrase, then two groups. It separates a low voice from a high
one and takes two voices of the same pitch for one speaker; the real service does better.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

TimedWord = tuple[str, float, float]
"""Text, start and end in seconds."""

PHRASE_PAUSE_S = 0.35
MIN_DISTANCE_OCTAVES = 0.2
"""Closer than this, two groups of phrases are one voice that goes up and down."""
SHORTEST_PHRASE_S = 0.5
"""What is shorter has no pitch of its own: a last "Goodbye." is often half an octave below the voice."""

_LOWEST_HZ, _HIGHEST_HZ = 70.0, 330.0
_FRAME_S, _HOP_S = 0.04, 0.02
_VOICED = 0.45
"""Height of the autocorrelation's peak from which a frame counts as voiced."""


def label_speakers(words: Sequence[TimedWord], signal: NDArray[np.float32], rate_hz: int) -> list[str]:
    """A label for each word: `1` for who speaks first, `2` for the other voice if there is one."""
    if not words:
        return []
    phrases = _phrases(words)
    pitches = [_pitch_octaves(signal, rate_hz, start_s=first[1], end_s=last[2]) for first, last in _ends(phrases)]
    groups = _two_groups(pitches)
    names = {groups[0]: "1", 1 - groups[0]: "2"}
    return [names[group] for group, phrase in zip(groups, phrases, strict=True) for _ in phrase]


def _phrases(words: Sequence[TimedWord]) -> list[list[TimedWord]]:
    """Speakers change between sentences or after a pause."""
    phrases = [[words[0]]]
    for before, word in pairwise(words):
        if word[1] - before[2] >= PHRASE_PAUSE_S or before[0][-1] in ".?!":
            phrases.append([])
        phrases[-1].append(word)
    return phrases


def _ends(phrases: Sequence[Sequence[TimedWord]]) -> list[tuple[TimedWord, TimedWord]]:
    return [(phrase[0], phrase[-1]) for phrase in phrases]


def _pitch_octaves(signal: NDArray[np.float32], rate_hz: int, *, start_s: float, end_s: float) -> float:
    """The phrase's median pitch as log2(Hz), NaN when it is short or too little of it is voiced."""
    if end_s - start_s < SHORTEST_PHRASE_S:
        return float("nan")
    frame, hop = int(_FRAME_S * rate_hz), int(_HOP_S * rate_hz)
    piece = signal[int(start_s * rate_hz) : int(end_s * rate_hz)]
    if len(piece) < frame:
        return float("nan")
    frames = np.lib.stride_tricks.sliding_window_view(piece, frame)[::hop] * np.hanning(frame)
    spectrum = np.fft.rfft(frames, n=2 * frame)
    correlation = np.fft.irfft(np.abs(spectrum) ** 2)[:, :frame]
    shortest, longest = int(rate_hz / _HIGHEST_HZ), int(rate_hz / _LOWEST_HZ)
    window = correlation[:, shortest:longest]
    lags = window.argmax(axis=1) + shortest
    voiced = window.max(axis=1) > _VOICED * correlation[:, 0]
    loud = correlation[:, 0] > 0.1 * np.median(correlation[:, 0])
    pitches = np.log2(rate_hz / lags[voiced & loud])
    return float(np.median(pitches)) if len(pitches) >= 3 else float("nan")


def _two_groups(pitches: Sequence[float]) -> list[int]:
    """0 or 1 for each phrase: 1-D k-means. A phrase without a pitch belongs to who spoke before it."""
    known = np.array([pitch for pitch in pitches if not np.isnan(pitch)])
    if len(known) < 2:
        return [0] * len(pitches)
    low, high = float(known.min()), float(known.max())
    for _ in range(20):
        is_high = np.abs(known - high) < np.abs(known - low)
        if not is_high.any():
            break
        low, high = float(known[~is_high].mean()), float(known[is_high].mean())
    if high - low < MIN_DISTANCE_OCTAVES:
        return [0] * len(pitches)
    groups: list[int] = []
    for pitch in pitches:
        previous = groups[-1] if groups else 0
        groups.append(previous if np.isnan(pitch) else int(abs(pitch - high) < abs(pitch - low)))
    return groups
