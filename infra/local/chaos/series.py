"""Several chaos runs one after the other: a line for each seed, kept in a report file, so that a series can go on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

Run = Callable[[int], Mapping[str, Any]]
"""Runs one seed to its document (`ChaosResult.document`)."""

_FIGURES = ("lost", "duplicated", "double_paid", "stuck")


def run_series(seeds: range, *, report: Path, same: Mapping[str, Any], run: Run) -> Iterator[Mapping[str, Any]]:
    """Each seed's document, in order. A seed that `report` holds a run of is not run again.

    `report` is JSON lines, appended after each run. Only lines that agree with `same` (calls, duration) count.
    """
    lines = [line for line in _lines_of(report) if same.items() <= line.items()]
    known: dict[int, Mapping[str, Any]] = {line["seed"]: line for line in lines}
    for seed in seeds:
        if seed not in known:
            known[seed] = run(seed)
            with report.open("a", encoding="utf-8") as file:
                file.write(json.dumps(known[seed]) + "\n")
        yield known[seed]


def _lines_of(report: Path) -> list[Mapping[str, Any]]:
    """A last line that a kill cut short is left out; its seed runs again."""
    if not report.exists():
        return []
    found: list[Mapping[str, Any]] = []
    text = report.read_text(encoding="utf-8")
    for line in text.splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    if text and not text.endswith("\n"):
        with report.open("a", encoding="utf-8") as file:
            file.write("\n")
    return found


def seed_line(document: Mapping[str, Any]) -> str:
    """One run in one line, with the invariants that broke."""
    figures = " ".join(f"{name}={document[name]}" for name in _FIGURES)
    verdict = "ok  " if document["holds"] else "FAIL"
    broken = [one["name"] for one in document["invariants"] if not one["holds"]]
    if not document["settled"]:
        broken.append("the stack did not come to rest")
    reasons = f" ({'; '.join(broken)})" if broken else ""
    return f"{verdict}  seed={document['seed']} calls={document['calls']} {figures}{reasons}"


def series_line(documents: list[Mapping[str, Any]]) -> str:
    """The sum of a series."""
    figures = " ".join(f"{name}={sum(one[name] for one in documents)}" for name in _FIGURES)
    held = sum(bool(one["holds"]) for one in documents)
    return f"{held} of {len(documents)} seeds hold, {sum(one['calls'] for one in documents)} calls: {figures}"
