"""How the Speech stand-in reads audio and writes transcripts: Cloud Storage's JSON API over plain HTTP."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote

import httpx

TIMEOUT_S = 30.0


class ObjectMissing(Exception):
    """The store answered that there is no such object."""


class StorageUnreachable(Exception):
    """The store did not answer, or not as it should."""


class ObjectAddress(NamedTuple):
    """The two parts of `gs://bucket/name`."""

    bucket: str
    name: str


def address_of(uri: str) -> ObjectAddress:
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    return ObjectAddress(bucket, name)


class AudioStorage:
    """One Cloud Storage (an emulator's base URL). Safe to share between threads."""

    def __init__(self, base_url: str) -> None:
        self._client = httpx.Client(base_url=base_url, timeout=TIMEOUT_S, trust_env=False)

    def exists(self, uri: str) -> bool:
        """Whether the object is there, without reading it."""
        try:
            self._get(uri, {})
        except ObjectMissing:
            return False
        return True

    def read(self, uri: str) -> bytes:
        """The object's bytes. Raises `ObjectMissing`, `StorageUnreachable`."""
        return self._get(uri, {"alt": "media"})

    def write(self, uri: str, data: bytes) -> None:
        """Create or replace the object. Raises `ObjectMissing` for an unknown bucket, `StorageUnreachable`."""
        target = address_of(uri)
        self._send(
            "POST",
            f"/upload/storage/v1/b/{quote(target.bucket, safe='')}/o",
            params={"uploadType": "media", "name": target.name},
            content=data,
        )

    def close(self) -> None:
        self._client.close()

    def _get(self, uri: str, params: dict[str, str]) -> bytes:
        source = address_of(uri)
        path = f"/storage/v1/b/{quote(source.bucket, safe='')}/o/{quote(source.name, safe='')}"
        return self._send("GET", path, params=params).content

    def _send(self, method: str, path: str, *, params: dict[str, str], content: bytes | None = None) -> httpx.Response:
        headers = {"Content-Type": "application/json"} if content is not None else {}
        try:
            answer = self._client.request(method, path, params=params, content=content, headers=headers)
        except httpx.TransportError as error:
            raise StorageUnreachable(type(error).__name__) from error
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise ObjectMissing(path)
        if not answer.is_success:
            raise StorageUnreachable(f"status {answer.status_code}")
        return answer
