"""cloudbuild.yaml: it fits Cloud Build's schema, its steps hang together, and the releasing ones run as written."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.local.plan import PROJECT_ROOT
from tests.support.gcloud import FakeGcloud
from tests.support.releasing import (
    IMAGE,
    SERVICES,
    WELL,
    described,
    knows_every_call,
    monitoring,
    moves,
    served,
    well_project,
)

BUILD: dict[str, Any] = yaml.safe_load((PROJECT_ROOT / "cloudbuild.yaml").read_text(encoding="utf-8"))
GIVEN_BY_CLOUD_BUILD = {"PROJECT_ID": "demo-project", "SHORT_SHA": "1234abc"}
RELEASING = ["migrate", "deploy-without-traffic", "smoke-test", "shift-traffic", "tag-release"]


@pytest.fixture
def gcloud(tmp_path: Path) -> FakeGcloud:
    return well_project(tmp_path)


def with_substitutions(text: str) -> str:
    """As Cloud Build reads it. KeyError for a name that nobody defines; its `dynamicSubstitutions` allow nesting."""
    values = BUILD["substitutions"] | GIVEN_BY_CLOUD_BUILD

    def value(match: re.Match[str]) -> str:
        return "$" if match[0] == "$$" else with_substitutions(values[match[1] or match[2]])

    return re.sub(r"\$\$|\$\{(\w+)\}|\$(\w+)", value, text)


def test_cloudbuild_yaml_fits_cloud_builds_schema() -> None:
    program = PROJECT_ROOT / ".venv" / "bin" / "check-jsonschema"
    words = [str(program), "--builtin-schema", "vendor.cloudbuild", str(PROJECT_ROOT / "cloudbuild.yaml")]

    ended = subprocess.run(words, capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stdout


def test_steps_wait_for_steps_that_come_before_them_and_end_in_one_line() -> None:
    seen: set[str] = {"-"}
    for step in BUILD["steps"]:
        assert set(step.get("waitFor", [])) <= seen, step["id"]
        seen.add(step["id"])
    waits = {step["id"]: step.get("waitFor", []) for step in BUILD["steps"]}
    assert [waits[step] for step in RELEASING] == [["push"], *([step] for step in RELEASING[:-1])]
    assert set(waits["push"]) == {"lint-and-test", "sbom-and-audit", "scan"}


def test_every_substitution_is_defined_and_every_script_is_there() -> None:
    for step in BUILD["steps"]:
        for word in step["args"]:
            text = with_substitutions(word)
            named = re.findall(r"(?:infra/scripts/[\w-]+\.sh|\.ci/run)", text)
            assert [name for name in named if not (PROJECT_ROOT / name).is_file()] == []
    used = set(re.findall(r"\$\{(_\w+)\}", (PROJECT_ROOT / "cloudbuild.yaml").read_text(encoding="utf-8")))
    assert used == set(BUILD["substitutions"])


def test_the_releasing_steps_run_as_they_are_written(gcloud: FakeGcloud) -> None:
    """Word for word from cloudbuild.yaml, one after the other, in one working directory, as Cloud Build runs them."""
    steps = {step["id"]: step for step in BUILD["steps"]}
    (gcloud.folder / "infra").symlink_to(PROJECT_ROOT / "infra")
    (gcloud.folder / "image.txt").write_text(IMAGE)
    with served(WELL) as (url, _), monitoring(("pipeline-webhook", "202", 100)) as api:
        gcloud.answers["run services describe*--format=json*"] = described(url=url)
        for name in RELEASING:
            step = steps[name]
            words = [with_substitutions(word).replace("--watch-s 300", "--watch-s 0") for word in step["args"]]
            ended = gcloud.run([step["entrypoint"], *words], MONITORING_API=api)
            assert ended.returncode == 0, f"{name}: {ended.stderr}"

    assert moves(gcloud)[-1] == (SERVICES[-1], f"{SERVICES[-1]}-r-1234abc=100")
    assert gcloud.calls()[-1].endswith("pipeline:production --quiet")
    assert knows_every_call(gcloud)
