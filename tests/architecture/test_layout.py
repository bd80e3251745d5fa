"""Where things lie and how files look: the layout of the plan, the hard rules of style, nothing of this machine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.pipeline import PIPELINE_FILE

ROOT = PIPELINE_FILE.parents[1]

PACKAGES = ("handlers", "stages", "shared", "schemas", "infra", "tests")
FOLDERS = (*PACKAGES, "sql", "docs")
FILES = {
    "requirements.txt",
    "requirements-dev.txt",
    "requirements-setup.txt",
    "pyproject.toml",
    "Dockerfile",
    "cloudbuild.yaml",
    "Makefile",
    "README.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "LICENSE",
}
MADE_HERE = {"build", "dist", "htmlcov", "venv", "env", "__pycache__"}
"""Not part of the project; names that begin with a dot or end with .egg-info are not either."""

TEXT = {".py", ".md", ".toml", ".json", ".sql", ".sh", ".txt", ".yaml", ".yml", ".tf", ".cfg", ".ini", ""}
MOST_LINES = 400
GENERATED = {"sql/schema.sql"}
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}


def is_ours(path: Path) -> bool:
    return not any(
        part.startswith(".") or part in MADE_HERE or part.endswith(".egg-info") for part in path.relative_to(ROOT).parts
    )


def files() -> Iterator[Path]:
    """Every text file of the project, the hidden ones that belong to it included."""
    yield from (path for path in sorted(ROOT.iterdir()) if _is_text(path))
    yield ROOT / ".ci" / "run"
    for folder in FOLDERS:
        found = sorted((ROOT / folder).rglob("*"))
        yield from (path for path in found if path.is_file() and path.suffix in TEXT and is_ours(path))


def _is_text(path: Path) -> bool:
    # In a worktree, git's own `.git` is a file.
    return path.is_file() and path.suffix in TEXT and path.name != ".git"


def modules() -> Iterator[Path]:
    for folder in PACKAGES:
        yield from (path for path in sorted((ROOT / folder).rglob("*.py")) if is_ours(path))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def lines_with(pattern: re.Pattern[str]) -> list[str]:
    """`file:line` of every line that the pattern is found in."""
    return [
        f"{name_of(path)}:{number}"
        for path in files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ]


# --- layout -------------------------------------------------------------------------------------------


def test_the_folders_of_the_plan_are_there_and_no_others() -> None:
    found = {path.name for path in ROOT.iterdir() if path.is_dir() and is_ours(path)}
    assert found == set(FOLDERS)


def test_nothing_lies_in_the_root_but_the_files_of_the_plan() -> None:
    found = {path.name for path in ROOT.iterdir() if path.is_file() and is_ours(path)}
    assert found <= FILES
    assert FILES - {"LICENSE"} <= found


@pytest.mark.parametrize("folder", ["sql/queries", "sql/rollback", "infra/local", "docs/api", "docs/decisions"])
def test_the_folders_inside_them_are_not_empty(folder: str) -> None:
    assert any((ROOT / folder).iterdir())


def test_every_stage_has_its_two_modules() -> None:
    stages = [path.parent for path in (ROOT / "stages").glob("*/__init__.py")]
    missing = [
        name_of(stage / name) for stage in stages for name in ("logic.py", "stage.py") if not (stage / name).is_file()
    ]
    assert stages
    assert missing == []


# --- modules ------------------------------------------------------------------------------------------


def test_packages_hold_no_code_of_their_own() -> None:
    assert [name_of(path) for path in modules() if path.name == "__init__.py" and path.read_text().strip()] == []


def test_every_folder_with_code_is_a_package() -> None:
    folders = {path.parent for path in modules()}
    assert [name_of(folder) for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []


def test_a_module_is_named_after_what_it_does() -> None:
    names = {part for path in modules() for part in path.relative_to(ROOT).with_suffix("").parts}
    assert names & VAGUE_NAMES == set()


def test_a_module_says_in_its_first_line_what_it_is_for() -> None:
    mute = [
        name_of(path)
        for path in modules()
        if path.name != "__init__.py" and not path.read_text(encoding="utf-8").startswith('"""')
    ]
    assert mute == []


def test_no_file_is_too_long_to_read() -> None:
    long = {
        name_of(path): count
        for path in files()
        if path.suffix in {".py", ".sql", ".sh"} and name_of(path) not in GENERATED
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > MOST_LINES
    }
    assert long == {}


# --- texts --------------------------------------------------------------------------------------------


def test_nothing_is_left_for_later() -> None:
    marks = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X"]) + r")\b")
    assert lines_with(marks) == []


def test_no_path_of_a_machine_is_written_down() -> None:
    homes = "|".join(["root", "work", "home/[a-z]", "Users/[A-Za-z]"])
    assert lines_with(re.compile(rf"(?<![\w.:/-])/({homes})[\w.-]*/")) == []


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_a_lock_file_names_no_index_and_every_package_by_its_hash(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert re.findall(r"https?://\S+|--(?:extra-)?index-url|--find-links|--trusted-host", text) == []
    pins = re.findall(r"^[a-z0-9][\w.\[\]-]*==\S+(?P<rest>.*)$", text, re.MULTILINE)
    assert pins
    assert [rest for rest in pins if not rest.endswith("\\")] == [], "a pin without a hash"


def test_every_silenced_check_says_why() -> None:
    """On the same line behind the code, or in a comment right above."""
    silenced = re.compile(r"# (?:noqa|type: ignore|pragma|mypy:|ruff:|nosec)(?P<rest>.*)$")
    reason = re.compile(r"^(?::\s*[A-Z]+[0-9]+(?:,\s*[A-Z]+[0-9]+)*|\[[a-z, -]+\])\s*(?:#|-|–|:|;)?\s*\w.{4,}")
    unexplained = []
    for path in modules():
        lines = ["", *path.read_text(encoding="utf-8").splitlines()]
        for number, line in enumerate(lines):
            found = silenced.search(line)
            if found and not reason.match(found["rest"]) and "# " not in lines[number - 1]:
                unexplained.append(f"{name_of(path)}:{number}")
    assert unexplained == []


def test_an_unused_settings_file_is_not_kept_beside_pyproject() -> None:
    """One place for the tools' settings."""
    strays = {"setup.cfg", "tox.ini", "pytest.ini", "mypy.ini", ".flake8", "ruff.toml", ".coveragerc"}
    assert [name for name in sorted(strays) if (ROOT / name).exists()] == []
