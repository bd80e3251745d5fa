"""Runs targets for a time: counts inputs, makes what it finds small, writes it down so that it can be repeated."""

from __future__ import annotations

import ast
import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import seed as seeded

from tests.fuzz.target import Target, production_log

FIRST_ROUND = 30
_ROUND_S = 2.0
"""A round is as many inputs as take about so long: the budget is looked at between rounds."""
_MOST_A_ROUND = 1_000

Say = Callable[[str], None]


@dataclass(frozen=True)
class Result:
    """What became of one target. `fault` is empty when every promise held."""

    target: str
    inputs: int
    seconds: float
    fault: str = ""
    saved: Path | None = None


def run(target: Target, *, budget_s: float, seed: int, folder: Path, say: Say, most: int | None = None) -> Result:
    """Feed a target until the time is over, `most` inputs were tried, or one broke a promise."""
    session = _Session(target)
    begun = time.monotonic()
    round_, size = 0, min(FIRST_ROUND, most or FIRST_ROUND)
    while (spent_s := time.monotonic() - begun) < budget_s and (most is None or session.inputs < most):
        if round_:
            rate = session.inputs / spent_s
            size = max(1, min(_MOST_A_ROUND, int(rate * min(_ROUND_S, budget_s - spent_s))))
            size = size if most is None else min(size, most - session.inputs)
        try:
            session.round(examples=size, seed=seed + round_)
        except Exception as error:
            seconds = time.monotonic() - begun
            saved = write_down(target.name, session.failing, error, folder)
            return Result(target.name, session.inputs, seconds, _in_a_line(error), saved)
        round_ += 1
        say(f"{target.name}: {session.inputs:,} inputs")
    return Result(target.name, session.inputs, time.monotonic() - begun)


class _Session:
    """The inputs of one target."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self.inputs = 0
        self.failing: Any = None

    def round(self, *, examples: int, seed: int) -> None:
        """Raises what the smallest failing input raised."""

        def trial(fuzzed: Any) -> None:
            self.inputs += 1
            try:
                self._target.try_one(fuzzed)
            except Exception:
                self.failing = fuzzed
                raise

        chosen = settings(
            max_examples=examples,
            deadline=None,  # ours is stricter, and stops a hanging input
            database=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
            verbosity=Verbosity.quiet,
            report_multiple_bugs=False,
        )
        with production_log():
            seeded(seed)(chosen(given(self._target.inputs)(trial)))()


def repeat(targets: Sequence[Target], path: Path) -> None:
    """Try a saved input again. Raises what it raises."""
    name, given_ = read_down(path)
    target = next(item for item in targets if item.name == name)
    with production_log():
        target.try_one(given_)


def write_down(name: str, given_: Any, error: Exception, folder: Path) -> Path:
    """A file with the input as a literal, and in comments what it broke."""
    folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(repr(given_).encode()).hexdigest()[:8]
    path = folder / f"{name}-{digest}.txt"
    path.write_text(f"# {name}\n# {_in_a_line(error)}\n{given_!r}\n", encoding="utf-8")
    return path


def read_down(path: Path) -> tuple[str, Any]:
    """Target and input of a file."""
    lines = path.read_text(encoding="utf-8").split("\n")
    literal = "\n".join(line for line in lines if not line.startswith("#"))
    return lines[0].removeprefix("# "), ast.literal_eval(literal.strip())


def _in_a_line(error: BaseException) -> str:
    """What did not happen again is a group, whose own text does not say what it was."""
    if isinstance(error, BaseExceptionGroup) and error.exceptions:
        return f"{type(error).__name__}: {'; '.join(_in_a_line(one) for one in error.exceptions)}"[:300]
    return f"{type(error).__name__}: {error}".replace("\n", " ")[:300]
