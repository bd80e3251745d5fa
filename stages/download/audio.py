"""What kind of audio some bytes are, from the bytes themselves: content types of recording hosts cannot be trusted."""

from __future__ import annotations

import struct
from dataclasses import dataclass

HEAD_BYTES = 512
"""Enough to recognise every kind below."""

_LAYER_2_OR_3 = frozenset({0b01, 0b10})
_WAV_HEADER = struct.Struct("<4sI4s")
_WAV_CHUNK = struct.Struct("<4sI")
_WAV_FORMAT = struct.Struct("<HHIIHH")


@dataclass(frozen=True)
class AudioKind:
    """A container that Speech-to-Text reads."""

    extension: str
    content_type: str


MP3 = AudioKind("mp3", "audio/mpeg")
WAV = AudioKind("wav", "audio/wav")
OGG = AudioKind("ogg", "audio/ogg")
FLAC = AudioKind("flac", "audio/flac")
M4A = AudioKind("m4a", "audio/mp4")
KINDS = (MP3, WAV, OGG, FLAC, M4A)


def sniff_audio(head: bytes) -> AudioKind | None:
    """The kind of audio that starts with `head`, or None for anything else (pages, archives, video, other audio)."""
    if head.startswith(b"ID3") or _is_mpeg_frame(head):
        return MP3
    if head.startswith(b"RIFF") and head[8:12] == b"WAVE":
        return WAV
    if head.startswith(b"OggS"):
        return OGG
    if head.startswith(b"fLaC"):
        return FLAC
    # Brands of video files (isom, mp42) hold plain audio as well; the track list decides later.
    return M4A if head[4:8] == b"ftyp" else None


def name_of_other(head: bytes) -> str:
    """A word for what is not audio, for people; never a piece of the content."""
    start = head.lstrip()[:64].lower()
    if start.startswith(b"<"):
        return "a web page or XML"
    if start.startswith((b"{", b"[")):
        return "JSON"
    if head.startswith(b"PK"):
        return "a zip archive"
    if head.startswith(b"\x1f\x8b"):
        return "gzip data"
    return "an unknown format" if head else "nothing"


def _is_mpeg_frame(head: bytes) -> bool:
    """A valid MPEG audio frame header of layer II or III; the sync bits alone also open AAC and UTF-16 text."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return False
    version, layer = head[1] >> 3 & 0b11, head[1] >> 1 & 0b11
    bit_rate, sample_rate = head[2] >> 4, head[2] >> 2 & 0b11
    return version != 0b01 and layer in _LAYER_2_OR_3 and 0 < bit_rate < 0b1111 and sample_rate != 0b11


@dataclass(frozen=True)
class AudioLength:
    """How long the audio is and how many channels it has."""

    duration_s: float
    channels: int


def wav_length(head: bytes, *, size_bytes: int) -> AudioLength | None:
    """Length of a WAV file of `size_bytes` from its first bytes; None when the header makes no sense.

    Read here rather than by a library, because telephone WAVs are often G.711 without a sample count, and streamed
    ones announce a data size that was never filled in: the bytes that are there decide.
    """
    at, channels, byte_rate = _WAV_HEADER.size, 0, 0
    while at + _WAV_CHUNK.size <= len(head):
        name, announced = _WAV_CHUNK.unpack_from(head, at)
        at += _WAV_CHUNK.size
        if name == b"fmt " and at + _WAV_FORMAT.size <= len(head):
            _, channels, _, byte_rate, _, _ = _WAV_FORMAT.unpack_from(head, at)
        if name == b"data":
            there = max(size_bytes - at, 0)
            present = min(announced, there) if announced else there
            return AudioLength(present / byte_rate, channels) if byte_rate and channels else None
        at += announced + announced % 2
    return None
