"""The Dockerfile as data: its stages, and in each the steps as they stand there."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

_SETTING = re.compile(r"(\w+)=(\S+)")
_KNOWN = frozenset({"ENV", "COPY", "RUN", "WORKDIR", "USER", "CMD"})


@dataclass(frozen=True)
class Step:
    """One instruction; `text` is what follows its word, continuation lines joined."""

    word: str
    text: str

    @property
    def sources(self) -> list[str]:
        """Of a COPY: what is copied, without options."""
        return [part for part in self.text.split()[:-1] if not part.startswith("--")]

    @property
    def target(self) -> str:
        """Of a COPY: where to."""
        return self.text.split()[-1]

    @property
    def from_stage(self) -> str:
        """Of a COPY: the stage that it copies from; empty for the build context."""
        found = re.search(r"--from=(\S+)", self.text)
        return found[1] if found else ""

    @property
    def settings(self) -> dict[str, str]:
        """Of an ENV: the variables."""
        return dict(_SETTING.findall(self.text))

    @property
    def command(self) -> list[str]:
        """Of a CMD in its exec form."""
        return [str(part) for part in json.loads(self.text)]


@dataclass(frozen=True)
class Stage:
    """FROM to FROM."""

    base: str
    name: str
    steps: list[Step] = field(default_factory=list)

    def last(self, word: str) -> Step:
        """The instruction that counts of those that overrule each other. Raises `IndexError` when there is none."""
        return [step for step in self.steps if step.word == word][-1]


def read(path: Path) -> list[Stage]:
    """The stages. Raises `ValueError` for an instruction that nobody here would carry out."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    stages: list[Stage] = []
    for line in (line.strip() for line in text.splitlines()):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            stages.append(Stage(base.strip(), name.strip()))
        elif word in _KNOWN:
            stages[-1].steps.append(Step(word, rest.strip()))
        elif word:
            raise ValueError(f"the Dockerfile says {word}, which this check does not carry out")
    return stages
