"""Load from wrk: found or installed, run with prepared webhooks, its findings read back."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from infra.local.errors import Report
from shared.errors import ConfigurationError

_SCRIPT = Path(__file__).with_name("rotate.lua")
_INSTALL = ("apt-get", "install", "-y", "--no-install-recommends", "wrk")
_INSTALL_TIMEOUT_S = 180
_ANSWER_TIMEOUT_S = 15
"""Longer than the receiver's own wait for a publish: a slow answer is measured, not cut off."""


@dataclass(frozen=True)
class Findings:
    """What one run of wrk saw."""

    accepted: int
    """Answers that said success."""
    duration_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    errors: int
    """Answers that did not, and everything below HTTP: refused connections, broken ones, no answer in time."""


def find_wrk(report: Report) -> Path:
    """The program, installed first where that is possible. Raises `ConfigurationError` with what to run."""
    found = shutil.which("wrk")
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        report("installing wrk (apt-get)")
        _install()
        found = shutil.which("wrk")
    if found is None:
        raise ConfigurationError(
            "no_wrk",
            "the load generator wrk is not installed",
            fix="sudo apt-get install wrk (macOS: brew install wrk), or leave it out: --only stages,startup",
        )
    return Path(found)


def _install() -> None:
    """What fails here is told by `find_wrk`, which then still finds nothing."""
    subprocess.run(
        _INSTALL,
        check=False,
        timeout=_INSTALL_TIMEOUT_S,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def run_wrk(wrk: Path, url: str, *, webhooks: Path, connections: int, seconds: int) -> Findings:
    """Keep `connections` senders busy, each waiting for its answer. Raises `ConfigurationError` when wrk cannot run."""
    command = [
        str(wrk),
        "--threads=1",  # it needs a small part of a core; a second thread would only compete with the receiver
        f"--connections={connections}",
        f"--duration={seconds}s",
        f"--timeout={_ANSWER_TIMEOUT_S}s",
        f"--script={_SCRIPT}",
        url,
        "--",
        str(webhooks),
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=seconds + 60)
    line = next((line for line in reversed(done.stdout.splitlines()) if line.startswith("{")), None)
    if done.returncode != 0 or line is None:
        raise ConfigurationError("wrk_failed", f"wrk ended with status {done.returncode}: {done.stderr.strip()[-300:]}")
    return read_findings(line)


def read_findings(line: str) -> Findings:
    """The JSON line that `rotate.lua` prints."""
    seen = json.loads(line)
    return Findings(
        accepted=seen["answered"] - seen["bad_status"],
        duration_s=seen["duration_s"],
        p50_ms=seen["p50_ms"],
        p95_ms=seen["p95_ms"],
        p99_ms=seen["p99_ms"],
        errors=sum(seen[name] for name in ("bad_status", "connect", "read", "write", "timeout")),
    )
