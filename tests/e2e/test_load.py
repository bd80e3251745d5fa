"""`pipeline load` against the local stack, as typed: every webhook accepted, every call followed to the CRMs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra.load.report import SLO_P95_S
from infra.local.plan import PROJECT_ROOT
from tests.e2e.command_line import pipeline
from tests.support.gcloud import FakeGcloud
from tests.support.stack import LocalStack

pytestmark = pytest.mark.emulators


def test_a_short_load_loses_nothing(local_stack: LocalStack, tmp_path: Path) -> None:
    plot = tmp_path / "load.png"

    ran = pipeline(
        "load",
        "--rate",
        "20",
        "--duration",
        "1s",
        "--settle",
        "1m",
        "--json",
        "--plot",
        str(plot),
        *("--state-dir", str(local_stack.state_dir)),
    )

    document = json.loads(ran.out)
    # The objective is a matter of this machine, and of what else runs on it.
    assert document["statuses"] == {"202": 20}
    assert document["states"] == {"done": 20}
    assert ran.status == (0 if document["latency_ms"]["p95"] < SLO_P95_S * 1000 else 1), ran.err
    assert len(document["end_to_end_s"]) == len(document["latency_ms"]) > 0
    assert plot.is_file()


def test_someone_elses_host_is_refused_before_anything_is_sent(local_stack: LocalStack) -> None:
    ran = pipeline("load", "--url", "https://api.example.com", "--state-dir", str(local_stack.state_dir))

    assert ran.status == 1
    assert "--i-own-this api.example.com" in ran.err


def test_the_release_smoke_test_passes_at_a_running_receiver(local_stack: LocalStack, tmp_path: Path) -> None:
    """infra/scripts/smoke.sh, as `cloudbuild.yaml` runs it, against the real service."""
    assert (PROJECT_ROOT / "infra" / "scripts" / "smoke.sh").is_file()

    ended = FakeGcloud(tmp_path).script("smoke.sh", "--url", local_stack.env["WEBHOOK_URL"])

    assert ended.returncode == 0, ended.stderr
