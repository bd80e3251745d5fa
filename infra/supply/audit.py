"""`make audit`: known weaknesses of every package that the locks pin, by pip-audit and its public database.

No packaged copy of that database is kept up to date on the registries, so this needs a network. Exit status 0: looked,
and found none; 1: found some; 3: could not look, which is no good news.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from shared.pipeline import PIPELINE_FILE

ROOT = PIPELINE_FILE.parents[1]
LOCKS = ("requirements.txt", "requirements-dev.txt")
_TIMEOUT_S = 300


def weaknesses(report: dict[str, Any]) -> list[str]:
    """One line for each weakness in pip-audit's JSON report."""
    return [
        f"{package['name']} {package['version']}: {weakness['id']}, "
        f"mended in {', '.join(weakness['fix_versions']) or 'no release yet'}"
        for package in report["dependencies"]
        for weakness in package.get("vulns", ())
    ]


def look(lock: Path, *, extra: tuple[str, ...] = ()) -> tuple[list[str] | None, str]:
    """The weaknesses of a lock's packages, or None and the reason why nobody could look."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--require-hashes", "--disable-pip"]
        command += ["--progress-spinner", "off", "--timeout", "15", "--format", "json", "--output", str(report), *extra]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            return None, f"no answer within {_TIMEOUT_S} s"
        if not report.exists():
            return None, (done.stderr.strip().splitlines() or ["no report"])[-1]
        document = json.loads(report.read_text(encoding="utf-8"))
        skipped = [package["name"] for package in document["dependencies"] if "skip_reason" in package]
        if skipped:
            return None, f"nobody answered for {len(skipped)} packages, {', '.join(skipped[:3])} among them"
        return weaknesses(document), ""


def main() -> int:
    """Look at every lock, and say plainly what came of it."""
    status = 0
    for name in LOCKS:
        found, why_not = look(ROOT / name)
        if found is None:
            sys.stdout.write(f"{name}: COULD NOT LOOK: {why_not}\n")
            status = status or 3
            continue
        sys.stdout.write("".join(f"{name}: {line}\n" for line in found) or f"{name}: no known weakness\n")
        status = 1 if found else status
    return status


if __name__ == "__main__":
    sys.exit(main())
