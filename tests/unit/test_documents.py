"""Each command in the documents is one that exists: ours with its options, gcloud's with its flags, make's targets."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from infra.local.plan import PROJECT_ROOT
from shared.settings import Settings
from tests.support.gcloud import gcloud_fault
from tests.unit.test_runbook import fault_of

PAGES = sorted([PROJECT_ROOT / "README.md", PROJECT_ROOT / "SECURITY.md", *(PROJECT_ROOT / "docs").rglob("*.md")])
OPERATIONS = PROJECT_ROOT / "docs" / "operations"
RELEASE_PAGES = [
    OPERATIONS / f"{name}.md" for name in ("deployment", "rollback", "disaster-recovery", "capacity-and-cost")
]
TERRAFORM = {"init", "plan", "apply", "destroy", "output", "validate", "fmt", "import", "state"}
_FENCED = re.compile(r"^ *```(?P<language>[a-z]*)\n(?P<text>.*?)^ *```", re.MULTILINE | re.DOTALL)
_QUOTED = re.compile(r"`([^`\n]+)`")
_OURS = re.compile(r"(?:\.venv/bin/)?(?P<program>pipeline|make|gcloud|terraform|python|\S+\.sh) (?P<rest>.*)")


def blocks(text: str) -> list[str]:
    """Lines of code blocks; those with a language are answers and files, not commands."""
    found = [match["text"] for match in _FENCED.finditer(text) if not match["language"]]
    return [line.strip() for block in found for line in block.splitlines() if line.strip()]


def commands(text: str) -> list[str]:
    """Every line of a block, and everything in back quotes, that begins with a program we can look into."""
    candidates = [*blocks(text), *_QUOTED.findall(_FENCED.sub("", text))]
    return sorted({line for line in candidates if _OURS.fullmatch(line)})


def fault(command: str) -> str:
    """What is wrong with a command; empty when it can be typed."""
    match = _OURS.fullmatch(command)
    if match is None:
        return "nobody knows this program"
    rest = re.split(r"\s+#\s|\s{2,}", match["rest"])[0]
    program = match["program"]
    if program == "pipeline":
        return "; ".join(what for one in _spelled_out(rest) if (what := fault_of(one, is_whole=False)))
    if program == "make":
        return "" if rest.split()[0] in _make_targets() else f"no target {rest.split()[0]}"
    if program == "gcloud":
        return gcloud_fault(rest)
    if program == "terraform":
        verb = next(word for word in rest.split() if not word.startswith("-"))
        return "" if verb in TERRAFORM else f"terraform does not know {verb}"
    words = shlex.split(rest)
    if program == "python":
        return _python_fault(words)
    return _script_fault(program, words)


def _spelled_out(command: str) -> list[str]:
    """`letters list|show …` in a sentence stands for two commands, and `…` for whatever follows."""
    command = command.partition("…")[0].strip()
    shorthand = re.search(r"\S+\|\S+", command)
    if shorthand is None:
        return [command]
    return [command.replace(shorthand[0], word) for word in shorthand[0].split("|")]


def _make_targets() -> set[str]:
    makefile = (PROJECT_ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))


def _python_fault(words: list[str]) -> str:
    if words[0] == "-m":
        return "" if importlib.util.find_spec(words[1]) else f"no module {words[1]}"
    path = PROJECT_ROOT / words[0]
    if not path.is_file():
        return f"no file {words[0]}"
    known = set(re.findall(r"add_argument\(\s*\"(--[a-z-]+)\"", path.read_text(encoding="utf-8")))
    return _unknown(words[1:], known)


def _script_fault(program: str, words: list[str]) -> str:
    path = PROJECT_ROOT / program
    if not path.is_file():
        return f"no file {program}"
    lines = re.findall(r"\boptions ([a-z -]+) -- ", path.read_text(encoding="utf-8"))
    if words and not words[0].startswith("--"):
        if f"{words[0]}) options" not in path.read_text(encoding="utf-8"):
            return f"{program} knows no {words[0]}"
        lines = re.findall(rf"\b{words[0]}\) options ([a-z -]+) -- ", path.read_text(encoding="utf-8"))
    return _unknown(words, {f"--{name}" for line in lines for name in line.split()})


def _unknown(words: list[str], known: set[str]) -> str:
    unknown = [word for word in words if word.startswith("--") and word.partition("=")[0] not in known]
    return f"no option {unknown}" if unknown else ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_command_of_a_page_exists(page: Path) -> None:
    faults = {command: what for command in commands(page.read_text(encoding="utf-8")) if (what := fault(command))}

    assert faults == {}


@pytest.mark.parametrize("page", RELEASE_PAGES, ids=lambda page: page.name)
def test_a_page_about_releases_shows_nothing_but_commands_that_resolve(page: Path) -> None:
    """Here every line of every block is typed by somebody in a hurry."""
    lines = blocks(page.read_text(encoding="utf-8"))

    assert lines
    assert {line: what for line in lines if (what := fault(line))} == {}


def test_each_default_that_a_page_states_is_the_settings_default() -> None:
    """Written as: the name, then its seconds in brackets."""
    defaults = {f"PIPELINE_{name.upper()}": field.default for name, field in Settings.model_fields.items()}
    stated = [
        (page.name, name, float(seconds.replace(",", "")))
        for page in PAGES
        for name, seconds in re.findall(r"`(PIPELINE_[A-Z_]+_S)`\s\(([\d.,]+)\ss\)", page.read_text(encoding="utf-8"))
    ]
    assert len(stated) > 5
    assert [item for item in stated if defaults[item[1]] != item[2]] == []


def test_every_link_of_every_page_leads_somewhere() -> None:
    broken = [
        f"{page.name}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert broken == []


@pytest.mark.parametrize(
    ("command", "what"),
    [
        ("pipeline cost --calls 10", ""),
        ("pipeline cost --call 10", "no option ['--call']"),
        ("pipeline dead-letters list|show …", ""),
        ("pipeline dead-letters list|shove", "no command ['shove'] in dead-letters"),
        ("make tset", "no target tset"),
        ("gcloud spanner backups list --instance x", ""),
        ("gcloud spanner backups lisst", "no command ['lisst']"),
        ("gcloud run services list --regoin x", "no flag ['--regoin']"),
        ("infra/scripts/rollback.sh schema --to 8", ""),
        ("infra/scripts/rollback.sh schema --backup 8", "no option ['--backup']"),
        ("infra/scripts/rollback.sh everything", "infra/scripts/rollback.sh knows no everything"),
        ("infra/scripts/no-such.sh --to 8", "no file infra/scripts/no-such.sh"),
        (".venv/bin/python tests/e2e/test_production_flow.py --tenant x", "no option ['--tenant']"),
        ("python -m shared.meanings.table", ""),
        ("python -m shared.no_such_thing", "no module shared.no_such_thing"),
        ("terraform aply", "terraform does not know aply"),
        ("kubectl get pods", "nobody knows this program"),
    ],
)
def test_the_check_tells_right_from_wrong(command: str, what: str) -> None:
    assert fault(command) == what
