"""A series of chaos runs keeps what it has and goes on from there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from infra.local.chaos.series import run_series, seed_line, series_line

SAME = {"calls": 10, "duration_s": 5.0}


def outcome(seed: int, **changes: Any) -> dict[str, Any]:
    figures = {"lost": 0, "duplicated": 0, "double_paid": 0, "stuck": 0}
    return {"seed": seed, **SAME, **figures, "holds": True, "settled": True, "invariants": [], **changes}


class Runs:
    """Runs that end as told, and are counted."""

    def __init__(self) -> None:
        self.seeds: list[int] = []

    def __call__(self, seed: int) -> Mapping[str, Any]:
        self.seeds.append(seed)
        return outcome(seed)


def test_every_seed_runs_once_and_is_in_the_report(tmp_path: Path) -> None:
    runs, report = Runs(), tmp_path / "series.jsonl"

    done = list(run_series(range(1, 4), report=report, same=SAME, run=runs))

    assert [one["seed"] for one in done] == runs.seeds == [1, 2, 3]
    assert len(report.read_text().splitlines()) == 3


@pytest.mark.parametrize("cut", ["", '{"seed": 2, "cal'])
def test_a_series_that_was_interrupted_goes_on_with_the_seeds_that_are_missing(tmp_path: Path, cut: str) -> None:
    report = tmp_path / "series.jsonl"
    list(run_series(range(1, 2), report=report, same=SAME, run=Runs()))
    with report.open("a") as file:
        file.write(cut)
    runs = Runs()

    done = list(run_series(range(1, 4), report=report, same=SAME, run=runs))

    assert runs.seeds == [2, 3]
    assert [one["seed"] for one in done] == [1, 2, 3]
    again = Runs()
    list(run_series(range(1, 4), report=report, same=SAME, run=again))
    assert again.seeds == []


def test_runs_of_another_size_do_not_count(tmp_path: Path) -> None:
    report, runs = tmp_path / "series.jsonl", Runs()
    list(run_series(range(1, 2), report=report, same=SAME, run=Runs()))

    list(run_series(range(1, 2), report=report, same={**SAME, "calls": 1000}, run=runs))

    assert runs.seeds == [1]


def test_a_line_says_what_broke() -> None:
    broken = [{"name": "no taken call is lost", "holds": False}, {"name": "every request has ended", "holds": True}]
    failed = outcome(7, lost=1, holds=False, settled=False, invariants=broken)

    assert seed_line(failed) == (
        "FAIL  seed=7 calls=10 lost=1 duplicated=0 double_paid=0 stuck=0"
        " (no taken call is lost; the stack did not come to rest)"
    )
    assert seed_line(outcome(8)) == "ok    seed=8 calls=10 lost=0 duplicated=0 double_paid=0 stuck=0"
    assert series_line([failed, outcome(8)]) == (
        "1 of 2 seeds hold, 20 calls: lost=1 duplicated=0 double_paid=0 stuck=0"
    )
