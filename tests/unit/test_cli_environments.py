"""`pipeline --env`: the settings of Terraform's output, and a clear no to a missing, foreign or stale one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from handlers.cli.environments import use
from shared.errors import ConfigurationError
from shared.pipeline import load_pipeline
from shared.settings import load_settings


def document(**changes: Any) -> dict[str, Any]:
    return {
        "version": 1,
        "environment": "prod",
        "settings": {"GOOGLE_CLOUD_PROJECT": "example-prod", "PIPELINE_SPANNER_INSTANCE": "pipeline-prod"},
        "webhook_url": "https://calls.example.com/v1/callrail/webhook",
        "services": {name: f"pipeline-{name}" for name in load_pipeline().services},
        "image_base": "example/pipeline",
    } | changes


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("GOOGLE_CLOUD_PROJECT", "PIPELINE_SPANNER_INSTANCE"):
        monkeypatch.setenv(name, "")  # remembered, so that what `use` sets is undone
        monkeypatch.delenv(name)
    for name in ("SPANNER_EMULATOR_HOST", "PUBSUB_EMULATOR_HOST", "STORAGE_EMULATOR_HOST", "PIPELINE_ENVIRONMENT"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "prod.json"
    monkeypatch.setenv("PIPELINE_ENV_FILE", str(path))
    return path


@pytest.mark.parametrize("whole", [True, False], ids=["terraform output -json", "… pipeline_environment"])
def test_the_settings_are_terraforms(written: Path, *, whole: bool) -> None:
    said = {"pipeline_environment": {"value": document()}, "address": {"value": "192.0.2.1"}} if whole else document()
    written.write_text(json.dumps(said))

    use("prod")

    assert load_settings().project_id == "example-prod"
    assert load_settings().spanner_instance == "pipeline-prod"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (None, "no_environment_file"),
        ("{", "bad_environment_file"),
        ("[]", "bad_environment_file"),
        (json.dumps(document(version=2)), "bad_environment_file"),
        (json.dumps(document(environment="dev")), "other_environment"),
        (json.dumps(document(services={"webhook": "pipeline-webhook"})), "stale_environment_file"),
        (json.dumps(document(settings={"PIPELINE_GONE": "1"})), "stale_environment_file"),
    ],
    ids=["missing", "broken", "no object", "newer", "another's", "other services", "unknown setting"],
)
def test_a_file_that_does_not_fit_is_refused_with_what_to_do(written: Path, text: str | None, code: str) -> None:
    if text is not None:
        written.write_text(text)

    with pytest.raises(ConfigurationError) as caught:
        use("prod")

    assert caught.value.code == code
    assert "terraform -chdir=infra/terraform/environments/prod output -json" in (caught.value.fix or "")


@pytest.mark.parametrize("variable", ["SPANNER_EMULATOR_HOST", "GOOGLE_CLOUD_PROJECT"])
def test_two_environments_never_meet(written: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    written.write_text(json.dumps(document()))
    monkeypatch.setenv(variable, "another")

    with pytest.raises(ConfigurationError, match=variable):
        use("prod")


def test_without_the_option_nothing_is_read(written: Path) -> None:
    assert not written.exists()

    use(None)
