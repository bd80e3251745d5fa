"""Starting, looking at and ending a stack through the command line; whatever happens, nothing is left behind."""

from __future__ import annotations

import json
import os
import shlex
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from infra.local.emulators import Emulators
from infra.local.errors import StackError
from infra.local.plan import PROJECT_ROOT
from infra.local.stack import Stack, StackOptions
from infra.local.state import StateDir
from tests.support.waiting import eventually

pytestmark = pytest.mark.emulators

COMMAND = "from handlers.cli.main import main; main()"


@pytest.fixture
def state_dir(_emulator_programs: Emulators, tmp_path: Path) -> Path:
    return tmp_path / "state"


def local(*arguments: str, state_dir: Path) -> subprocess.CompletedProcess[str]:
    """`pipeline local …` as its own process."""
    command = [sys.executable, "-c", COMMAND, "local", *arguments, "--state-dir", str(state_dir)]
    return subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def supervisor(state_dir: Path) -> Iterator[subprocess.Popen[str]]:
    """A stack without workers in a process of its own, ready."""
    command = [sys.executable, "-m", "infra.local.supervisor", "--state-dir", str(state_dir), "--only", ""]
    with subprocess.Popen(command, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if line == "ready\n":
                break
        else:
            pytest.fail("".join(said))
        yield process
        process.kill()


def family(state_dir: Path) -> list[psutil.Process]:
    """Every process of the stack: services, their children, the warden."""
    state = StateDir(state_dir).running()
    return psutil.Process(state.supervisor_pid).children(recursive=True)


def eventually_gone(processes: list[psutil.Process]) -> None:
    assert len(processes) > 9  # three emulators, six stand-ins, the warden
    eventually(lambda: not any(map(still_runs, processes)), what="the end of every process")


def still_runs(process: psutil.Process) -> bool:
    """Killed and not yet collected by its parent counts as ended; a later process with the same pid is not ours."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_ctrl_c_ends_the_stack_in_order(supervisor: subprocess.Popen[str], state_dir: Path) -> None:
    """`local down`, further below, ends it by SIGTERM."""
    processes = family(state_dir)

    supervisor.send_signal(signal.SIGINT)

    assert supervisor.wait(timeout=30) == 0
    eventually_gone(processes)
    assert StateDir(state_dir).read() is None


def test_a_supervisor_that_is_killed_takes_the_stack_along(supervisor: subprocess.Popen[str], state_dir: Path) -> None:
    processes = family(state_dir)

    supervisor.kill()
    supervisor.wait()

    eventually_gone(processes)
    shown = local("status", state_dir=state_dir)
    assert shown.returncode == 1
    assert "without cleaning up" in str(shown.stderr)
    assert local("down", state_dir=state_dir).returncode == 0
    assert StateDir(state_dir).read() is None


def test_the_loss_of_a_stand_in_is_reported_and_survived_and_that_of_an_emulator_ends_the_stack(
    supervisor: subprocess.Popen[str], state_dir: Path
) -> None:
    processes = family(state_dir)
    assert supervisor.stdout is not None

    os.kill(StateDir(state_dir).running().service("hubspot").pid, signal.SIGKILL)

    assert supervisor.stdout.readline().startswith("hubspot ended with status -9")
    shown = local("status", "--json", state_dir=state_dir)
    assert shown.returncode == 1
    conditions = {service["name"]: service["state"] for service in json.loads(shown.stdout)["services"]}
    assert conditions["hubspot"] == "ended"
    assert conditions["salesforce"] == "running"
    assert conditions["webhook"] == "by hand"

    os.kill(StateDir(state_dir).running().service("spanner").pid, signal.SIGKILL)

    assert "spanner ended with status -9" in supervisor.stdout.read()
    assert supervisor.wait(timeout=30) == 1
    eventually_gone(processes)


def test_a_detached_stack_can_be_used_from_a_shell_until_it_is_taken_down(state_dir: Path) -> None:
    assert "no local stack is running" in str(local("env", state_dir=state_dir).stderr)
    started = local("up", "--detach", "--only", "", state_dir=state_dir)
    try:
        assert started.returncode == 0, started.stdout + started.stderr
        state, processes = StateDir(state_dir).running(), family(state_dir)

        assert exported(local("env", state_dir=state_dir).stdout) == {**state.env, **state.exports, **state.extra}
        assert stat.S_IMODE((state_dir / "state.json").stat().st_mode) == 0o600
        assert "Google Pub/Sub fake" in local("logs", "pubsub", state_dir=state_dir).stdout
        assert "no service 'pupsub'" in str(local("logs", "pupsub", state_dir=state_dir).stderr)
        assert "already running" in str(local("up", "--only", "", state_dir=state_dir).stderr)
    finally:
        stopped = local("down", state_dir=state_dir)
    assert stopped.returncode == 0
    eventually_gone(processes)
    assert "no local stack is running" in str(local("down", state_dir=state_dir).stderr)


def exported(lines: str) -> dict[str, str]:
    """What a shell would make of `export NAME=value` lines."""
    words = [shlex.split(line) for line in lines.splitlines()]
    assert {word[0] for word in words} == {"export"}
    return dict(word[1].split("=", 1) for word in words)


def test_a_service_that_cannot_start_takes_the_others_down_and_is_quoted(state_dir: Path, tmp_path: Path) -> None:
    before = psutil.Process().children()  # the emulators of other tests
    java = tmp_path / "jre" / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text("#!/bin/sh\necho 'UnsupportedClassVersionError: too old'\nexit 1\n")
    java.chmod(0o755)
    options = StackOptions(state_dir=state_dir, only=(), environ=dict(os.environ) | {"JAVA_HOME": str(java.parents[1])})

    with pytest.raises(StackError) as caught:
        Stack(options).start()

    assert "pubsub ended with status 1" in caught.value.detail
    assert "UnsupportedClassVersionError: too old" in caught.value.detail
    assert psutil.Process().children() == before
    StateDir(state_dir).acquire()  # nothing holds the place
