"""Real audio made in memory: a tone of a given length in the containers that recordings come in."""

from __future__ import annotations

import io
import math
import struct
from array import array
from collections.abc import Mapping
from functools import lru_cache

import av
from av.audio import AudioStream

_FRAME_SAMPLES = 1152


def tone(
    container: str,
    codec: str,
    *,
    seconds: float,
    channels: int = 1,
    rate: int = 8000,
    options: Mapping[str, str] | None = None,
) -> bytes:
    """A file of `container` with a 440 Hz tone."""
    layout = "stereo" if channels == 2 else "mono"
    out = io.BytesIO()
    with av.open(out, "w", format=container) as file:
        stream = file.add_stream(codec, rate=rate, layout=layout, options=dict(options or {}))
        assert isinstance(stream, AudioStream)
        resampler = av.AudioResampler(format=stream.codec_context.format, layout=layout, rate=rate)
        for start in range(0, int(seconds * rate), _FRAME_SAMPLES):
            count = min(_FRAME_SAMPLES, int(seconds * rate) - start)
            frame = av.AudioFrame(format="s16", layout=layout, samples=count)
            frame.sample_rate, frame.pts = rate, start
            frame.planes[0].update(_padded(_samples(start, count, channels, rate), frame.planes[0].buffer_size))
            for resampled in resampler.resample(frame):
                file.mux(stream.encode(resampled))
        file.mux(stream.encode(None))
    return out.getvalue()


def mp3(seconds: float, *, channels: int = 1) -> bytes:
    """What CallRail serves: MP3 at telephone band."""
    return tone("mp3", "libmp3lame", seconds=seconds, channels=channels)


def wav(seconds: float, *, channels: int = 1, rate: int = 8000) -> bytes:
    """16-bit PCM."""
    data = _samples(0, int(seconds * rate), channels, rate)
    return wav_header(len(data), channels=channels, rate=rate, bytes_per_sample=2) + data


def wav_header(data_bytes: int, *, channels: int, rate: int, bytes_per_sample: int, format_tag: int = 1) -> bytes:
    """A 44-byte RIFF header."""
    align = channels * bytes_per_sample
    form = struct.pack("<HHIIHH", format_tag, channels, rate, rate * align, align, bytes_per_sample * 8)
    riff_size = min(36 + data_bytes, 0xFFFFFFFF)
    return (
        b"RIFF" + struct.pack("<I", riff_size) + b"WAVEfmt \x10\0\0\0" + form + b"data" + struct.pack("<I", data_bytes)
    )


def _samples(start: int, count: int, channels: int, rate: int) -> bytes:
    second, size = _one_second(channels, rate), 2 * channels
    first = start % rate
    return (second * (-(-(first + count) // rate)))[first * size : (first + count) * size]


@lru_cache
def _one_second(channels: int, rate: int) -> bytes:
    """16-bit samples: 440 whole waves, so that seconds join without a click."""
    wave = (int(8000 * math.sin(2 * math.pi * 440 * index / rate)) for index in range(rate))
    return array("h", [value for value in wave for _ in range(channels)]).tobytes()


def _padded(data: bytes, size: int) -> bytes:
    return data + bytes(size - len(data))
