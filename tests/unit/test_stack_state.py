"""The state directory: one supervisor at a time, readable by its owner only, honest about a stack that died."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.local.errors import StackError
from infra.local.leftovers import end_leftovers
from infra.local.processes import is_running, started_at
from infra.local.state import ServiceState, StackState, StateDir


def state_of(*, pid: int, started: float, services: tuple[ServiceState, ...] = ()) -> StackState:
    return StackState(
        status="ready", supervisor_pid=pid, supervisor_started=started, services=services, env={}, exports={}
    )


def own_state(services: tuple[ServiceState, ...] = ()) -> StackState:
    return state_of(pid=os.getpid(), started=started_at(os.getpid()), services=services)


def test_a_second_supervisor_is_turned_away_until_the_first_is_done(tmp_path: Path) -> None:
    first, second = StateDir(tmp_path), StateDir(tmp_path)
    first.acquire()

    with pytest.raises(StackError, match="already running"):
        second.acquire()
    first.release()

    second.acquire()
    second.release()


def test_the_state_survives_the_round_trip_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    directory = StateDir(tmp_path)
    directory.write(own_state())

    assert directory.running() == own_state()
    assert (tmp_path / "state.json").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


def test_no_stack_at_all_is_told_apart_from_one_that_died(tmp_path: Path) -> None:
    directory = StateDir(tmp_path)
    with pytest.raises(StackError, match="no local stack is running"):
        directory.running()

    directory.write(state_of(pid=os.getpid(), started=1.0))  # a process that had our pid long ago

    with pytest.raises(StackError, match="without cleaning up"):
        directory.running()


def test_an_unreadable_state_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"status": "ready"}')

    with pytest.raises(StackError, match=r"state\.json"):
        StateDir(tmp_path).running()


def test_leftovers_of_a_dead_stack_are_ended_and_strangers_are_spared(tmp_path: Path) -> None:
    with (
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as ours,
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger,
    ):
        left = ServiceState(name="a", kind="worker", address="", pid=ours.pid, started=started_at(ours.pid))
        reused = ServiceState(name="b", kind="worker", address="", pid=stranger.pid, started=1.0)
        StateDir(tmp_path).write(state_of(pid=1, started=0.0, services=(left, reused)))

        ended = end_leftovers(StateDir(tmp_path))

        assert ended == 1
        assert not is_running(left.pid, left.started)
        assert stranger.poll() is None
        assert StateDir(tmp_path).read() is None
        stranger.kill()
