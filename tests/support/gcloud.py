"""A `gcloud` on PATH that writes down how it was called and gives canned answers; and what the real one would take."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from infra.local.plan import PROJECT_ROOT

SCRIPTS = PROJECT_ROOT / "infra" / "scripts"


@dataclass
class FakeGcloud:
    """`answers`: shell patterns over the whole call → what is printed; the first match counts, others print nothing.

    In an answer `@4@` is the call's fourth word: `run services describe NAME`.
    """

    folder: Path
    answers: dict[str, str] = field(default_factory=dict)
    failing: set[str] = field(default_factory=set)
    """Patterns of calls that end with status 1, after they were written down."""

    def calls(self) -> list[str]:
        """Every call so far, without the program's name."""
        log = self.folder / "calls"
        return log.read_text(encoding="utf-8").splitlines() if log.exists() else []

    def run(self, command: Sequence[str], **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command that finds this gcloud; its working directory is this one's folder."""
        self._write()
        return subprocess.run(
            command,
            cwd=self.folder,
            env={**self._environment(), **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def script(self, name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run one of infra/scripts."""
        return self.run([str(SCRIPTS / name), *arguments], **environment)

    @contextmanager
    def started(self, name: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """One of infra/scripts, running; what it starts ends with the block at the latest."""
        self._write()
        script = subprocess.Popen(
            [str(SCRIPTS / name), *arguments], cwd=self.folder, env=self._environment(), start_new_session=True
        )
        try:
            yield script
        finally:
            with suppress(ProcessLookupError):
                os.killpg(script.pid, signal.SIGKILL)
            script.wait()

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}

    def _write(self) -> None:
        (self.folder / "bin").mkdir(exist_ok=True)
        lines = ["#!/bin/sh", f"printf '%s\\n' \"$*\" >>{shlex.quote(str(self.folder / 'calls'))}", 'case "$*" in']
        lines += [f"  {_pattern(pattern)}) exit 1 ;;" for pattern in sorted(self.failing)]
        for number, (pattern, text) in enumerate(self.answers.items()):
            answer = self.folder / f"answer-{number}"
            answer.write_text(text, encoding="utf-8")
            lines.append(f'  {_pattern(pattern)}) sed "s/@4@/$4/g" {shlex.quote(str(answer))} ;;')
        program = self.folder / "bin" / "gcloud"
        program.write_text("\n".join([*lines, "esac", ""]), encoding="utf-8")
        program.chmod(0o755)


def _pattern(pattern: str) -> str:
    return "*".join(shlex.quote(part) if part else "" for part in pattern.split("*"))


@cache
def _tree() -> Mapping[str, Any]:
    """The commands and flags of the installed gcloud, from the table that its own completion uses."""
    program = shutil.which("gcloud")
    table = Path(program).resolve().parents[1] / "data" / "cli" / "gcloud_completions.py" if program else None
    if table is None or not table.is_file():
        if os.environ.get("CI"):
            pytest.fail("no gcloud with its table of completions")
        pytest.skip("no gcloud with its table of completions")
    spec = importlib.util.spec_from_file_location("gcloud_completions", table)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    tree: Mapping[str, Any] = module.STATIC_COMPLETION_CLI_TREE
    return tree


def gcloud_fault(call: str) -> str:
    """What the installed gcloud would not know in a call; empty when it knows every word and flag."""
    node = _tree()
    known = set(node.get("flags", {}))
    words = shlex.split(call)
    while words and words[0] in node.get("commands", {}):
        node = node["commands"][words.pop(0)]
        known |= set(node.get("flags", {}))
    if node.get("commands"):
        return f"no command {words[:1]}"
    flags = [word.partition("=")[0] for word in words if word.startswith("--")]
    unknown = [flag for flag in flags if flag not in known]
    return f"no flag {unknown}" if unknown else ""
