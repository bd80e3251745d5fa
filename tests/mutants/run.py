"""`make mutants`: puts one fault after the other into a copy of the tree and says which no test notices."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from infra.local.plan import PROJECT_ROOT
from tests.mutants.faults import FAULTS, Fault

_LEFT_OUT = shutil.ignore_patterns(".git", ".venv", ".local", "build", "__pycache__", ".*_cache", "*.jsonl")
_LONGEST_S = 300.0
"""A fault may make tests hang: that is noticed too."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0 when every fault was noticed, 1 when one was not, 2 for a wrong argument."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("--only", metavar="TEXT", default="", help="faults whose name contains this")
    wanted = parser.parse_args(arguments).only
    faults = [fault for fault in FAULTS if wanted in fault.name]
    if not faults:
        parser.error(f"no fault's name contains {wanted!r}")
    unnoticed = []
    with tempfile.TemporaryDirectory(prefix="pipeline-mutants-") as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(PROJECT_ROOT, tree, ignore=_LEFT_OUT)
        for number, fault in enumerate(faults, 1):
            begun = time.monotonic()
            noticed_by = _who_notices(tree, fault)
            seconds = time.monotonic() - begun
            _out(f"{number:3}/{len(faults)} {seconds:4.0f} s  {fault.name}: {noticed_by or 'NOBODY NOTICED'}")
            if not noticed_by:
                unnoticed.append(fault)
    _out(f"{len(faults)} faults, {len(unnoticed)} unnoticed")
    return 1 if unnoticed else 0


def with_fault(fault: Fault, source: str) -> str:
    """The source with the fault in it. Raises `ValueError` when the place is gone or is there more than once."""
    if source.count(fault.before) != 1:
        raise ValueError(f"{fault.name}: {fault.file} has the place {source.count(fault.before)} times; mend the fault")
    return source.replace(fault.before, fault.after)


def _who_notices(tree: Path, fault: Fault) -> str:
    """The first test that fails, empty when all pass."""
    file = tree / fault.file
    sound = file.read_text()
    file.write_text(with_fault(fault, sound))
    try:
        return _first_failure(tree, fault.tests)
    finally:
        file.write_text(sound)


def _first_failure(tree: Path, tests: Sequence[str]) -> str:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", *tests]
    # Bytecode of a fault must not outlive it: two faults in one file can have the same size and second.
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "CI": "1"}
    try:
        done = subprocess.run(  # our own command
            command, cwd=tree, env=env, capture_output=True, text=True, timeout=_LONGEST_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no end within {_LONGEST_S:.0f} s"
    if done.returncode == 0:
        return ""
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    if done.returncode != 1 or not failed:
        raise RuntimeError(f"pytest ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return failed[0].split(" - ")[0].split("::", 1)[-1]


def _out(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
