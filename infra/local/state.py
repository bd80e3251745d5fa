"""What a running stack tells other processes: `state.json`, and the lock that keeps a second supervisor out."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from infra.local.errors import StackError
from infra.local.processes import Kind, is_running

Status = Literal["starting", "ready"]


class ServiceState(BaseModel):
    """One service; `pid` is 0 for a worker that the engineer starts by hand."""

    model_config = ConfigDict(frozen=True)

    name: str
    kind: Kind
    address: str
    log: str = ""
    pid: int = 0
    started: float = 0.0

    @property
    def is_external(self) -> bool:
        return self.pid == 0

    @property
    def is_running(self) -> bool:
        return not self.is_external and is_running(self.pid, self.started)


class StackState(BaseModel):
    """Everything about one stack that another process may want to know."""

    model_config = ConfigDict(frozen=True)

    status: Status
    supervisor_pid: int
    supervisor_started: float
    services: tuple[ServiceState, ...]
    env: dict[str, str]
    """What a worker started by hand needs in its environment."""
    exports: dict[str, str]
    """Addresses for people and scripts, by the names that `pipeline local env` prints."""
    extra: dict[str, str] = {}
    """What the preparation created, for example the demo tenant's id; printed by `pipeline local env` too."""

    @property
    def is_supervised(self) -> bool:
        """Whether the process that looks after this stack still lives."""
        return is_running(self.supervisor_pid, self.supervisor_started)

    def service(self, name: str) -> ServiceState:
        for service in self.services:
            if service.name == name:
                return service
        known = ", ".join(service.name for service in self.services)
        raise StackError("unknown_service", f"the local stack has no service {name!r}", fix=f"one of: {known}")


class StateDir:
    """The directory of one stack: state, logs and the supervisor's lock."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.logs = self.path / "logs"
        self.telemetry = self.path / "telemetry"
        self.kept = self.path / "standins"
        """What stand-ins hold while they are being restarted; lives no longer than the stack."""
        self._state = self.path / "state.json"
        self._lock: int | None = None

    def log(self, name: str) -> Path:
        """Where a service's output goes."""
        return self.logs / f"{name}.log"

    def acquire(self) -> None:
        """Become the supervisor of this directory. Raises `StackError` when there is one."""
        self.path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        if not _lock_now(descriptor):
            os.close(descriptor)
            raise StackError(
                "stack_running",
                f"a local stack is already running in {self.path}",
                fix="use it, stop it with `pipeline local down`, or give another --state-dir",
            )
        self._lock = descriptor

    def release(self) -> None:
        """Forget the state and let the next supervisor in. Logs stay."""
        if self._lock is None:
            return
        self.forget()
        os.close(self._lock)
        self._lock = None

    def write(self, state: StackState) -> None:
        """Replace the state in one step; only this user may read it, since it can hold a demo secret."""
        descriptor, temporary = tempfile.mkstemp(dir=self.path, prefix="state-")  # mkstemp makes files of mode 600
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(state.model_dump_json(indent=2))
        Path(temporary).replace(self._state)

    def read(self) -> StackState | None:
        """The last state written, stale or not; None when there is none."""
        try:
            return StackState.model_validate_json(self._state.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise StackError(
                "bad_state_file", f"{self._state} is not a state file of this version", fix="delete it"
            ) from error

    def forget(self) -> None:
        """Remove the state, and what stand-ins kept: emulators begin empty, so must they."""
        self._state.unlink(missing_ok=True)
        shutil.rmtree(self.kept, ignore_errors=True)

    def running(self) -> StackState:
        """The state of the stack that runs here. Raises `StackError` saying why there is none."""
        state = self.read()
        if state is None:
            raise StackError(
                "no_stack",
                f"no local stack is running in {self.path}",
                fix="start one: `make up` or `pipeline local up`",
            )
        if not state.is_supervised:
            raise StackError(
                "stale_state",
                f"the local stack in {self.path} ended without cleaning up (it was process {state.supervisor_pid})",
                fix="clear it with `pipeline local down`, or start again with `pipeline local up`",
            )
        return state


def _lock_now(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
