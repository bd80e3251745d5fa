"""Finds promtool, which evaluates the alarms' PromQL as Prometheus does; fetches it from Debian's `prometheus` package.

Only the one program is taken out: the package itself would start a service.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from infra.local.errors import Report, StackError
from infra.local.plan import PROJECT_ROOT

TOOLS = PROJECT_ROOT / ".local" / "tools"
_PACKAGE = "prometheus"


def ensure_promtool(report: Report) -> Path:
    """The program, fetched now when missing. Raises `StackError` saying what a person can run."""
    if found := shutil.which("promtool"):
        return Path(found)
    program = TOOLS / "promtool"
    TOOLS.mkdir(parents=True, exist_ok=True)
    with (TOOLS / "lock").open("w") as lock:  # several test workers come at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            _fetch(program, report)
    return program


def _fetch(program: Path, report: Report) -> None:
    missing = [tool for tool in ("apt-get", "dpkg-deb") if shutil.which(tool) is None]
    if missing:
        raise StackError(
            "no_promtool", "promtool is not on PATH", fix="install Prometheus's promtool and put it on PATH"
        )
    report(f"fetching promtool from the package {_PACKAGE}")
    with tempfile.TemporaryDirectory(prefix="promtool-") as folder:
        if not _run(["apt-get", "download", "--quiet", _PACKAGE], folder):
            # The lists of packages may be missing or old; only root may renew them.
            _run(["apt-get", "update", "--quiet"], folder)
            if not _run(["apt-get", "download", "--quiet", _PACKAGE], folder):
                raise StackError(
                    "no_promtool", f"package {_PACKAGE} could not be fetched", fix=f"sudo apt-get install {_PACKAGE}"
                )
        (archive,) = Path(folder).glob("*.deb")
        _run(["dpkg-deb", "--extract", str(archive), folder], folder)
        found = Path(folder) / "usr" / "bin" / "promtool"
        if not found.exists():
            raise StackError("no_promtool", f"package {_PACKAGE} has no promtool", fix="put promtool on PATH")
        partial = program.with_suffix(".part")
        shutil.copy(found, partial)
        partial.replace(program)


def _run(command: list[str], folder: str) -> bool:
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.stderr.write(done.stderr[-500:])
    return done.returncode == 0
