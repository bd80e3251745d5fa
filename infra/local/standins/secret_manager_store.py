"""What the Secret Manager stand-in holds: versions by secret path, in memory and, when given a file, there too."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc


@dataclass
class Version:
    data: bytes = field(repr=False)
    state: str = "ENABLED"


class Refused(Exception):
    """What the service answers instead; carried to the gRPC edge."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class SecretStore:
    """Versions by secret path. Every change is written to the file before it is answered."""

    def __init__(self, file: Path | None = None) -> None:
        self._lock = threading.Lock()
        self._file = file
        self._secrets: dict[str, list[Version]] = {}
        self._accesses: Counter[str] = Counter()
        if file is not None and file.exists():
            self._secrets = _read_file(file)

    def create(self, path: str) -> None:
        with self._lock:
            if path in self._secrets:
                raise Refused(grpc.StatusCode.ALREADY_EXISTS, f"Secret [{path}] already exists.")
            self._secrets[path] = []
            self._save()

    def add(self, path: str, data: bytes) -> int:
        with self._lock:
            versions = self._versions(path)
            versions.append(Version(data))
            self._save()
            return len(versions)

    def access(self, path: str, version: str) -> tuple[int, bytes]:
        """`latest` is the newest version, enabled or not, as at Google's."""
        with self._lock:
            self._accesses[path] += 1
            number, found = self._find(path, version)
            if found.state != "ENABLED":
                message = f"Secret Version [{path}/versions/{number}] is in {found.state} state."
                raise Refused(grpc.StatusCode.FAILED_PRECONDITION, message)
            return number, found.data

    def disable(self, path: str, version: str) -> tuple[int, Version]:
        with self._lock:
            number, found = self._find(path, version)
            found.state = "DISABLED"
            self._save()
            return number, found

    def versions(self, path: str) -> list[Version]:
        with self._lock:
            return list(self._versions(path))

    def reset(self) -> None:
        with self._lock:
            self._secrets.clear()
            self._accesses.clear()
            self._save()

    def document(self) -> dict[str, Any]:
        """Names, states and how often each was asked for; no values."""
        with self._lock:
            held = {
                path: {"versions": [version.state for version in versions], "accesses": self._accesses[path]}
                for path, versions in self._secrets.items()
            }
            return {"secrets": held, "accesses": self._accesses.total()}

    @contextmanager
    def standing_still(self) -> Iterator[dict[str, Any]]:
        """See keeping.py."""
        with self._lock:
            yield {"secrets": self._secrets, "accesses": self._accesses}

    def take_up(self, kept: Mapping[str, Any]) -> None:
        with self._lock:
            self._secrets, self._accesses = kept["secrets"], kept["accesses"]

    def _versions(self, path: str) -> list[Version]:
        if path not in self._secrets:
            raise Refused(grpc.StatusCode.NOT_FOUND, f"Secret [{path}] not found.")
        return self._secrets[path]

    def _find(self, path: str, version: str) -> tuple[int, Version]:
        versions = self._versions(path)
        number = len(versions) if version == "latest" else int(version)
        if not 1 <= number <= len(versions):
            raise Refused(grpc.StatusCode.NOT_FOUND, f"Secret Version [{path}/versions/{version}] not found.")
        return number, versions[number - 1]

    def _save(self) -> None:
        if self._file is not None:
            _write_file(self._file, self._secrets)


def _read_file(file: Path) -> dict[str, list[Version]]:
    document = json.loads(file.read_text(encoding="utf-8"))
    return {
        f"projects/{project}/secrets/{secret}": [
            Version(item["value"].encode("utf-8", "surrogateescape"), item.get("state", "ENABLED")) for item in versions
        ]
        for project, secrets in document.items()
        for secret, versions in secrets.items()
    }


def _write_file(file: Path, held: dict[str, list[Version]]) -> None:
    """Replace the file in one step, readable by its owner only."""
    document: dict[str, dict[str, list[dict[str, str]]]] = {}
    for path, versions in held.items():
        _, project, _, secret = path.split("/")
        document.setdefault(project, {})[secret] = [
            {"value": version.data.decode("utf-8", "surrogateescape"), "state": version.state} for version in versions
        ]
    fresh = file.with_suffix(".new")
    fresh.touch(mode=0o600)
    fresh.write_text(json.dumps(document, indent=2), encoding="utf-8")
    fresh.replace(file)
