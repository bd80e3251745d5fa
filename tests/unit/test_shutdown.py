"""SIGTERM: claims are given back some time after the signal, beside whatever the server does with it."""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from types import FrameType

import pytest

from infra.local.plan import PROJECT_ROOT
from shared import shutdown
from shared.active_claims import ActiveClaims
from shared.claims import RunKey, StageRun
from tests.support.ports import NOON
from tests.support.waiting import eventually


@pytest.fixture
def server_heard() -> Iterator[list[int]]:
    """A server's own handler, and what it heard; the process's handler comes back afterwards."""
    heard: list[int] = []

    def on_signal(number: int, _frame: FrameType | None) -> None:
        heard.append(number)

    before = signal.signal(signal.SIGTERM, on_signal)
    yield heard
    signal.signal(signal.SIGTERM, before)


def test_claims_are_given_back_and_the_server_hears_the_signal_as_well(server_heard: list[int]) -> None:
    released = threading.Event()

    def release() -> int:
        released.set()
        return 1

    shutdown.give_back_on_sigterm(release, after_s=0.0)
    signal.raise_signal(signal.SIGTERM)

    assert server_heard == [signal.SIGTERM]
    eventually(released.is_set, what="the claims are given back")


def test_work_that_finishes_in_time_keeps_its_claim(server_heard: list[int]) -> None:
    released: list[int] = []
    shutdown.give_back_on_sigterm(lambda: len(released), after_s=3600)
    signal.raise_signal(signal.SIGTERM)
    timers = [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
    assert [timer.interval for timer in timers] == [3600]
    assert all(timer.daemon for timer in timers), "an idle worker must not stay for its timer"
    for timer in timers:
        timer.cancel()


def test_outside_the_main_thread_nothing_is_installed(server_heard: list[int]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=shutdown.give_back_on_sigterm, args=(lambda: 0,))
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(("default", "status"), [("SIG_DFL", -signal.SIGTERM), ("SIG_IGN", 0)])
def test_without_a_server_the_signal_means_what_it_meant(default: str, status: int) -> None:
    code = (
        "import signal, sys; from shared.shutdown import give_back_on_sigterm;"
        f"signal.signal(signal.SIGTERM, signal.{default});"
        "give_back_on_sigterm(lambda: 0); signal.raise_signal(signal.SIGTERM); sys.exit(0)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=dict(os.environ), timeout=30, check=False)
    assert done.returncode == status


def test_the_claims_are_given_back_before_gunicorn_and_cloud_run_lose_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUNCTION_TARGET", "download")
    server = runpy.run_path(str(PROJECT_ROOT / "handlers" / "gunicorn_conf.py"))
    assert shutdown.GIVE_BACK_AFTER_S < server["graceful_timeout"] < 10


def test_a_claim_is_held_inside_its_block_and_nowhere_else() -> None:
    claims = ActiveClaims()
    key = RunKey("acme-plumbing", "r-0123456789abcdef", "download")
    run = StageRun(key, "CAL1", "running", 1, "token", NOON, "{}")
    with claims.held(run):
        assert claims.close() == [("token", key)]
        with pytest.raises(ValueError, match="dies"), claims.held(StageRun(key, "CAL1", "running", 2, "b", NOON, "{}")):
            raise ValueError("dies")
        assert claims.close() == [("token", key)]
    assert claims.close() == []
