"""Child processes that cannot be left behind: one process group under a warden, one log file each."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from infra.local.errors import StackError

Kind = Literal["emulator", "stand-in", "worker"]

_WARDEN = Path(__file__).with_name("warden.py")
_KILL_TIMEOUT_S = 10
_TAIL_LINES = 15
_TAIL_BYTES = 16_384


@dataclass(frozen=True, kw_only=True)
class ServiceSpec:
    """How to start one service and how to see that it is ready."""

    name: str
    kind: Kind
    command: tuple[str, ...]
    env: Mapping[str, str]
    """The complete environment; nothing is inherited."""
    address: str
    """What its users need: a URL, or host:port for gRPC."""
    ready: tuple[str, ...]
    """Targets that must all answer, see `probes.answers`."""


class Child:
    """One running service."""

    def __init__(self, spec: ServiceSpec, process: subprocess.Popen[bytes], log: Path) -> None:
        self.spec = spec
        self.log = log
        self.process = process
        self.started = started_at(process.pid)

    @property
    def exit_status(self) -> int | None:
        """None while it runs; negative is the signal that ended it."""
        return self.process.poll()

    def obituary(self) -> str:
        """How it ended and its last words, for an error message."""
        words = last_lines(self.log)
        said = f"; the end of {self.log}:\n{words}" if words else f" without a word in {self.log}"
        return f"{self.spec.name} ended with status {self.exit_status}{said}"


class ProcessGroup:
    """Starts services and guarantees their end: with `close`, or with this process, whichever comes first."""

    def __init__(self, *, cwd: Path, log_dir: Path) -> None:
        self._cwd = cwd
        self._log_dir = log_dir
        self._warden: subprocess.Popen[bytes] | None = None
        self._spawned: list[subprocess.Popen[bytes]] = []

    def open(self) -> None:
        """Start the warden. To be called before anything is spawned."""
        self._log_dir.mkdir(parents=True, exist_ok=True)
        warden = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_WARDEN)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            process_group=0,
        )
        assert warden.stdout is not None
        with warden.stdout as answer:  # from here on it ignores signals: nothing is spawned into an unguarded group
            if answer.readline() != b"ready\n":
                raise StackError("no_warden", "the process that guards the local stack did not start")
        self._warden = warden

    def spawn(self, spec: ServiceSpec) -> Child:
        """Start one service; its output is appended to `<log dir>/<name>.log`."""
        if self._warden is None or self._warden.poll() is not None:
            raise StackError("no_warden", "the process that guards the local stack is gone")
        path = self._log_dir / f"{spec.name}.log"
        with path.open("ab") as log:
            process = subprocess.Popen(
                spec.command,
                cwd=self._cwd,
                env=dict(spec.env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=self._warden.pid,
            )
        self._spawned.append(process)
        return Child(spec, process, path)

    @property
    def is_guarded(self) -> bool:
        return self._warden is not None and self._warden.poll() is None

    @property
    def guard_pid(self) -> int:
        """The warden's process id. Raises `StackError` when there is none."""
        if self._warden is None:
            raise StackError("no_warden", "this group has no guard")
        return self._warden.pid

    def close(self) -> None:
        """Kill whatever is left of the group, grandchildren too. Safe to call twice."""
        warden, self._warden = self._warden, None
        if warden is None:
            return
        assert warden.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            warden.stdin.close()
        warden.wait(timeout=_KILL_TIMEOUT_S)
        for process in self._spawned:  # collect exit statuses: what is killed unseen stays in the process table
            process.wait(timeout=_KILL_TIMEOUT_S)
        self._spawned.clear()


def terminate(children: Iterable[Child], *, grace_s: float) -> None:
    """SIGTERM to all at once, SIGKILL to those that are still there after `grace_s` seconds."""
    running = [child.process for child in children if child.exit_status is None]
    for process in running:
        process.terminate()
    deadline = time.monotonic() + grace_s
    for process in running:
        try:
            process.wait(timeout=max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def kill_tree(pid: int) -> None:
    """SIGKILL to one process and everything it started, as a machine that dies would. Gone already is fine."""
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        for process in [root, *root.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def started_at(pid: int) -> float:
    """When this process started (epoch seconds): together with the pid it names one process for ever. 0 if gone."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return 0.0


def is_running(pid: int, started: float) -> bool:
    """Whether exactly this process still runs; a later process with the same pid does not count."""
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - started) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def last_lines(log: Path) -> str:
    """The end of a log file, bounded, for error messages."""
    try:
        with log.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(f"  | {line}" for line in text.splitlines()[-_TAIL_LINES:])
