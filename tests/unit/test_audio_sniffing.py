"""Audio is known by its bytes, and a WAV's length by the bytes that are really there."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.download.audio import FLAC, M4A, MP3, OGG, WAV, AudioKind, name_of_other, sniff_audio, wav_length
from tests.support.audio import mp3, tone, wav, wav_header

G711_ULAW = 7


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (mp3(0.3), MP3),
        (b"\xff\xe3\x18\xc4" + bytes(100), MP3),  # a bare MPEG 2.5 frame, as at 8 kHz, without a tag before it
        (b"\xff\xfb\x90\x64" + bytes(100), MP3),
        (wav(0.1), WAV),
        (tone("ogg", "libopus", seconds=0.3, rate=48000), OGG),
        (tone("flac", "flac", seconds=0.3), FLAC),
        (tone("ipod", "aac", seconds=0.3), M4A),
    ],
)
def test_audio_is_recognised(data: bytes, kind: AudioKind) -> None:
    assert sniff_audio(data) == kind


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"<!DOCTYPE html><html>", "a web page or XML"),
        (b"\n  <Error><Code>AccessDenied</Code></Error>", "a web page or XML"),
        (b'{"url": "x"}', "JSON"),
        (b"[]", "JSON"),
        (b"PK\x03\x04rest", "a zip archive"),
        (b"\x1f\x8b\x08rest", "gzip data"),
        (b"\xff\xf1\x50\x80", "an unknown format"),  # AAC in ADTS frames shares MP3's sync bits
        ("\ufeff<html>".encode("utf-16-le"), "an unknown format"),
        ('\ufeff{"a": 1}'.encode("utf-16-le"), "an unknown format"),
        (b"\xff\xff\xff\xff", "an unknown format"),
        (b"RIFF\0\0\0\0AVI LIST", "an unknown format"),
        (b"", "nothing"),
    ],
)
def test_anything_else_is_refused_and_named_without_its_content(data: bytes, word: str) -> None:
    assert sniff_audio(data) is None
    assert name_of_other(data) == word


@given(st.binary(max_size=600))
def test_no_bytes_upset_the_sniffer(data: bytes) -> None:
    kind = sniff_audio(data)
    assert kind is None or kind.content_type.startswith("audio/")
    length = wav_length(data, size_bytes=len(data))
    assert length is None or (length.duration_s >= 0 and length.channels > 0)


def length_of(data: bytes, *, size_bytes: int | None = None) -> tuple[float, int] | None:
    length = wav_length(data[:65536], size_bytes=size_bytes or len(data))
    return (length.duration_s, length.channels) if length else None


def test_wav_length_is_exact() -> None:
    assert length_of(wav(2.5)) == (2.5, 1)
    assert length_of(wav(2.5, channels=2, rate=16000)) == (2.5, 2)


def test_telephone_wav_without_a_sample_count_has_its_length() -> None:
    data = wav_header(16000, channels=2, rate=8000, bytes_per_sample=1, format_tag=G711_ULAW) + bytes(16000)
    assert length_of(data) == (1.0, 2)


@pytest.mark.parametrize("announced", [0, 0xFFFFFFFF, 10**9])
def test_a_streamed_wav_is_as_long_as_its_bytes_not_as_its_header_says(announced: int) -> None:
    data = wav_header(announced, channels=1, rate=8000, bytes_per_sample=2) + bytes(48000)
    assert length_of(data) == (3.0, 1)


def test_chunks_before_the_audio_are_skipped() -> None:
    plain = wav(1.0)
    data = plain[:12] + b"LIST\x05\0\0\0INFO!\0" + plain[12:]
    assert length_of(data) == (1.0, 1)


def test_a_wav_without_format_or_audio_has_no_length() -> None:
    assert length_of(wav(1.0)[:20]) is None
    assert length_of(b"RIFF\0\0\0\0WAVEdata\x10\0\0\0" + bytes(16)) is None


def test_the_test_audio_itself_is_real() -> None:
    import wave

    with wave.open(io.BytesIO(wav(0.5, channels=2))) as file:
        assert (file.getnframes(), file.getnchannels()) == (4000, 2)
