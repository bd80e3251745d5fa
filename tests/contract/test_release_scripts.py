"""Deploying, migrating and shifting traffic: the scripts of infra/scripts against a gcloud that keeps a list."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.gcloud import SCRIPTS, FakeGcloud
from tests.support.releasing import (
    IMAGE,
    PLACE,
    RELEASE,
    SERVICES,
    SHIFT,
    WELL,
    knows_every_call,
    monitoring,
    moves,
    previous_of,
    served,
    well_project,
)
from tests.support.waiting import eventually


@pytest.fixture
def gcloud(tmp_path: Path) -> FakeGcloud:
    return well_project(tmp_path)


# --- deploy and migrate -----------------------------------------------------------------------------------


def test_a_deployment_touches_no_traffic_and_writes_down_what_serves(gcloud: FakeGcloud) -> None:
    ended = gcloud.script("deploy.sh", *PLACE, *RELEASE, "--image", IMAGE)

    assert ended.returncode == 0, ended.stderr
    updates = [call for call in gcloud.calls() if call.startswith("run services update ")]
    assert [call.split()[3] for call in updates] == SERVICES
    assert all("--no-traffic" in call and IMAGE in call and "--revision-suffix r-new" in call for call in updates)
    assert (gcloud.folder / "previous.txt").read_text().split("\n")[0] == f"{SERVICES[0]} {SERVICES[0]}-r-old"
    assert knows_every_call(gcloud)


def test_nothing_is_deployed_while_a_service_serves_nothing(gcloud: FakeGcloud) -> None:
    gcloud.answers = {"run services describe pipeline-operator*": '{"status": {}}', **gcloud.answers}

    ended = gcloud.script("deploy.sh", *PLACE, *RELEASE, "--image", IMAGE)

    assert ended.returncode == 2
    assert "pipeline-operator" in ended.stderr
    assert [call for call in gcloud.calls() if " update " in call] == []


def test_a_migration_runs_the_new_image_and_waits(gcloud: FakeGcloud) -> None:
    assert gcloud.script("migrate.sh", *PLACE, "--image", IMAGE).returncode == 0

    first, second = gcloud.calls()
    assert f"--image {IMAGE}" in first
    assert "pipeline-migrate --wait" in second
    assert knows_every_call(gcloud)


def test_a_failed_migration_fails_the_step(gcloud: FakeGcloud) -> None:
    gcloud.failing = {"run jobs execute*"}

    assert gcloud.script("migrate.sh", *PLACE, "--image", IMAGE).returncode != 0


# --- shifting traffic -------------------------------------------------------------------------------------


def test_traffic_moves_in_steps_while_the_release_behaves(gcloud: FakeGcloud) -> None:
    previous_of(gcloud)
    with monitoring(("pipeline-webhook", "202", 5000), ("pipeline-webhook", "500", 4)) as api:
        ended = gcloud.script("shift-traffic.sh", *SHIFT, MONITORING_API=api)

    assert ended.returncode == 0, ended.stderr
    ours = [revisions for service, revisions in moves(gcloud) if service == "pipeline-crm-sync"]
    assert ours == [
        "pipeline-crm-sync-r-new=10,pipeline-crm-sync-r-old=90",
        "pipeline-crm-sync-r-new=50,pipeline-crm-sync-r-old=50",
        "pipeline-crm-sync-r-new=100",
    ]
    assert len(moves(gcloud)) == 3 * len(SERVICES)
    assert knows_every_call(gcloud)


def test_many_errors_bring_every_service_back_at_once(gcloud: FakeGcloud) -> None:
    previous_of(gcloud)
    with monitoring(("pipeline-analyze", "204", 90), ("pipeline-analyze", "500", 10)) as api:
        ended = gcloud.script("shift-traffic.sh", *SHIFT, MONITORING_API=api)

    assert ended.returncode == 1
    assert "rolling back" in ended.stderr
    assert moves(gcloud)[len(SERVICES) :] == [(name, f"{name}-r-old=100") for name in SERVICES]


@pytest.mark.parametrize("answer", [(500, "down"), (200, "no json"), (200, '{"status": "error", "error": "quota"}')])
def test_a_release_that_nobody_can_watch_goes_back(gcloud: FakeGcloud, answer: tuple[int, str]) -> None:
    previous_of(gcloud)
    with served({"/v1/projects/demo-project/location/global/prometheus/api/v1/query": answer}) as (api, _):
        ended = gcloud.script("shift-traffic.sh", *SHIFT, MONITORING_API=api)

    assert ended.returncode == 1
    assert moves(gcloud)[-1] == (SERVICES[-1], f"{SERVICES[-1]}-r-old=100")


def test_a_service_that_takes_no_traffic_brings_all_back(gcloud: FakeGcloud) -> None:
    previous_of(gcloud)
    gcloud.failing = {"run services update-traffic pipeline-analyze*r-new*"}

    ended = gcloud.script("shift-traffic.sh", *SHIFT)

    assert ended.returncode == 1
    assert [name for name, revisions in moves(gcloud) if revisions.endswith("r-old=100")] == SERVICES


def test_a_service_that_cannot_be_moved_back_is_named_and_the_others_are_moved(gcloud: FakeGcloud) -> None:
    previous_of(gcloud)
    gcloud.failing = {"run services update-traffic pipeline-download*"}

    ended = gcloud.script("shift-traffic.sh", *SHIFT)

    assert ended.returncode == 2
    assert "by hand: pipeline-download" in ended.stderr
    assert (SERVICES[-1], f"{SERVICES[-1]}-r-old=100") in moves(gcloud)


def test_a_cancelled_build_goes_back_at_once(gcloud: FakeGcloud) -> None:
    previous_of(gcloud)
    with gcloud.started("shift-traffic.sh", *PLACE, *RELEASE, "--watch-s", "600") as script:
        eventually(lambda: len(moves(gcloud)) == len(SERVICES), what="the first step", timeout_s=30)
        script.terminate()
        assert script.wait(timeout=30) == 1

    assert moves(gcloud)[len(SERVICES) :] == [(name, f"{name}-r-old=100") for name in SERVICES]


@pytest.mark.parametrize(
    ("service", "code", "status"),
    [("pipeline-webhook", "503", 1), ("pipeline-download", "503", 0), ("pipeline-download", "500", 1)],
)
def test_a_workers_503_is_how_it_asks_for_patience(gcloud: FakeGcloud, service: str, code: str, status: int) -> None:
    with monitoring((service, "204", 50), (service, code, 50)) as api:
        words = ["python3", str(SCRIPTS / "error_rate.py"), "--project", "demo-project", "--release", "r-new"]
        assert gcloud.run(words, MONITORING_API=api).returncode == status


def test_a_receiver_that_answers_wrongly_through_the_load_balancer_goes_back(gcloud: FakeGcloud) -> None:
    previous_of(gcloud)
    with served(WELL | {"/v1/callrail/webhook": (500, "{}")}) as (url, _), monitoring() as api:
        ended = gcloud.script("shift-traffic.sh", *SHIFT, "--url", url, MONITORING_API=api)

    assert ended.returncode == 1
    assert "the smoke test failed at 10%" in ended.stderr
    assert moves(gcloud)[-1] == (SERVICES[-1], f"{SERVICES[-1]}-r-old=100")
