"""The audio bucket on Cloud Storage: create once, read by ranges, constant memory either way."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, BinaryIO

from shared.errors import NotReady, PermanentFailure, PipelineError, TransientFailure
from shared.ports import StoredObject

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

CHUNK_BYTES = 4 * 1024 * 1024
"""What one upload request carries, and so the memory an upload needs (a few times over). Most recordings fit into
one; a multiple of 256 KiB, as resumable uploads demand."""
READ_AHEAD_BYTES = 512 * 1024
"""What a reader fetches when asked for less."""
LISTED_NAMES = 1000
TIMEOUT_S = (5.0, 60.0)
"""Connecting, and waiting for one answer."""
MOST_CONNECTIONS = 80
"""As many threads as the busiest service has (infra/pipeline.json)."""
RETRY_S = 45.0
"""How long one request is repeated on throttling, 5xx and lost connections; Google's own retry does it."""


class GcsObjectStore:
    """`ObjectStore` on google-cloud-storage. The client is made at first use, so importing this costs nothing.

    `endpoint` is the base URL of a storage emulator; with it no credentials are looked for. Empty means Google.
    `timeout_s` and `retry_s` default to `TIMEOUT_S` and `RETRY_S`.
    """

    def __init__(
        self,
        bucket: str,
        *,
        project_id: str,
        endpoint: str = "",
        timeout_s: tuple[float, float] | None = None,
        retry_s: float | None = None,
    ) -> None:
        self.bucket = bucket
        self._project_id = project_id
        self._endpoint = endpoint
        self._timeout_s = timeout_s or TIMEOUT_S
        self._retry_s = RETRY_S if retry_s is None else retry_s

    def connect(self) -> None:
        """Load the client now instead of at the first use."""
        _ = self.limits, self._blobs

    def create(
        self, name: str, chunks: Iterator[bytes], *, content_type: str, custom_time: datetime | None = None
    ) -> StoredObject | None:
        """Stream `chunks` into a new object (`if_generation_match=0`); None when it already exists.

        The bucket's life cycle deletes it a day after `custom_time`.

        An error raised by `chunks` leaves an unfinished upload behind, which never becomes an object; Cloud Storage
        forgets it after a week. Raises `TransientFailure`, `PermanentFailure` and whatever `chunks` raises.
        """
        blob = self._blobs.blob(name, chunk_size=CHUNK_BYTES)
        if custom_time is not None:
            blob.custom_time = custom_time
        source = _ChunkReader(chunks)
        size = source.size_if_within(CHUNK_BYTES)
        with translated("write", name):
            # The condition below is what protects the object. This look spares a redelivery a long upload that
            # would be refused at its end.
            if size is None and blob.exists(**self.limits):
                return None
            return self._upload(blob, source, size=size, content_type=content_type)

    def _upload(self, blob: Any, source: _ChunkReader, *, size: int | None, content_type: str) -> StoredObject | None:
        """One request when the size is known to be small, a resumable upload otherwise."""
        from google.api_core.exceptions import PreconditionFailed

        try:
            blob.upload_from_file(
                source, size=size, content_type=content_type, if_generation_match=0, checksum="crc32c", **self.limits
            )
        except PreconditionFailed:
            return None
        return StoredObject(name=blob.name, size_bytes=blob.size, generation=blob.generation)

    def open(self, name: str) -> BinaryIO:
        """A seekable reader that fetches ranges on demand, all of one generation. Raises `NotReady` when missing."""
        blob = self._blobs.blob(name)
        with translated("read", name):
            blob.reload(**self.limits)
        return io.BufferedReader(_RangeReader(blob, limits=self.limits), buffer_size=READ_AHEAD_BYTES)

    def read(self, name: str, *, max_bytes: int) -> bytes:
        """The whole object. Raises `NotReady` when missing, `PermanentFailure` when larger than `max_bytes`."""
        with translated("read", name):
            # One byte more than allowed tells a full object from one that is too large.
            data = _range(self._blobs.blob(name), 0, max_bytes + 1, limits=self.limits)
        if len(data) > max_bytes:
            raise PermanentFailure("object_too_large", f"{name} has more than {max_bytes} bytes")
        return data

    def delete(self, name: str) -> None:
        """Remove the object; one that is gone already is fine."""
        from google.api_core.exceptions import NotFound

        with translated("delete", name), contextlib.suppress(NotFound):
            self.client.bucket(self.bucket).blob(name).delete(**self.limits)

    def list_names(self, prefix: str) -> list[str]:
        """Names under `prefix`, sorted, at most 1,000."""
        with translated("list", prefix):
            found = self.client.list_blobs(
                self.bucket, prefix=prefix, max_results=LISTED_NAMES, fields="items(name),nextPageToken", **self.limits
            )
            return sorted(blob.name for blob in found)

    def uri(self, name: str) -> str:
        return f"gs://{self.bucket}/{name}"

    @cached_property
    def client(self) -> Any:
        from google.cloud.storage import Client

        if not self._endpoint:
            return _with_many_connections(Client(project=self._project_id))
        from google.auth.credentials import AnonymousCredentials

        options = {"api_endpoint": self._endpoint}
        return _with_many_connections(
            Client(project=self._project_id, credentials=AnonymousCredentials(), client_options=options)
        )

    @cached_property
    def _blobs(self) -> Any:
        return self.client.bucket(self.bucket)

    @cached_property
    def limits(self) -> dict[str, Any]:
        """Time-out and retry of every request; all of ours are safe to repeat."""
        from google.cloud.storage.retry import DEFAULT_RETRY

        retry = DEFAULT_RETRY.with_delay(initial=0.2, maximum=5.0, multiplier=2.0).with_timeout(self._retry_s)
        return {"timeout": self._timeout_s, "retry": retry}


def _with_many_connections(client: Any) -> Any:
    """Keep a connection for every thread; the default of ten makes the others connect anew for each request."""
    from requests.adapters import HTTPAdapter

    for scheme in ("http://", "https://"):
        client._http.mount(scheme, HTTPAdapter(pool_maxsize=MOST_CONNECTIONS))
    return client


class _ChunkReader(io.RawIOBase):
    """What an upload reads from: hands out exactly as many bytes as asked for until the chunks end."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._held = bytearray()
        self._given = 0

    def size_if_within(self, limit: int) -> int | None:
        """The number of bytes when all of them fit into `limit`, otherwise None."""
        self._fill(limit + 1)
        return len(self._held) if len(self._held) <= limit else None

    def read(self, size: int = -1, /) -> bytes:
        wanted = max(size, 0)  # uploads always say how much; nobody may ask for "everything"
        self._fill(wanted)
        data = bytes(self._held[:wanted])
        del self._held[:wanted]
        self._given += len(data)
        return data

    def tell(self) -> int:
        return self._given

    def readable(self) -> bool:
        return True

    def _fill(self, wanted: int) -> None:
        while len(self._held) < wanted:
            chunk = next(self._chunks, None)
            if chunk is None:
                return
            self._held += chunk


class _RangeReader(io.RawIOBase):
    """One generation of an object as a seekable raw file; each read is one ranged request."""

    def __init__(self, blob: Any, *, limits: dict[str, Any]) -> None:
        self._blob = blob
        self._limits = {**limits, "if_generation_match": blob.generation}
        self._size: int = blob.size
        self._position = 0

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        count = min(len(view), self._size - self._position)
        if count <= 0:
            return 0
        with translated("read", self._blob.name):
            data = _range(self._blob, self._position, count, limits=self._limits)
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise OSError("seek before the start of the object")
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


def _range(blob: Any, start: int, count: int, *, limits: dict[str, Any]) -> bytes:
    """At most `count` bytes from `start`, as stored; nothing when the object ends before it."""
    from google.api_core.exceptions import RequestRangeNotSatisfiable

    try:
        # No checksum: the server knows only that of the whole object.
        data: bytes = blob.download_as_bytes(
            start=start, end=start + count - 1, raw_download=True, checksum=None, **limits
        )
    except RequestRangeNotSatisfiable:
        return b""
    return data


@contextmanager
def translated(action: str, name: str) -> Iterator[None]:
    """Google's errors as ours; whatever else is raised inside passes as it is."""
    import requests
    from google.api_core.exceptions import GoogleAPICallError, GoogleAPIError, RetryError
    from google.auth.exceptions import GoogleAuthError
    from google.cloud.storage.exceptions import DataCorruption

    try:
        yield
    except GoogleAPICallError as error:
        raise _from_status(int(error.code or 0), action, name) from error
    except RetryError as error:
        # Google's retry gave up; an answer it kept getting means a busy store, no answer an unreachable one.
        code = "storage_unreachable" if isinstance(error.cause, requests.RequestException) else "storage_unavailable"
        raise TransientFailure(code, f"could not {action} {name}: {type(error.cause).__name__}") from error
    except (GoogleAPIError, GoogleAuthError, DataCorruption, requests.RequestException) as error:
        raise TransientFailure("storage_unreachable", f"could not {action} {name}: {type(error).__name__}") from error


def _from_status(status: int, action: str, name: str) -> PipelineError:
    what = f"could not {action} {name}: status {status}"
    if status in {404, 412} and action == "read":  # 412: replaced since it was opened
        return NotReady("object_missing", what)
    if status in {401, 403, 404}:
        # Ours to mend, not the tenant's, and it mends itself while a new grant spreads: the message has to survive.
        return TransientFailure(
            "storage_refused", what, fix="check that the audio bucket exists and the service account may use it"
        )
    if status in {408, 429} or status >= 500:
        return TransientFailure("storage_unavailable", what)
    return PermanentFailure("storage_rejected", what)
