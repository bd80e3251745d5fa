"""README.md says what is: its settings are the settings, its commands can be typed, its files are there."""

from __future__ import annotations

import re

from pydantic.fields import FieldInfo

from shared.pipeline import PIPELINE_FILE, load_pipeline
from shared.settings import Settings
from tests.unit.test_runbook import fault_of

ROOT = PIPELINE_FILE.parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
GIVEN_BY_CLOUD_RUN = {"on_cloud_run", "revision"}
BLOCKS = re.findall(r"^```\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


# --- settings ---------------------------------------------------------------------------------------------


def variable_of(name: str, field: FieldInfo) -> str:
    return str(field.validation_alias or f"PIPELINE_{name.upper()}")


def settings_table() -> dict[str, str]:
    """Variable → default as written; rows of several variables name as many defaults, or one for all."""
    found: dict[str, str] = {}
    for names, defaults in re.findall(r"^\| (`[A-Z_`, ]+`) \| ([^|]*) \|", README, re.MULTILINE):
        variables = re.findall(r"`([A-Z_]+)`", names)
        values = [part.strip().strip("`") for part in defaults.split(",")]
        found |= dict(zip(variables, values if len(values) == len(variables) else values * len(variables), strict=True))
    return found


def test_every_setting_is_in_the_table_and_no_other() -> None:
    fields = {name: item for name, item in Settings.model_fields.items() if name not in {*GIVEN_BY_CLOUD_RUN, "local"}}
    assert set(settings_table()) == {variable_of(name, field) for name, field in fields.items()}


def test_the_defaults_are_the_ones_of_the_code() -> None:
    said_in_words = {"required", "none", "empty", "required unless off", "see make bench", "<project>-audio-files"}
    table = {name: value.replace("`", "") for name, value in settings_table().items()}
    wrong = {}
    for name, field in Settings.model_fields.items():
        written = table.get(variable_of(name, field), "none")
        if written not in said_in_words and written.lower() != _as_text(field.default):
            wrong[variable_of(name, field)] = written
    assert wrong == {}


def _as_text(value: object) -> str:
    return f"{value:g}".lower() if isinstance(value, float) else str(value).lower()


# --- commands, files, services ----------------------------------------------------------------------------


def commands() -> list[str]:
    lines = [line.split("#")[0].strip() for block in BLOCKS for line in block.splitlines()]
    quoted = [*lines, *re.findall(r"`(pipeline [^`\n]+)`", README)]
    found = [re.search(r"(?:^|\()(?:\.venv/bin/)?pipeline ([^)]+)", line) for line in quoted]
    return [match[1] for match in found if match]


def test_every_command_can_be_typed() -> None:
    assert len(commands()) > 10
    assert {command: fault for command in commands() if (fault := fault_of(command))} == {}


def test_every_make_target_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    used = {match for line in README.splitlines() for match in re.findall(r"(?:^|`)make ([a-z]+)", line)}
    assert used
    assert used - targets == set()


def test_every_link_leads_to_a_file() -> None:
    links = re.findall(r"\]\(([^)#]+)", README)
    assert [link for link in links if not link.startswith("http") and not (ROOT / link).exists()] == []


def test_every_file_that_is_named_is_there() -> None:
    named = re.findall(r"`((?:handlers|infra|schemas|shared|sql|stages|tests|docs)/[\w./-]+)`", README)
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_table_of_services_is_the_pipelines() -> None:
    rows = re.findall(r"^\| `([a-z_]+)` \|.*\| ([^|]+) \|$", README.split("## Try it by hand")[0], re.MULTILINE)
    services = load_pipeline().services
    assert [name for name, _ in rows] == list(services)
    for name, publishes in rows:
        assert set(re.findall(r"`([a-z-]+)`", publishes)) <= set(services[name].publishes), name
