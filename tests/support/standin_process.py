"""A stand-in as a process of its own, with a file that keeps what it holds while it is restarted."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from infra.local.plan import GRPC_STANDINS, PROJECT_ROOT
from infra.local.ports import Ports
from infra.local.probes import wait_until_ready
from infra.local.processes import Child, ProcessGroup, ServiceSpec, terminate

_READY_WITHIN_S = 90.0
_ENDS_WITHIN_S = 10.0


@dataclass
class StandinProcess:
    """`address` is a URL, or host:port for gRPC; `admin_url` is the admin interface's base."""

    address: str
    admin_url: str
    kept: Path
    _group: ProcessGroup
    _child: Child

    def end(self) -> None:
        """SIGTERM; it must say that all is well."""
        terminate([self._child], grace_s=_ENDS_WITHIN_S)
        assert self._child.exit_status == 0, self._child.obituary()

    def start(self) -> None:
        """A new process on the old address."""
        self._child = self._group.spawn(self._child.spec)
        wait_until_ready(self._child, timeout_s=_READY_WITHIN_S, cancelled=threading.Event())

    def restart(self) -> None:
        self.end()
        self.start()

    def state(self) -> dict[str, Any]:
        answer = httpx.get(f"{self.admin_url}/_standin/state", trust_env=False)
        document: dict[str, Any] = answer.raise_for_status().json()
        return document

    def tell(self, door: str, document: Any, *, method: str = "POST") -> None:
        """To the admin interface."""
        url = f"{self.admin_url}/_standin/{door}"
        httpx.request(method, url, json=document, trust_env=False).raise_for_status()


@contextmanager
def standin_process(name: str, folder: Path, *arguments: str) -> Iterator[StandinProcess]:
    """Running while the block does; files go to `folder`."""
    ports, group, kept = Ports(), ProcessGroup(cwd=PROJECT_ROOT, log_dir=folder / "logs"), folder / "kept" / name
    port, admin_port = ports.take(), ports.take()
    is_grpc = name in GRPC_STANDINS
    admin_url = f"http://127.0.0.1:{admin_port if is_grpc else port}"
    address = f"127.0.0.1:{port}" if is_grpc else admin_url
    command = (sys.executable, "-m", f"infra.local.standins.{name}", "--port", str(port), "--state", str(kept))
    spec = ServiceSpec(
        name=name,
        kind="stand-in",
        command=(*command, *(("--admin-port", str(admin_port)) if is_grpc else ()), *arguments),
        env={"PATH": os.environ["PATH"]},
        address=address,
        ready=(*((f"tcp://{address}",) if is_grpc else ()), f"{admin_url}/_standin/health"),
    )
    group.open()
    try:
        process = StandinProcess(address, admin_url, kept, group, group.spawn(spec))
        wait_until_ready(process._child, timeout_s=_READY_WITHIN_S, cancelled=threading.Event())
        yield process
    finally:
        group.close()
        ports.release()
