"""The Dockerfile's own files are enough to run: copied as COPY says into an empty folder, served as the CMD says.

`make image-check` does the same with every service, its packages installed from the lock, read-only and without rights.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from infra.supply.dockerfile import Stage, read
from infra.supply.image import ROOT, copy
from infra.supply.served import Started, problems_of


@pytest.fixture(scope="module")
def final() -> Stage:
    return read(ROOT / "Dockerfile")[-1]


def test_the_service_does_not_run_as_root(final: Stage) -> None:
    assert final.last("USER").text not in {"root", "0"}


def test_an_instruction_that_the_check_does_not_carry_out_stops_it(tmp_path: Path) -> None:
    unknown = tmp_path / "Dockerfile"
    unknown.write_text("FROM a AS b\nVOLUME /data\n", encoding="utf-8")
    with pytest.raises(ValueError, match="VOLUME"):
        read(unknown)


def _copied(final: Stage, folder: Path) -> Started:
    for step in final.steps:
        if step.word == "COPY" and not step.from_stage:
            copy(step.sources, step.target, root=ROOT, folder=folder)
    said = {name: value for step in final.steps if step.word == "ENV" for name, value in step.settings.items()}
    workdir = final.last("WORKDIR").text
    environment = {name: value.replace(workdir, str(folder)) for name, value in said.items()}
    environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return Started("webhook", final.last("CMD").command, folder, {**environment, "PIPELINE_BIND_HOST": "127.0.0.1"})


def test_what_is_copied_is_enough_and_nothing_is_written_beside_it(final: Stage, tmp_path: Path) -> None:
    started = _copied(final, tmp_path)
    before = set(tmp_path.rglob("*"))
    assert not (tmp_path / "infra" / "local").exists()
    assert not (tmp_path / "tests").exists()

    assert problems_of(started) == []

    assert set(tmp_path.rglob("*")) == before


def test_a_file_that_is_missing_is_noticed(final: Stage, tmp_path: Path) -> None:
    started = _copied(final, tmp_path)
    (tmp_path / "infra" / "pipeline.json").unlink()
    assert any("livez" in problem for problem in problems_of(started))
