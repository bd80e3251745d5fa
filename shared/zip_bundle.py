"""A bundle as one ZIP file that only its owner may read; it gets its name when it is whole."""

from __future__ import annotations

import hashlib
import os
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from shared.errors import ConfigurationError
from shared.tenant_export import BundleFile


class _Entry:
    """Counts what goes into one file of the archive."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()
        self.rows = 0
        self.size = 0

    def row(self, data: bytes) -> None:
        self.rows += 1
        self.block(data)

    def block(self, data: bytes) -> None:
        self._digest.update(data)
        self.size += len(data)
        self._stream.write(data)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


class ZipBundle:
    """Implements `shared.tenant_export.Bundle`."""

    def __init__(self, archive: zipfile.ZipFile, folder: Path) -> None:
        self._archive = archive
        self._folder = folder
        self._files: list[BundleFile] = []

    @contextmanager
    def file(self, name: str) -> Iterator[_Entry]:
        with self._archive.open(name, "w", force_zip64=True) as stream:
            entry = _Entry(stream)
            yield entry
        self._files.append(BundleFile(name, entry.rows, entry.size, entry.sha256))

    def files(self) -> tuple[BundleFile, ...]:
        return tuple(self._files)

    def aside(self) -> IO[bytes]:
        return tempfile.TemporaryFile(dir=self._folder)


@contextmanager
def zip_bundle(path: Path) -> Iterator[ZipBundle]:
    """A new archive at `path`, which must not exist. Raises `ConfigurationError`; a broken run leaves nothing."""
    if path.exists():
        raise _cannot_write(path, "it exists")
    part = path.with_name(f"{path.name}.part")
    try:
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise _cannot_write(part, str(error.strerror)) from error
    try:
        with (
            os.fdopen(descriptor, "w+b") as stream,
            zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive,
        ):
            yield ZipBundle(archive, path.parent)
        part.rename(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _cannot_write(path: Path, reason: str) -> ConfigurationError:
    return ConfigurationError("unreadable_file", f"cannot write {path}: {reason}", fix="--out NEWFILE.zip")
