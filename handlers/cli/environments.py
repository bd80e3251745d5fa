"""`pipeline --env prod …`: settings from what Terraform made, so that nobody copies ids by hand."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Literal

import typer
from pydantic import BaseModel, ConfigDict, ValidationError

from shared.errors import ConfigurationError
from shared.pipeline import load_pipeline
from shared.settings import Settings

FILE_VARIABLE = "PIPELINE_ENV_FILE"
FOLDER = Path(".pipeline")
VERSION = 1
_EMULATORS = ("SPANNER_EMULATOR_HOST", "PUBSUB_EMULATOR_HOST", "STORAGE_EMULATOR_HOST")

EnvOption = Annotated[
    str | None,
    typer.Option(
        "--env", help="Work on this environment, with the settings in .pipeline/ENV.json (Terraform's output)."
    ),
]


class PipelineEnvironment(BaseModel):
    """Terraform's output `pipeline_environment` (`infra/terraform/modules/pipeline/outputs.tf`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1]
    environment: str
    settings: dict[str, str]
    webhook_url: str
    services: dict[str, str]
    image_base: str


def use(env: str | None) -> None:
    """Give this process the settings of an environment. Raises `ConfigurationError` for a missing or stale file."""
    if env is None:
        return
    path = Path(os.environ.get(FILE_VARIABLE) or FOLDER / f"{env}.json")
    found = _read(path, env)
    _refuse_mixtures(found, path)
    os.environ.update(found.settings)


def _read(path: Path, env: str) -> PipelineEnvironment:
    again = f"terraform -chdir=infra/terraform/environments/{env} output -json > {path}"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigurationError("no_environment_file", f"{path} is not there", fix=again) from error
    except (OSError, ValueError) as error:
        raise ConfigurationError("bad_environment_file", f"{path} cannot be read: {error}", fix=again) from error
    try:
        whole = document["pipeline_environment"]["value"] if "pipeline_environment" in document else document
        found = PipelineEnvironment.model_validate(whole)
    except (KeyError, TypeError, ValidationError) as error:
        raise ConfigurationError(
            "bad_environment_file", f"{path} is not this release's Terraform output", fix=again
        ) from error
    if found.environment != env:
        raise ConfigurationError("other_environment", f"{path} describes {found.environment}, not {env}", fix=again)
    stale = set(found.services) ^ set(load_pipeline().services) | set(found.settings) - known_settings()
    if stale:
        raise ConfigurationError(
            "stale_environment_file", f"{path} is of another release: {', '.join(sorted(stale))}", fix=again
        )
    return found


def known_settings() -> set[str]:
    """The variables that `shared/settings.py` reads, those of the local stack and of Cloud Run left out."""
    mine = {name: field for name, field in Settings.model_fields.items() if name != "local"}
    named = {str(field.validation_alias or f"PIPELINE_{name.upper()}") for name, field in mine.items()}
    return named - {"K_SERVICE", "K_REVISION"}


def _refuse_mixtures(found: PipelineEnvironment, path: Path) -> None:
    """Half of one project and half of another must not meet in one process."""
    wrong = [name for name in _EMULATORS if os.environ.get(name)]
    wrong += [name for name, value in found.settings.items() if os.environ.get(name, value) != value]
    if wrong:
        raise ConfigurationError(
            "two_environments",
            f"the shell says otherwise than {path}: {', '.join(sorted(wrong))}",
            fix="unset these variables, or leave --env away",
        )
