"""The way back: traffic, schema and data, by infra/scripts/rollback.sh."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.gcloud import FakeGcloud
from tests.support.releasing import (
    PLACE,
    SERVICES,
    knows_every_call,
    moves,
    well_project,
)


@pytest.fixture
def gcloud(tmp_path: Path) -> FakeGcloud:
    return well_project(tmp_path)


def revisions(*names: str) -> str:
    """What gcloud lists, newest first; a `!` marks one that never became ready."""
    return json.dumps(
        [
            {
                "metadata": {"name": name.strip("!")},
                "status": {"conditions": [{"type": "Ready", "status": "False" if "!" in name else "True"}]},
            }
            for name in names
        ]
    )


def test_traffic_goes_back_to_the_ready_revision_before_the_one_that_serves(gcloud: FakeGcloud) -> None:
    for service in SERVICES:
        pattern = f"run revisions list --service {service} *"
        gcloud.answers[pattern] = revisions(
            f"{service}-r-new", f"{service}-r-old", f"!{service}-r-broken", f"{service}-r-good"
        )

    ended = gcloud.script("rollback.sh", "traffic", *PLACE)

    assert ended.returncode == 0, ended.stderr
    assert moves(gcloud) == [(name, f"{name}-r-good=100") for name in SERVICES]
    assert knows_every_call(gcloud)


def test_nothing_moves_when_one_service_has_nowhere_to_go(gcloud: FakeGcloud) -> None:
    gcloud.answers["run revisions list*"] = revisions("other")

    assert gcloud.script("rollback.sh", "traffic", *PLACE).returncode == 2
    assert moves(gcloud) == []


def test_a_release_can_be_named(gcloud: FakeGcloud) -> None:
    assert gcloud.script("rollback.sh", "traffic", *PLACE, "--release", "r-7").returncode == 0
    assert moves(gcloud) == [(name, f"{name}-r-7=100") for name in SERVICES]


def test_the_schema_goes_back_by_the_same_job_that_brought_it(gcloud: FakeGcloud) -> None:
    assert gcloud.script("rollback.sh", "schema", *PLACE, "--to", "8").returncode == 0

    assert "--args migrate,--rollback,--to,8,--yes" in gcloud.calls()[0]
    assert knows_every_call(gcloud)


def test_a_backup_becomes_a_new_database_and_no_service_changes(gcloud: FakeGcloud) -> None:
    arguments = ("--instance", "pipeline-prod", "--backup", "daily-1", "--database", "pipeline-db-2")

    assert gcloud.script("rollback.sh", "restore", *PLACE, *arguments).returncode == 0

    (call,) = gcloud.calls()
    assert call.startswith("spanner databases restore")
    assert knows_every_call(gcloud)
