"""Runs one stack in the foreground until a signal or the loss of an emulator; or in a process of its own."""

from __future__ import annotations

import argparse
import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from infra.local.errors import Report, StackError
from infra.local.plan import PROJECT_ROOT, check_workers
from infra.local.prepare import prepare
from infra.local.processes import last_lines
from infra.local.stack import DEFAULT_STATE_DIR, Stack, StackOptions
from infra.local.state import StackState, StateDir
from shared.errors import PipelineError
from shared.pipeline import load_pipeline

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_POLL_S = 0.05


class _StopAsked(BaseException):
    """A signal came; not an `Exception`, so that nothing on the way mistakes it for a failure."""


def supervise(options: StackOptions, *, report: Report, on_ready: Callable[[StackState], None]) -> None:
    """Start the stack, call `on_ready`, and keep it until Ctrl-C, SIGTERM or SIGHUP. Main thread only.

    Raises `StackError` when the stack cannot start or loses an emulator; nothing is left running in any case.
    """
    stack = Stack(options, prepare=prepare, report=report)
    with contextlib.suppress(_StopAsked), _signals_stop():
        try:
            on_ready(stack.start())
            stack.watch(threading.Event())
        finally:
            _ignore_signals()
            report("stopping")
            stack.stop()
            report("stopped")


@contextlib.contextmanager
def _signals_stop() -> Iterator[None]:
    """Turn the signals that end a program into `_StopAsked`, raised in the main thread."""

    def stop(_number: int, _frame: object) -> None:
        raise _StopAsked

    before = {number: signal.signal(number, stop) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ignore_signals() -> None:
    """The stop is bounded in time; a second Ctrl-C must not cut it short."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def start_detached(options: StackOptions) -> StackState:
    """Start a supervisor that outlives this process and wait until its stack is ready. Raises `StackError`."""
    state_dir = StateDir(options.state_dir)
    state_dir.logs.mkdir(parents=True, exist_ok=True)
    log = state_dir.log("supervisor")
    command = [sys.executable, "-m", "infra.local.supervisor", "--state-dir", str(state_dir.path)]
    if options.only is not None:
        command += ["--only", ",".join(options.only)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=PROJECT_ROOT,
            env=dict(options.environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    while process.poll() is None:
        state = state_dir.read()
        if state is not None and state.supervisor_pid == process.pid and state.status == "ready":
            return state
        time.sleep(_POLL_S)
    raise StackError("start_failed", f"the local stack did not start; the end of {log}:\n{last_lines(log)}")


def main() -> int:
    """Entry point of `python -m infra.local.supervisor`, the process behind `pipeline local up --detach`."""
    parser = argparse.ArgumentParser(prog="python -m infra.local.supervisor")
    parser.add_argument("--state-dir", type=Path, default=DEFAULT_STATE_DIR)
    parser.add_argument("--only", type=parse_only, default=None, help="workers to start, separated by commas")
    arguments = parser.parse_args()
    options = StackOptions(state_dir=arguments.state_dir, only=arguments.only)
    try:
        supervise(options, report=_say, on_ready=lambda _state: _say("ready"))
    except PipelineError as error:
        _say(f"{error.detail}\n  what to do: {error.fix}" if error.fix else error.detail)
        return 1
    return 0


def parse_only(names: str) -> tuple[str, ...]:
    """`a,b` as a tuple; an empty text means no workers at all. Raises `StackError` for a name that is no worker's."""
    chosen = tuple(name.strip() for name in names.split(",") if name.strip())
    check_workers(chosen, known=load_pipeline().services)
    return chosen


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
