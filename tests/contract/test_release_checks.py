"""The scripts that look before and after a release: smoke test, health, scan; and no script acts on half a command."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from infra.local.plan import PROJECT_ROOT
from tests.support.gcloud import SCRIPTS, FakeGcloud
from tests.support.releasing import (
    IMAGE,
    PLACE,
    SHIFT,
    WELL,
    described,
    knows_every_call,
    previous_of,
    served,
    well_project,
)


@pytest.fixture
def gcloud(tmp_path: Path) -> FakeGcloud:
    return well_project(tmp_path)


@pytest.mark.parametrize(
    ("change", "status", "told"),
    [
        ({}, 0, ""),
        ({"/v1/health": (503, "{}")}, 1, "health: 503"),
        ({"/v1/callrail/webhook": (202, "{}")}, 1, "nobody signed: 202"),
        ({"/internal/sweep": (200, "{}")}, 1, "other page: 200"),
    ],
)
def test_the_smoke_test_sees_what_is_wrong(
    gcloud: FakeGcloud, change: dict[str, tuple[int, str]], status: int, told: str
) -> None:
    with served(WELL | change) as (url, _):
        ended = gcloud.script("smoke.sh", "--url", url)

    assert ended.returncode == status, ended.stderr
    assert told in ended.stderr


def test_the_smoke_test_finds_the_candidate_and_asks_every_service_whether_it_is_ready(gcloud: FakeGcloud) -> None:
    with served(WELL) as (url, _):
        answer = described(url=url)
        gcloud.answers = {"run services describe*": answer}
        assert gcloud.script("smoke.sh", *PLACE, "--tag", "candidate").returncode == 0

    gcloud.answers = {"run services describe pipeline-analyze*": described(ready="False"), **gcloud.answers}
    ended = gcloud.script("smoke.sh", *PLACE)
    assert ended.returncode != 0
    assert "pipeline-analyze is not ready" in ended.stderr


def test_a_candidate_behind_the_load_balancer_is_ready_and_not_asked(gcloud: FakeGcloud) -> None:
    document = json.loads(described(url="http://127.0.0.1:1"))
    document["metadata"] = {"annotations": {"run.googleapis.com/ingress": "internal-and-cloud-load-balancing"}}
    gcloud.answers = {"run services describe*": json.dumps(document)}

    ended = gcloud.script("smoke.sh", *PLACE, "--tag", "candidate")

    assert ended.returncode == 0, ended.stderr
    assert "behind the load balancer only" in ended.stdout


def test_the_health_check_names_what_is_not_well(gcloud: FakeGcloud) -> None:
    well = {
        "spanner instances describe*": "READY",
        "compute ssl-certificates describe*": "ACTIVE",
        "compute forwarding-rules describe*": "203.0.113.10",
    }
    gcloud.answers |= well
    ended = gcloud.script("health-check.sh", *PLACE)
    assert ended.returncode == 0, ended.stdout
    assert knows_every_call(gcloud)

    gcloud.answers["compute ssl-certificates describe*"] = "PROVISIONING"
    ended = gcloud.script("health-check.sh", *PLACE)
    assert ended.returncode == 1
    assert "FAIL  certificate pipeline-ssl-cert: PROVISIONING" in ended.stdout


def test_a_critical_vulnerability_ends_the_build(gcloud: FakeGcloud) -> None:
    gcloud.answers |= {"artifacts docker images scan*": "scan-1", "artifacts docker images list-*": "LOW\nCRITICAL\n"}
    assert gcloud.script("scan.sh", "--image", "pipeline:1").returncode == 1
    assert gcloud.script("scan.sh", "--image", "pipeline:1", "--refuse", "HIGH").returncode == 0
    assert knows_every_call(gcloud)


@pytest.mark.parametrize(
    "command",
    [
        ("rollback.sh",),
        ("rollback.sh", "everything", *PLACE),
        ("rollback.sh", "schema", *PLACE, "--to", "eight"),
        ("rollback.sh", "restore", *PLACE, "--backup", "daily-1"),
        ("deploy.sh", *PLACE, "--image", IMAGE, "--release", "Not A Suffix", "--previous", "previous.txt"),
        ("deploy.sh", "--project"),
        ("shift-traffic.sh", *SHIFT, "--steps", "10,50"),
        ("shift-traffic.sh", *SHIFT, "--watch-s", "soon"),
        ("shift-traffic.sh", *PLACE, "--release", "r-new", "--previous", "missing.txt"),
        ("migrate.sh", *PLACE, "--image", IMAGE, "--force", "yes"),
        ("migrate.sh", *PLACE, "--image", ""),
        ("tag-release.sh", "--image", "pipeline:latest", "--release", "r-new"),
        ("smoke.sh", "--project", "demo-project"),
    ],
    ids=lambda command: " ".join(command)[:60],
)
def test_a_command_that_says_too_little_or_nonsense_does_nothing(gcloud: FakeGcloud, command: tuple[str, ...]) -> None:
    previous_of(gcloud)
    ended = gcloud.script(*command)

    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.startswith(command[0])
    assert gcloud.calls() == []


def test_every_script_passes_shellcheck() -> None:
    scripts = sorted(str(path) for path in SCRIPTS.glob("*.sh"))
    program = PROJECT_ROOT / ".venv" / "bin" / "shellcheck"

    ended = subprocess.run([program, "-x", *scripts], capture_output=True, text=True, check=False)

    assert len(scripts) > 6
    assert ended.returncode == 0, ended.stdout
