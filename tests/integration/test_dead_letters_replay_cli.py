"""`pipeline dead-letters replay` as operators type it: what reaches Pub/Sub, once, and who can stop it and go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from handlers.cli.dead_letter_replays import stop_signal
from tests.support.desk_bench import OURS, THEIRS, failing
from tests.support.desk_terminal import OPERATOR, REFUSED, DeskTerminal, given_up, letter, terminal
from tests.support.waiting import eventually

__all__ = ["terminal"]

pytestmark = pytest.mark.emulators

QUICK = ("--rate", "1000", "--wait", "30s", "--yes")


def at_another_desk(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What a colleague types in a terminal of his own: another process."""
    return subprocess.run(
        [str(Path(sys.executable).with_name("pipeline")), "dead-letters", *arguments],
        env={**os.environ, "LOGNAME": "otto"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_dry_run_counts_and_prices_and_changes_nothing(terminal: DeskTerminal) -> None:
    given_up(terminal, 3)
    given_up(terminal, tenant_id=THEIRS, first=4)
    audit = terminal.bench.audit()

    ran = terminal.type(
        "replay", "--reason", "model_refused", "--hold", THEIRS, "--dry-run", "--rate", "2", "--steps", "1,5"
    )
    assert ran.status == 0
    for said in (
        "3 letters to replay",
        f"3  {OURS}  analyze  model_refused",
        "1  left out: held",
        "sending takes at least 2 s at 2 a second, more where live calls would suffer",
        "in 2 steps: 1, 2",
        "costs ",
    ):
        assert said in ran.out

    document = terminal.type("replay", "--all", "--dry-run", "--json").document()
    assert document["letters"] == 4
    terminal.take()
    assert terminal.sent == []
    assert terminal.bench.audit() == audit
    assert terminal.bench.database.value("SELECT COUNT(*) FROM replay_jobs") == 0


def test_one_letter_is_replayed_at_its_stage_and_closes(terminal: DeskTerminal) -> None:
    first, second = given_up(terminal, 2)

    with terminal.workers():
        ran = terminal.type("replay", first, "--tenant", OURS, "--wait", "30s")

    assert ran.status == 0, ran
    assert "finished; 1 arrived of 1" in ran.out
    assert terminal.requests_sent() == ["r-0000000000000001"]
    assert [stage for stage, _ in terminal.bench.ran] == ["analyze", "crm_sync"]
    assert letter(terminal, first).state == "closed"
    assert letter(terminal, second).state == "open"
    lines = [entry[1:] for entry in terminal.bench.audit() if entry[3] == first]
    assert [OPERATOR, "dead_letter.replay", first, "sent"] in lines
    assert [OPERATOR, "dead_letter.replay_ended", first, "arrived"] in lines

    again = terminal.type("replay", first, "--tenant", OURS)
    assert again.status == 0, "what is done is no work left"
    assert "1  left out: closed" in again.out
    terminal.take()
    assert len(terminal.sent) == 1


def test_a_group_is_replayed_with_a_tenant_held_and_what_is_held_remains(terminal: DeskTerminal) -> None:
    ours = given_up(terminal, 3)
    (theirs,) = given_up(terminal, tenant_id=THEIRS, first=4)

    with terminal.workers():
        ran = terminal.type("replay", "--stage", "analyze", "--hold", THEIRS, "--json", *QUICK)

    assert ran.status == 1, "one is held"
    report = json.loads(ran.out)
    assert (report["state"], report["counts"]) == ("finished", {"arrived": 3})
    assert [letter(terminal, one).state for one in ours] == ["closed"] * 3
    assert letter(terminal, theirs, THEIRS).state == "open"
    assert sorted(terminal.requests_sent()) == [f"r-{number:016d}" for number in (1, 2, 3)]
    (job,) = terminal.type("jobs", "--json").document()
    assert job["job_id"] == report["job_id"]
    assert report["job_id"] in terminal.type("jobs").out


def test_a_filter_asks_before_it_replays(terminal: DeskTerminal) -> None:
    (refused,) = given_up(terminal)

    ran = terminal.type("replay", "--tenant", OURS, answer="n\n")

    assert ran.status == 1
    assert "1 letters to replay" in ran.err
    terminal.take()
    assert terminal.sent == []
    assert letter(terminal, refused).state == "open"


def test_steps_stop_when_they_fail_again_and_resume_goes_on(terminal: DeskTerminal) -> None:
    letters = given_up(terminal, 4)
    terminal.bench.behaviours["analyze"] = failing(REFUSED)

    with terminal.workers():
        stopped = terminal.type("replay", "--tenant", OURS, "--steps", "1,5", *QUICK)
        assert stopped.status == 1
        assert "1 of 1 letters of step 1 failed again: 100% is more than 20%" in stopped.out
        assert len(terminal.sent) == 1
        assert terminal.bench.database.value("SELECT COUNT(*) FROM dead_letters") == 4, "no second letter"
        resume = stopped.out.rpartition("resume ")[2].strip()
        terminal.bench.behaviours.clear()
        resumed = terminal.type("resume", resume, "--json")

    assert resumed.status == 1, "the first one remains"
    assert json.loads(resumed.out)["counts"] == {"arrived": 3, "failed": 1}
    assert [letter(terminal, one).state for one in letters] == ["open", "closed", "closed", "closed"]
    assert "is finished" in terminal.refused("resume", resume)


def test_ctrl_c_stops_after_the_letter_in_hand_and_resume_goes_on(terminal: DeskTerminal) -> None:
    given_up(terminal, 3)

    def press_ctrl_c() -> None:
        eventually(lambda: bool(terminal.sent), what="the first letter")
        os.kill(os.getpid(), signal.SIGINT)

    with terminal.workers():
        threading.Thread(target=press_ctrl_c, daemon=True).start()
        stopped = terminal.type("replay", "--tenant", OURS, "--rate", "1", "--yes", "--json")
        assert stopped.status == 1
        report = json.loads(stopped.out)
        assert report["state"] == "stopped"
        assert report["counts"]["pending"] >= 1
        assert "Traceback" not in stopped.err
        resumed = terminal.type("resume", report["job_id"])

    assert resumed.status == 0, resumed
    assert "finished; 3 arrived of 3" in resumed.out
    # A letter that no worker has touched when the job goes on is sent once more: the claim lets one of the two run.
    assert set(terminal.requests_sent()) == {f"r-{number:016d}" for number in (1, 2, 3)}
    assert [stage for stage, _ in terminal.bench.ran].count("crm_sync") == 3


def test_a_colleague_stops_a_running_replay(terminal: DeskTerminal) -> None:
    given_up(terminal, 3)
    seen: list[subprocess.CompletedProcess[str]] = []

    def stop_it() -> None:
        eventually(lambda: bool(terminal.sent), what="the first letter")
        (job,) = json.loads(at_another_desk("jobs", "--json").stdout)
        seen.extend((at_another_desk("stop", job["job_id"]), at_another_desk("jobs", "--json")))

    with terminal.workers():
        colleague = threading.Thread(target=stop_it, daemon=True)
        colleague.start()
        stopped = terminal.type("replay", "--tenant", OURS, "--rate", "0.02", "--yes", "--json")
        colleague.join(timeout=60)
        report = json.loads(stopped.out)
        told, listed = seen
        assert (told.returncode, told.stdout) == (0, f"{report['job_id']}: told to stop\n"), told
        assert stopped.status == 1
        assert report["state"] == "stopped"
        assert report["counts"] == {"arrived": 1, "pending": 2}
        assert json.loads(listed.stdout)[0]["job_id"] == report["job_id"]
        assert terminal.bench.database.value("SELECT COUNT(*) FROM audit_log WHERE actor = 'otto'") == 1


def test_two_operators_replay_the_same_letters_and_each_is_sent_once(terminal: DeskTerminal) -> None:
    given_up(terminal, 4)
    seen: list[subprocess.CompletedProcess[str]] = []

    with terminal.workers():
        colleague = threading.Thread(
            target=lambda: seen.append(at_another_desk("replay", "--tenant", OURS, *QUICK)), daemon=True
        )
        colleague.start()
        ours = terminal.type("replay", "--tenant", OURS, *QUICK)
        colleague.join(timeout=60)

    assert (ours.status, seen[0].returncode) == (0, 0), (ours, seen)
    assert sorted(terminal.requests_sent()) == [f"r-{number:016d}" for number in (1, 2, 3, 4)]
    assert terminal.bench.database.value("SELECT COUNT(*) FROM dead_letters WHERE state = 'closed'") == 4
    assert terminal.bench.database.value("SELECT COUNT(*) FROM dead_letters") == 4


def test_a_re_run_from_an_earlier_stage_is_a_new_request(terminal: DeskTerminal) -> None:
    (refused,) = given_up(terminal)

    with terminal.workers():
        ran = terminal.type("replay", refused, "--tenant", OURS, "--from-stage", "transcribe", "--wait", "30s")

    assert ran.status == 0, ran
    (request_id,) = terminal.requests_sent()
    assert request_id.startswith("x-")
    assert terminal.sent[0].topic == "recording-stored"
    assert [stage for stage, _ in terminal.bench.ran] == ["transcribe", "analyze", "crm_sync"]
    assert terminal.bench.request_state(request_id) == "done"
    assert letter(terminal, refused).state == "closed"


def test_a_letter_replayed_too_often_is_left_alone_unless_forced(terminal: DeskTerminal) -> None:
    (refused,) = given_up(terminal)
    terminal.bench.database.database.run_in_transaction(
        lambda transaction: transaction.execute_update("UPDATE dead_letters SET replays = 3 WHERE true")
    )

    left = terminal.type("replay", refused, "--tenant", OURS, "--json")
    assert left.status == 1
    assert json.loads(left.out)["left_out"] == {"loop_guard": 1}
    forced = terminal.type("replay", refused, "--tenant", OURS, "--force", "--wait", "0s")
    assert forced.status == 0, forced
    terminal.take()
    assert letter(terminal, refused).replays == 4


@pytest.fixture
def terminal_signals() -> Iterator[None]:
    """Ctrl-C as in a terminal: whoever starts the tests in the background lets them inherit that it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("terminal_signals")
def test_the_second_ctrl_c_ends_at_once() -> None:
    """A database that does not answer must not hold the person who waits."""
    with stop_signal() as stopping:
        signal.raise_signal(signal.SIGINT)
        assert stopping.is_set()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
