"""Moves a recording from CallRail into the audio bucket and measures it, in constant memory."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import BinaryIO, cast

from tinytag import TinyTag, TinyTagException

from schemas.calls import RecordingFacts
from schemas.tenant import Tenant
from shared import names
from shared.errors import PermanentFailure, PipelineError
from shared.ports import ObjectStore, Recordings, RecordingStream
from shared.retention import custom_time
from stages.download.audio import (
    HEAD_BYTES,
    KINDS,
    WAV,
    AudioKind,
    AudioLength,
    name_of_other,
    sniff_audio,
    wav_length,
)

_HASH_BLOCK_BYTES = 4 * 1024 * 1024
_WAV_HEAD_BYTES = 64 * 1024
_LARGEST_TAG_BYTES = 8 * 1024 * 1024
"""What a parser may read at once; an embedded picture is far smaller, a forged length far larger."""
_MOST_CHANNELS = 8
"""As many as Speech-to-Text takes; a telephone call has one or two."""
_MOST_READS = 300_000
"""What a parser may read altogether: it would search half a gigabyte of garbage for hours otherwise."""


@dataclass(frozen=True)
class Content:
    """What identifies some bytes."""

    size_bytes: int
    sha256: str


class _Measured:
    """Passes chunks on and keeps their hash and number."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._sha256 = hashlib.sha256()
        self._size_bytes = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self._sha256.update(chunk)
            self._size_bytes += len(chunk)
            yield chunk

    @property
    def content(self) -> Content:
        return Content(self._size_bytes, self._sha256.hexdigest())


@dataclass(frozen=True)
class InBucket:
    """A recording in the bucket; hash and size are those of this very download, None when it lay there before."""

    name: str
    kind: AudioKind
    content: Content | None = None


def find_stored(objects: ObjectStore, tenant_id: str, call_id: str) -> InBucket | None:
    """The recording that an earlier attempt left in the bucket."""
    possible = {names.recording_object(tenant_id, call_id, kind.extension): kind for kind in KINDS}
    stem = names.recording_object(tenant_id, call_id, "")
    return next((InBucket(name, possible[name]) for name in objects.list_names(stem) if name in possible), None)


def fetch_recording(
    recordings: Recordings, objects: ObjectStore, tenant: Tenant, *, call_id: str, recording_url: str, now: datetime
) -> InBucket:
    """Stream the recording into `recordings/<tenant>/<call>.<ext>`; an object that is already there is kept.

    Raises `NotReady` when the recording is not published yet, `PermanentFailure` when it is not audio, and the
    gateways' other errors. Nothing is stored unless the whole recording arrived.
    """
    with recordings.open(tenant, call_id=call_id, recording_url=recording_url) as stream:
        kind, chunks = _recognised(stream)
        name = names.recording_object(tenant.tenant_id, call_id, kind.extension)
        measured = _Measured(chunks)
        until = custom_time(now, audio_days=tenant.config.privacy.audio_days)
        stored = objects.create(name, iter(measured), content_type=kind.content_type, custom_time=until)
    return InBucket(name, kind, measured.content if stored else None)


def facts_of(objects: ObjectStore, found: InBucket) -> RecordingFacts:
    """Measure a stored recording. Raises `PermanentFailure` when it cannot be read as what it begins like."""
    content = found.content or _content_of(objects, found.name)
    with closing(objects.open(found.name)) as reader:
        length = _length(reader, found.kind, size_bytes=content.size_bytes)
    if length is None or not 1 <= length.channels <= _MOST_CHANNELS:
        what = f"{found.name} begins like {found.kind.extension} but cannot be read as such"
        raise PermanentFailure("recording_unreadable", what)
    return RecordingFacts(
        object_name=found.name,
        content_type=found.kind.content_type,
        size_bytes=content.size_bytes,
        sha256=content.sha256,
        duration_s=round(length.duration_s, 3),
        channels=length.channels,
    )


def _content_of(objects: ObjectStore, name: str) -> Content:
    measured = _Measured(_blocks(objects, name))
    for _ in measured:
        pass
    return measured.content


def _recognised(stream: RecordingStream) -> tuple[AudioKind, Iterator[bytes]]:
    """The kind of audio, and the complete stream again."""
    head: list[bytes] = []
    for chunk in stream.chunks:
        head.append(chunk)
        if sum(map(len, head)) >= HEAD_BYTES:
            break
    start = b"".join(head)
    kind = sniff_audio(start)
    if kind is None:
        raise PermanentFailure("recording_not_audio", f"the recording is {name_of_other(start)}, not audio")
    return kind, chain(head, stream.chunks)


def _blocks(objects: ObjectStore, name: str) -> Iterator[bytes]:
    with closing(objects.open(name)) as reader:
        while block := reader.read(_HASH_BLOCK_BYTES):
            yield block


def _length(reader: BinaryIO, kind: AudioKind, *, size_bytes: int) -> AudioLength | None:
    if kind == WAV:
        return wav_length(reader.read(_WAV_HEAD_BYTES), size_bytes=size_bytes)
    try:
        tag = TinyTag.get(file_obj=cast(BinaryIO, _BoundedReads(reader)), tags=False)
    except TinyTagException as error:
        # The parser wraps whatever its file raises; a failing bucket must not make a file unreadable.
        if isinstance(error.__cause__, PipelineError):
            raise error.__cause__ from None
        return None
    if tag.channels is None or tag.duration is None:
        return None
    return AudioLength(tag.duration, tag.channels)


class _BoundedReads(io.BufferedIOBase):
    """A reader for a parser of untrusted files: refuses huge reads and endless searching."""

    def __init__(self, reader: BinaryIO) -> None:
        self._reader = reader
        self._reads_left = _MOST_READS

    def read(self, size: int | None = -1, /) -> bytes:
        self._reads_left -= 1
        if size is None or not 0 <= size <= _LARGEST_TAG_BYTES or self._reads_left < 0:
            raise ValueError("this file asks for too much to be read")
        return self._reader.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return self._reader.seek(offset, whence)

    def tell(self) -> int:
        return self._reader.tell()

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True
