"""The runbook says what is: its tables are the code's, its commands and settings exist, no situation is left out."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from handlers.cli.main import app
from shared.meanings.registry import CHAPTERS
from shared.meanings.table import BEGIN, RUNBOOK, with_tables
from shared.pipeline import PIPELINE_FILE, load_pipeline
from shared.settings import LocalEndpoints, Settings
from shared.whereabouts.situations import Situation

ROOT = PIPELINE_FILE.parents[1]
GUARANTEES = RUNBOOK.with_name("guarantees.md")
DOCUMENTS = (RUNBOOK, GUARANTEES)
SOURCES = ("shared", "stages", "handlers")

TEXT = RUNBOOK.read_text(encoding="utf-8")
BY_HAND = TEXT.split(BEGIN)[0]

SECTIONS = (
    "Where is this call, and why?",
    "A call is stuck",
    "Dead letters grow",
    "A tenant is blocked",
    "Replaying safely",
    "Outages",
    "Pub/Sub",
    "Spanner",
    "Cloud Storage",
    "Speech-to-Text",
    "Vertex AI",
    "A CRM",
    "CallRail",
    "Secret Manager",
    "A region or a notification is lost",
    "A deployment is in progress",
    "Alarms",
    "Log lines",
    "Error codes and dead-letter reasons",
)


def test_the_tables_of_codes_are_those_of_the_code() -> None:
    assert with_tables(TEXT) == TEXT, "run `python -m shared.meanings.table`"


def test_every_code_has_its_row() -> None:
    missing = [code for chapter in CHAPTERS for code in chapter.meanings if f"| `{code}` |" not in TEXT]

    assert missing == []


@pytest.mark.parametrize("title", SECTIONS)
def test_a_section_for_everything_that_can_happen(title: str) -> None:
    assert re.search(rf"^##+ {re.escape(title)}$", TEXT, re.MULTILINE)


def test_every_situation_has_its_row_and_no_other_has() -> None:
    table = BY_HAND.split("| situation |")[1].split("\n\n")[0]
    rows = re.findall(r"^\| `([a-z_]+)` \|", table, re.MULTILINE)

    assert sorted(rows) == sorted(Situation)


# --- log lines --------------------------------------------------------------------------------------------


def troubles_logged() -> set[str]:
    """The event of every warning, error and exception that the code logs."""
    found = set()
    for folder in SOURCES:
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if _is_trouble(node):
                    assert isinstance(node, ast.Call)
                    found.add(ast.literal_eval(node.args[0]))
    return found


def _is_trouble(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"warning", "error", "exception"}
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in {"log", "_log"}
    )


def test_every_warning_and_error_of_the_log_is_explained_and_no_other() -> None:
    table = BY_HAND.split("## Log lines")[1].split("## Error codes")[0]
    explained = set(re.findall(r"^\| `([a-z_]+)` \|", table, re.MULTILINE))

    assert explained == troubles_logged()


# --- commands ---------------------------------------------------------------------------------------------

COMMAND = re.compile(r"\bpipeline (?P<words>[a-z][a-z-]*(?: [^`\n]*)?)")
_FENCED = re.compile(r"^```\n(.*?)^```", re.MULTILINE | re.DOTALL)
_QUOTED = re.compile(r"`(pipeline [^`\n]+)`")


@cache
def program() -> Any:
    """The `pipeline` command as click sees it."""
    return typer.main.get_command(app)


def commands_of(text: str) -> list[str]:
    """What a document tells a person to type: lines of code blocks and quoted commands, without `pipeline`."""
    lines = [line for block in _FENCED.findall(text) for line in block.splitlines()]
    quoted = [*lines, *_QUOTED.findall(_FENCED.sub("", text))]
    return sorted({line.removeprefix("pipeline ") for line in quoted if line.startswith("pipeline ")})


def fault_of(command: str, *, is_whole: bool = True) -> str:
    """What is wrong with a command; empty when a person can type it. A part of one need not have its arguments."""
    node = program()
    words = command.split()
    while hasattr(node, "commands"):
        if words and words[0] in {name for item in node.params for name in item.opts}:  # `pipeline --env prod …`
            words = words[2:]
        if not words and not is_whole:
            return ""
        if not words or words[0] not in node.commands:
            return f"no command {words[:1]} in {node.name}"
        node = node.commands[words.pop(0)]
    options = {name: item for item in node.params if item.param_type_name == "option" for name in item.opts}
    given = [word.partition("=")[0] for word in words if word.startswith("--")]
    unknown = [name for name in given if name not in options]
    if unknown:
        return f"no option {unknown}"
    if not is_whole:
        return ""
    missing = [item.opts[0] for item in options.values() if item.required and not set(item.opts) & set(given)]
    if missing:
        return f"lacks {missing}"
    wanted = sum(item.param_type_name == "argument" and item.required for item in node.params)
    return "lacks an argument" if len(_positional(words, options)) < wanted else ""


def _positional(words: list[str], options: dict[str, Any]) -> list[str]:
    found: list[str] = []
    takes_value = False
    for word in words:
        if word.startswith("--"):
            takes_value = not options[word.partition("=")[0]].is_flag and "=" not in word
        elif takes_value:
            takes_value = False
        else:
            found.append(word)
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_every_command_of_a_document_can_be_typed(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    faults = {command: fault for command in commands_of(text) if (fault := fault_of(command))}

    assert faults == {}


def test_the_runbook_holds_commands_at_all() -> None:
    assert len(commands_of(BY_HAND)) > 20


def texts_of_sources() -> Iterator[tuple[str, str]]:
    """Every string of the code that tells a person to run one of our commands."""
    for folder in SOURCES:
        for path in sorted((ROOT / folder).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
            for node in ast.walk(tree):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
                    yield str(path.relative_to(ROOT)), node.value


def test_advice_in_errors_names_commands_that_exist() -> None:
    """An operator who types what an error says must not meet "no such command"."""
    faults = [
        f"{path}: pipeline {command}: {fault}"
        for path, text in texts_of_sources()
        for command in [*(found.removeprefix("pipeline ") for found in _QUOTED.findall(text)), *_bare(text)]
        if (fault := fault_of(command, is_whole=False))
    ]
    assert faults == []


def _bare(text: str) -> list[str]:
    """A text that is nothing but a command, or begins with one."""
    match = re.match(r"pipeline ((?:[a-z][a-z-]* ?)+(?:--[a-z-]+)?)", text)
    return [match[1].strip()] if match and not text.startswith("pipeline: ") else []


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        ("why CALL", ""),
        ("why", "lacks an argument"),
        ("sweep --once", ""),
        ("sweep --twice", "no option ['--twice']"),
        ("backfill --tenant TENANT", "lacks ['--since']"),
        ("no-such-thing", "no command ['no-such-thing'] in pipeline"),
        ("tenant no-such-thing", "no command ['no-such-thing'] in tenant"),
    ],
)
def test_the_check_of_commands_tells_right_from_wrong(command: str, fault: str) -> None:
    assert fault_of(command) == fault


# --- names ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_every_setting_that_is_named_exists(document: Path) -> None:
    known = {f"PIPELINE_{name.upper()}" for name in Settings.model_fields}
    known |= {f"PIPELINE_LOCAL_{name.upper()}" for name in LocalEndpoints.model_fields}
    named = set(re.findall(r"\bPIPELINE_[A-Z_]+[A-Z]\b", document.read_text(encoding="utf-8")))

    assert named - known == set()


def test_every_subscription_that_is_named_exists() -> None:
    known = {item.subscription for service in load_pipeline().services.values() for item in service.subscribes}
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "shared" / "whereabouts").glob("*.py"))
    named = set(re.findall(r"\b(?:download|dead-letter|transcribe|analyze|crm-sync)-[a-z]+-[a-z]+\b", code + TEXT))

    assert named
    assert named - known == set()


def test_links_lead_somewhere() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), target


def test_the_code_that_a_guarantee_names_exists() -> None:
    named = re.findall(
        r"`((?:shared|stages|handlers|infra)/[a-z_/]+\.(?:py|json))`", GUARANTEES.read_text(encoding="utf-8")
    )

    assert len(named) > 10
    assert [path for path in named if not (ROOT / path).is_file()] == []
