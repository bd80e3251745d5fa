"""Nothing of a local stack is ever left behind; what fails says why. With real processes, without emulators."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from infra.local.errors import StackError
from infra.local.plan import PROJECT_ROOT
from infra.local.ports import Ports
from infra.local.probes import answers, wait_until_ready
from infra.local.processes import Child, ProcessGroup, ServiceSpec, terminate
from tests.support.waiting import eventually

SLEEPER = "import time; time.sleep(600)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEPER}"
STUBBORN_PARENT = f"""
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(subprocess.Popen([sys.executable, "-c", {STUBBORN!r}]).pid, flush=True)
time.sleep(600)
"""


def spec(code: str, *, name: str = "service", ready: tuple[str, ...] = ()) -> ServiceSpec:
    command = (sys.executable, "-c", code)
    return ServiceSpec(name=name, kind="worker", command=command, env={}, address="", ready=ready)


@pytest.fixture
def group(tmp_path: Path) -> Iterator[ProcessGroup]:
    group = ProcessGroup(cwd=tmp_path, log_dir=tmp_path)
    group.open()
    yield group
    group.close()


@pytest.fixture
def ports() -> Iterator[Ports]:
    ports = Ports()
    yield ports
    ports.release()


def is_gone(pid: int) -> bool:
    """A process that was killed but not yet collected by its parent is gone too."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def first_line(log: Path) -> str:
    eventually(lambda: log.exists() and "\n" in log.read_text(), what=f"a line in {log.name}")
    return log.read_text().splitlines()[0]


def test_closing_ends_grandchildren_that_ignore_every_request(group: ProcessGroup, tmp_path: Path) -> None:
    child = group.spawn(spec(STUBBORN_PARENT))
    grandchild = int(first_line(tmp_path / "service.log"))

    group.close()

    eventually(lambda: is_gone(child.process.pid) and is_gone(grandchild), what="the end of the whole family")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_a_supervisor_that_is_killed(number: signal.Signals, tmp_path: Path) -> None:
    supervisor_code = f"""
        from pathlib import Path
        import signal, sys, time
        from infra.local.processes import ProcessGroup, ServiceSpec
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        group = ProcessGroup(cwd=Path({str(tmp_path)!r}), log_dir=Path({str(tmp_path)!r}))
        group.open()
        command = (sys.executable, "-c", {STUBBORN_PARENT!r})
        child = group.spawn(ServiceSpec(name="service", kind="worker", command=command, env={{}}, address="", ready=()))
        print(child.process.pid, flush=True)
        time.sleep(600)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(supervisor_code)], stdout=subprocess.PIPE, text=True, cwd=PROJECT_ROOT
    ) as supervisor:
        assert supervisor.stdout is not None
        child = int(supervisor.stdout.readline())
        grandchild = int(first_line(tmp_path / "service.log"))
        warden = psutil.Process(supervisor.pid).children()[0].pid

        supervisor.send_signal(number)

    eventually(lambda: all(map(is_gone, (child, grandchild, warden))), what="the end of child, grandchild and warden")


def test_a_polite_child_may_finish_its_work(group: ProcessGroup, tmp_path: Path) -> None:
    child = group.spawn(
        spec(
            "import signal, sys, time\n"
            "signal.signal(signal.SIGTERM, lambda *_: sys.exit(print('work finished', flush=True)))\n"
            "print('started', flush=True); time.sleep(600)"
        )
    )
    first_line(tmp_path / "service.log")

    terminate([child], grace_s=10)

    assert (tmp_path / "service.log").read_text().splitlines() == ["started", "work finished"]
    assert child.exit_status == 0


def test_a_child_that_does_not_listen_is_killed_after_its_grace(group: ProcessGroup, tmp_path: Path) -> None:
    child = group.spawn(spec(STUBBORN_PARENT))
    first_line(tmp_path / "service.log")

    terminate([child], grace_s=0.1)

    assert child.exit_status == -signal.SIGKILL


def ready_after(child: Child, *, timeout_s: float = 10) -> float:
    return wait_until_ready(child, timeout_s=timeout_s, cancelled=threading.Event())


def test_a_service_that_ends_at_once_is_reported_with_its_last_words(group: ProcessGroup, ports: Ports) -> None:
    child = group.spawn(spec("print('no such disk'); raise SystemExit(3)", ready=(f"tcp://127.0.0.1:{ports.take()}",)))

    with pytest.raises(StackError) as caught:
        ready_after(child)

    assert "service ended with status 3" in caught.value.detail
    assert "no such disk" in caught.value.detail


def test_a_service_that_never_answers_is_reported_with_the_address(group: ProcessGroup, ports: Ports) -> None:
    target = f"http://127.0.0.1:{ports.take()}/livez"
    child = group.spawn(spec(SLEEPER, ready=(target,)))

    with pytest.raises(StackError, match=target):
        ready_after(child, timeout_s=0.2)


def test_a_service_is_ready_when_all_its_targets_answer(group: ProcessGroup, ports: Ports) -> None:
    port = ports.take()
    server = (
        "import http.server as h\n"
        "class A(h.BaseHTTPRequestHandler):\n"
        "  def do_GET(self):\n"
        "    self.send_response(200 if self.path == '/livez' else 503); self.end_headers()\n"
        f"h.HTTPServer(('127.0.0.1', {port}), A).serve_forever()"
    )
    child = group.spawn(spec(server, ready=(f"tcp://127.0.0.1:{port}", f"http://127.0.0.1:{port}/livez")))

    assert ready_after(child) < 10
    assert not answers(f"http://127.0.0.1:{port}/broken")


def test_nothing_is_started_once_the_guard_is_gone(group: ProcessGroup) -> None:
    psutil.Process(group.guard_pid).kill()  # its own: other tests' emulators have wardens too
    eventually(lambda: not group.is_guarded, what="the warden's end")

    with pytest.raises(StackError, match="guards"):
        group.spawn(spec(SLEEPER))


def test_a_port_belongs_to_one_stack_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # No stack of another test looks for its ports there.
    monkeypatch.setattr("infra.local.ports._RANGE", range(19_500, 19_508))
    first, second = Ports(tmp_path), Ports(tmp_path)
    taken = {first.take() for _ in range(3)}

    others = {second.take() for _ in range(5)}

    assert not taken & others
    with pytest.raises(StackError, match="no free port"):
        second.take()
    first.release()
    assert second.take() in taken
    second.release()
    assert list(tmp_path.iterdir()) == []


def test_a_port_that_somebody_listens_on_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        monkeypatch.setattr("infra.local.ports._RANGE", range(port, port + 1))

        with pytest.raises(StackError, match="no free port"):
            Ports(tmp_path).take()
