"""Ends stacks from outside: a running one through its supervisor, a dead one's leftovers directly."""

from __future__ import annotations

import time

import psutil

from infra.local.processes import is_running, kill_tree
from infra.local.state import StackState, StateDir

_STOP_TIMEOUT_S = 25.0
"""A supervisor gives workers 10 s and the others 3 s."""
_KILL_TIMEOUT_S = 5.0


def end_stack(state_dir: StateDir, state: StackState) -> None:
    """Ask the supervisor to stop and wait for it; kill it when it does not, which its warden takes as its cue."""
    try:
        supervisor = psutil.Process(state.supervisor_pid)
        supervisor.terminate()
        supervisor.wait(timeout=_STOP_TIMEOUT_S)
    except psutil.NoSuchProcess:
        pass
    except psutil.TimeoutExpired:
        kill_tree(state.supervisor_pid)
    end_leftovers(state_dir)


def end_leftovers(state_dir: StateDir) -> int:
    """Kill what a supervisor that is gone left behind and forget its state; returns how many processes there were.

    The warden makes this a formality; it matters when supervisor and warden were killed together.
    """
    state = state_dir.read()
    if state is None:
        return 0
    left = [service for service in state.services if service.is_running]
    for service in left:
        kill_tree(service.pid)
    deadline = time.monotonic() + _KILL_TIMEOUT_S
    while any(is_running(service.pid, service.started) for service in left) and time.monotonic() < deadline:
        time.sleep(0.02)
    state_dir.forget()
    return len(left)
