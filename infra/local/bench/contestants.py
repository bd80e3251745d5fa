"""The two receivers of the race, started alike: same server, same configuration, same number of processes."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.local.bench.bare import KEY_VARIABLE
from infra.local.plan import PROJECT_ROOT, worker_command, worker_identity
from infra.local.ports import Ports
from infra.local.probes import wait_until_ready
from infra.local.processes import Child, ProcessGroup, ServiceSpec, terminate
from infra.local.senders import WEBHOOK_PATH

WORKERS = 2
"""One process for each core of the small machine that peers measured on."""
_READY_TIMEOUT_S = 30.0
_GRACE_S = 10.0
_INHERITED = ("PATH", "HOME", "TMPDIR", "LANG")


@dataclass(frozen=True)
class Contestant:
    """A running receiver."""

    name: str
    url: str
    topic: str
    log: Path


@contextlib.contextmanager
def contestants(
    env: Mapping[str, str], *, key: str, folder: Path, workers: int = WORKERS
) -> Iterator[tuple[Contestant, Contestant]]:
    """The bare handler and the receiver, ready for load; both end with the block."""
    group, ports = ProcessGroup(cwd=PROJECT_ROOT, log_dir=folder), Ports()
    group.open()
    try:
        specs = [
            _spec("bare", _bare_command(), {**env, KEY_VARIABLE: key}, port=ports.take(), workers=workers),
            _spec("receiver", worker_command(), env, port=ports.take(), workers=workers),
        ]
        children = [group.spawn(spec) for spec in specs]
        for child in children:
            wait_until_ready(child, timeout_s=_READY_TIMEOUT_S, cancelled=threading.Event())
        bare, receiver = (_contestant(child) for child in children)
        yield bare, receiver
        terminate(children, grace_s=_GRACE_S)
    finally:
        group.close()
        ports.release()


def _contestant(child: Child) -> Contestant:
    name = child.spec.name
    return Contestant(name, url=f"{child.spec.address}{WEBHOOK_PATH}", topic=topic_of(name), log=child.log)


def topic_of(contestant: str) -> str:
    """The topic that a contestant publishes to: `call-received` behind a prefix of its own."""
    return f"bench-{contestant}-call-received"


def inherited_environment() -> dict[str, str]:
    """What every process of a bench sees of the caller's environment."""
    return {name: os.environ[name] for name in _INHERITED if name in os.environ}


def _spec(name: str, command: tuple[str, ...], env: Mapping[str, str], *, port: int, workers: int) -> ServiceSpec:
    url = f"http://127.0.0.1:{port}"
    return ServiceSpec(
        name=name,
        kind="worker",
        command=(*command[:-1], "--workers", str(workers), command[-1]),
        env={
            **inherited_environment(),
            **env,
            # Both: the bare handler's number of threads is the receiver's.
            **worker_identity("webhook"),
            "PIPELINE_TOPIC_PREFIX": f"bench-{name}-",
            # All the load is one tenant's, and the race is about what the receiver can do, not about what it allows.
            "PIPELINE_RECEIVER_TENANT_RATE": "1000000",
            "PIPELINE_RECEIVER_TENANT_BURST": "1000000",
            "PORT": str(port),
        },
        address=url,
        ready=(f"{url}/livez",),
    )


def _bare_command() -> tuple[str, ...]:
    config = str(PROJECT_ROOT / "handlers" / "gunicorn_conf.py")
    return (sys.executable, "-m", "gunicorn", "--config", config, "infra.local.bench.bare:create_app()")
