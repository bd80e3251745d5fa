"""Free ports that stay ours: two stacks started in the same second never get the same one."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path

from infra.local.errors import StackError

_RANGE = range(20_000, 30_000)
"""Below the range that Linux and macOS hand out to outgoing connections, which could otherwise sit on our port."""
_TRIES = 500


class Ports:
    """Takes ports and keeps them from every other stack of this user until `release` or the end of this process.

    A port counts as taken while its lock file is locked, so it is ours between the choice and the moment when the
    service binds it, and while a worker that an engineer starts by hand is restarted.
    """

    def __init__(self, lock_dir: Path | None = None) -> None:
        self._lock_dir = lock_dir or Path(tempfile.gettempdir()) / f"pipeline-ports-{os.getuid()}"
        self._locks: dict[int, int] = {}
        self._random = random.SystemRandom()

    def take(self) -> int:
        """A port on 127.0.0.1 that nothing listens on. Raises `StackError` when none was found."""
        self._lock_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        for _ in range(_TRIES):
            port = self._random.choice(_RANGE)
            if port not in self._locks and self._reserve(port):
                return port
        raise StackError("no_free_port", f"no free port found in {_RANGE.start}-{_RANGE.stop - 1}")

    def release(self) -> None:
        """Give all ports back."""
        while self._locks:
            port, descriptor = self._locks.popitem()
            self._path(port).unlink(missing_ok=True)
            os.close(descriptor)

    def _reserve(self, port: int) -> bool:
        descriptor = os.open(self._path(port), os.O_CREAT | os.O_RDWR, 0o600)
        if self._is_ours(descriptor, port) and _is_free(port):
            self._locks[port] = descriptor
            return True
        os.close(descriptor)
        return False

    def _is_ours(self, descriptor: int, port: int) -> bool:
        """Locked by us, and still the file that others would open: its last owner may just have removed it."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return self._path(port).stat().st_ino == os.fstat(descriptor).st_ino
        except (BlockingIOError, FileNotFoundError):
            return False

    def _path(self, port: int) -> Path:
        return self._lock_dir / f"{port}.lock"


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
