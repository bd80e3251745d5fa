"""Set-up keeps standard output free: on a fresh machine `make demo ARGS=--json` prints one JSON document there."""

from __future__ import annotations

import subprocess
from pathlib import Path

from infra.local.plan import PROJECT_ROOT

A_PYTHON = """#!/bin/sh
if [ "$1" = "-m" ]; then
  mkdir -p .venv/bin
  printf '#!/bin/sh\\necho "Collecting packages"\\n' > .venv/bin/pip
  chmod +x .venv/bin/pip
fi
echo "Python 3.11.7"
"""


def test_what_setup_says_goes_to_standard_error(tmp_path: Path) -> None:
    python = tmp_path / "python3"
    python.write_text(A_PYTHON, encoding="utf-8")
    python.chmod(0o755)

    script = PROJECT_ROOT / "infra/local/setup.sh"
    ran = subprocess.run(["bash", script, python], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=True)

    assert ran.stdout == ""
    assert "creating .venv" in ran.stderr
    assert ran.stderr.count("Collecting packages") == 2 + 1, "the installer, the packages, the project"
