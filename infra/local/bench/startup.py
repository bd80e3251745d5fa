"""How long each service takes from its start to its first answer, and how much memory it then holds."""

from __future__ import annotations

import statistics
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from infra.local.bench.contestants import inherited_environment
from infra.local.plan import PROJECT_ROOT, worker_command, worker_identity
from infra.local.ports import Ports
from infra.local.probes import wait_until_ready
from infra.local.processes import ProcessGroup, ServiceSpec, terminate
from shared.pipeline import load_pipeline

STARTS = 3
_READY_TIMEOUT_S = 60.0
_GRACE_S = 10.0
_MIB = 1024 * 1024


@dataclass(frozen=True)
class Startup:
    """Median of `STARTS` starts; memory of the whole process tree, shared pages counted in each process."""

    seconds: float
    rss_mib: float


def measure_startups(env: Mapping[str, str], *, report: Callable[[str], None]) -> dict[str, Startup]:
    """Every service of `infra/pipeline.json`, one after the other."""
    with tempfile.TemporaryDirectory(prefix="pipeline-bench-") as folder:
        group, ports = ProcessGroup(cwd=PROJECT_ROOT, log_dir=Path(folder)), Ports()
        group.open()
        try:
            return {name: _measure(group, ports, name, env, report=report) for name in sorted(load_pipeline().services)}
        finally:
            group.close()
            ports.release()


def _measure(
    group: ProcessGroup, ports: Ports, name: str, env: Mapping[str, str], *, report: Callable[[str], None]
) -> Startup:
    looks = []
    for turn in range(STARTS):
        report(f"start-up of {name}, {turn + 1} of {STARTS}")
        port = ports.take()
        url = f"http://127.0.0.1:{port}"
        spec = ServiceSpec(
            name=name,
            kind="worker",
            command=worker_command(),
            env={**inherited_environment(), **env, **worker_identity(name), "PORT": str(port)},
            address=url,
            ready=(f"{url}/livez",),
        )
        child = group.spawn(spec)
        seconds = wait_until_ready(child, timeout_s=_READY_TIMEOUT_S, cancelled=threading.Event())
        looks.append(Startup(seconds, _rss_mib(child.process.pid)))
        terminate([child], grace_s=_GRACE_S)
    return Startup(statistics.median(look.seconds for look in looks), statistics.median(look.rss_mib for look in looks))


def _rss_mib(pid: int) -> float:
    parent = psutil.Process(pid)
    tree = [parent, *parent.children(recursive=True)]
    return sum(process.memory_info().rss for process in tree) / _MIB
