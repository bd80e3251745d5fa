"""The fuzzer itself: it notices what it is for, makes it small, and a saved input can be tried again."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import strategies as st

from infra.local.plan import PROJECT_ROOT
from shared.errors import PermanentFailure
from tests.fuzz.campaign import Result, read_down, repeat, run
from tests.fuzz.material import NAME
from tests.fuzz.run import main
from tests.fuzz.target import Finding, Hang, Target, within

log = structlog.get_logger()


def _target(check: Callable[[Any], None], **more: Any) -> Target:
    return Target("probe", st.integers(0, 1_000), check, **more)


def _run(target: Target, folder: Path) -> Result:
    return run(target, budget_s=20, seed=1, folder=folder, say=lambda _line: None, most=200)


def _undeclared(given: int) -> None:
    if given > 100:
        raise KeyError(given)


def _leaking_error(given: int) -> None:
    raise PermanentFailure("refused", f"{NAME} called {given} times")


def _leaking_log(given: int) -> None:
    log.warning("refused", detail=f"{NAME} called {given} times")


def _hanging(given: int) -> None:
    if given > 3:
        threading.Event().wait(10)


@pytest.mark.parametrize(
    ("target", "fault"),
    [
        (_target(_undeclared, declared=(PermanentFailure,)), "KeyError"),
        (_target(_leaking_error, declared=(PermanentFailure,)), "the error repeats its input"),
        (_target(_leaking_log), "the log repeats the input"),
        (_target(_hanging, deadline_s=0.02), "Hang"),
    ],
    ids=["an undeclared error", "a leak in an error", "a leak in the log", "a hang"],
)
def test_a_broken_promise_is_found_and_written_down(target: Target, fault: str, tmp_path: Path) -> None:
    result = _run(target, tmp_path)
    assert fault in result.fault
    assert result.saved is not None
    with pytest.raises((Finding, Hang, KeyError)):
        repeat([target], result.saved)


def test_what_is_found_is_made_small(tmp_path: Path) -> None:
    result = _run(_target(_undeclared), tmp_path)
    assert result.saved is not None
    assert read_down(result.saved) == ("probe", 101)


def test_a_target_that_keeps_its_promises_counts_its_inputs(tmp_path: Path) -> None:
    result = _run(_target(lambda _given: None), tmp_path)
    assert (result.fault, result.saved) == ("", None)
    assert result.inputs >= 200
    assert list(tmp_path.iterdir()) == []


def test_a_declared_error_is_no_fault(tmp_path: Path) -> None:
    def refuse(given: int) -> None:
        raise PermanentFailure("refused", f"{given} is refused")

    assert _run(_target(refuse, declared=(PermanentFailure,)), tmp_path).fault == ""


def test_the_command_reports_inputs_and_ends_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--budget", "0.3", "--seed", "1", "--target", "retry_after", "--save", str(tmp_path)]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "seed 1" in printed
    assert "0 of 1 targets with a fault" in printed


def test_the_command_repeats_a_saved_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = tmp_path / "retry_after-00000000.txt"
    saved.write_text("# retry_after\n# once a fault\nb'\\xb2'\n", encoding="utf-8")
    assert main(["--repeat", str(saved)]) == 0
    assert "every promise holds now" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", [["--target", "nobody"], ["--budget", "0"]])
def test_a_wrong_argument_is_refused(wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(wrong)
    assert stopped.value.code == 2


def test_a_deadline_gives_the_timer_around_it_back() -> None:
    """pytest's own time limit uses the same timer: without it, a test that hangs would hang for good."""
    around = signal.signal(signal.SIGALRM, signal.SIG_IGN)
    left, interval = signal.setitimer(signal.ITIMER_REAL, 60)
    try:
        with pytest.raises(Hang), within(0.02):
            threading.Event().wait(10)
        assert signal.getsignal(signal.SIGALRM) == signal.SIG_IGN
        assert 50 < signal.getitimer(signal.ITIMER_REAL)[0] <= 60
    finally:
        signal.setitimer(signal.ITIMER_REAL, left, interval)
        signal.signal(signal.SIGALRM, around)


def test_a_process_that_fed_a_vendor_ends_by_itself() -> None:
    """Its server runs until the end; closed after the last thread was gone, it would be waited for in vain."""
    code = "from tests.fuzz import vendors; vendors._vendor()"
    ran = subprocess.run([sys.executable, "-c", code], timeout=60, check=False, cwd=PROJECT_ROOT)
    assert ran.returncode == 0
