"""A service started as Cloud Run starts it: PORT, a look whether it lives, SIGTERM, ten seconds."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

READY_S = 60.0
GRACE_S = 10.0
"""Cloud Run sends SIGKILL after so long."""
_LOOK_EVERY_S = 0.1
_ENDED_WELL = {0, 143, -15}


@dataclass(frozen=True)
class Started:
    """What to start, where and with which variables; neighbours are all away, which no service needs to live."""

    service: str
    command: Sequence[str]
    folder: Path
    environment: Mapping[str, str]


def problems_of(started: Started) -> list[str]:
    """What a service did that it must not, in words; empty when all is well."""
    port = _free_port()
    env = {
        **started.environment,
        "PORT": str(port),
        "FUNCTION_TARGET": started.service,
        "GOOGLE_CLOUD_PROJECT": "image-check",
        "PIPELINE_ENVIRONMENT": "local",
        "PIPELINE_PUSH_AUTH": "off",
        "SPANNER_EMULATOR_HOST": "127.0.0.1:9",
        "PUBSUB_EMULATOR_HOST": "127.0.0.1:9",
        "STORAGE_EMULATOR_HOST": "http://127.0.0.1:9",
        "SPANNER_DISABLE_BUILTIN_METRICS": "true",
        **{name: value for name, value in os.environ.items() if name.startswith("PIPELINE_LOCAL_")},
    }
    with subprocess.Popen(
        started.command, cwd=started.folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            problems = _look(process, port, started.service)
        finally:
            begun = time.monotonic()
            process.terminate()
            try:
                process.wait(timeout=GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
        if process.returncode not in _ENDED_WELL:
            said = (process.stdout.read() if process.stdout else b"").decode(errors="replace")
            problems.append(f"ended with {process.returncode} after {time.monotonic() - begun:.1f} s: {said[-500:]}")
    return problems


def _look(process: subprocess.Popen[bytes], port: int, service: str) -> list[str]:
    """Wait until it answers; the receiver's health page too, which says 503 while all neighbours are away."""
    ends_at = time.monotonic() + READY_S
    while (status := _status(port, "/livez")) is None and time.monotonic() < ends_at and process.poll() is None:
        time.sleep(_LOOK_EVERY_S)
    problems = [] if status == 200 else [f"/livez answered {status}"]
    if service == "webhook" and not problems and (health := _status(port, "/v1/health")) not in {200, 503}:
        problems.append(f"/v1/health answered {health}")
    return problems


def _status(port: int, path: str) -> int | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=15)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError:
        return None
    finally:
        connection.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
