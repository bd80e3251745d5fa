"""How long each service takes from its start to its first answer, and how much memory it then holds."""

from __future__ import annotations

import statistics
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from infra.local.bench.contestants import inherited_environment
from infra.local.errors import Report
from infra.local.plan import PROJECT_ROOT, worker_command, worker_identity
from infra.local.ports import Ports
from infra.local.probes import wait_until_ready
from infra.local.processes import ProcessGroup, ServiceSpec, terminate
from shared.pipeline import load_pipeline

_READY_TIMEOUT_S = 60.0
_GRACE_S = 10.0
_MIB = 2**20


@dataclass(frozen=True)
class Start:
    """`rss_mib` is the resident memory of all processes of the service, just after its first answer."""

    seconds: float
    rss_mib: float


def measure_starts(env: Mapping[str, str], *, runs: int, report: Report) -> dict[str, Start]:
    """Start every service of infra/pipeline.json `runs` times, one after the other, as the local stack starts it.

    The figures are medians. `env` is the workers' environment of a running stack. Raises `StackError` when one does
    not come up.
    """
    starts = {}
    with tempfile.TemporaryDirectory(prefix="pipeline-bench-") as folder:
        group, ports = ProcessGroup(cwd=PROJECT_ROOT, log_dir=Path(folder)), Ports()
        group.open()
        try:
            for name in load_pipeline().services:
                spec = _spec(name, env, port=ports.take())
                each = [_start(group, spec) for _ in range(runs)]
                starts[name] = Start(
                    seconds=statistics.median(one.seconds for one in each),
                    rss_mib=statistics.median(one.rss_mib for one in each),
                )
                report(f"{name} answers after {starts[name].seconds:.2f} s, holds {starts[name].rss_mib:.0f} MiB")
        finally:
            group.close()
            ports.release()
    return starts


def _start(group: ProcessGroup, spec: ServiceSpec) -> Start:
    child = group.spawn(spec)
    try:
        seconds = wait_until_ready(child, timeout_s=_READY_TIMEOUT_S, cancelled=threading.Event())
        return Start(seconds, rss_mib=_resident_bytes(child.process.pid) / _MIB)
    finally:
        terminate([child], grace_s=_GRACE_S)


def _resident_bytes(pid: int) -> int:
    root = psutil.Process(pid)
    return sum(int(process.memory_info().rss) for process in [root, *root.children(recursive=True)])


def _spec(name: str, env: Mapping[str, str], *, port: int) -> ServiceSpec:
    url = f"http://127.0.0.1:{port}"
    return ServiceSpec(
        name=name,
        kind="worker",
        command=worker_command(),
        env={**inherited_environment(), **env, **worker_identity(name), "PORT": str(port)},
        address=url,
        ready=(f"{url}/livez",),
    )
