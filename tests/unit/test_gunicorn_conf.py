"""The server's settings: what Cloud Run demands, and threads as pipeline.json says."""

from __future__ import annotations

import runpy
from typing import Any

import pytest

from infra.local.plan import PROJECT_ROOT
from shared.pipeline import load_pipeline


def settings(monkeypatch: pytest.MonkeyPatch, **environ: str) -> dict[str, Any]:
    for name in ("PORT", "PIPELINE_BIND_HOST", "FUNCTION_TARGET"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    return runpy.run_path(str(PROJECT_ROOT / "handlers" / "gunicorn_conf.py"))


def test_in_the_container_the_server_listens_to_everybody_on_cloud_runs_port(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings(monkeypatch, FUNCTION_TARGET="webhook", PORT="9000")["bind"] == "0.0.0.0:9000"


def test_locally_the_server_listens_to_this_machine_only(monkeypatch: pytest.MonkeyPatch) -> None:
    bound = settings(monkeypatch, FUNCTION_TARGET="webhook", PORT="9000", PIPELINE_BIND_HOST="127.0.0.1")["bind"]

    assert bound == "127.0.0.1:9000"


@pytest.mark.parametrize("service", load_pipeline().services)
def test_there_are_as_many_threads_as_cloud_run_sends_requests(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings(monkeypatch, FUNCTION_TARGET=service)["threads"] == load_pipeline().services[service].concurrency


def test_an_unknown_service_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="downlaod"):
        settings(monkeypatch, FUNCTION_TARGET="downlaod")


def test_work_in_flight_is_finished_before_cloud_run_kills(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 0 < settings(monkeypatch, FUNCTION_TARGET="download")["graceful_timeout"] < 10
