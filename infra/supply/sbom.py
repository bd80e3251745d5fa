"""`make sbom`: what the image is made of, as a CycloneDX 1.6 document in build/, from the lock it is built from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from shared.pipeline import PIPELINE_FILE

ROOT = PIPELINE_FILE.parents[1]
FILE = ROOT / "build" / "sbom.cdx.json"


def write(path: Path) -> None:
    """Make the document; the same lock gives the same bytes. Raises `ValueError` when it is against its schema."""
    path.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "cyclonedx_py", "requirements", str(ROOT / "requirements.txt")]
    command += ["--pyproject", str(ROOT / "pyproject.toml"), "--output-reproducible", "--no-validate"]
    command += ["--sv", "1.6", "--output-format", "JSON", "--output-file", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    check(path.read_text(encoding="utf-8"))


def check(text: str) -> None:
    """Raises `ValueError` for what is no CycloneDX 1.6."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    if error := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        raise ValueError(f"no valid CycloneDX: {error}")


if __name__ == "__main__":
    write(FILE)
    sys.stdout.write(f"{FILE.relative_to(ROOT)}\n")
