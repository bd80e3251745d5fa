"""Every command of the hand-typed guide has something that does it now, a test, and a row that says so."""

from __future__ import annotations

import re

from shared.pipeline import PIPELINE_FILE
from tests.support.guide_coverage import COMMANDS, PAGE, page, rows
from tests.support.guide_promises import PROMISES
from tests.support.provider_schema import TERRAFORM, types_used
from tests.unit.test_runbook import fault_of

ROOT = PIPELINE_FILE.parents[1]


def test_no_command_of_the_guide_is_without_its_row() -> None:
    assert [row["guide"] for row in rows()] == COMMANDS.read_text(encoding="utf-8").splitlines()


def test_the_page_is_made_from_the_rows() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `python -m tests.support.guide_coverage`"


def test_what_does_it_now_exists() -> None:
    resources, _ = types_used()
    terraform = "\n".join(path.read_text(encoding="utf-8") for path in TERRAFORM.rglob("*.tf"))
    missing = []
    for now in {row["now"] for row in rows()} - {"none"}:
        if now.startswith("google_"):
            found = now in resources
        elif now.startswith(("variable:", "output:")):
            kind, name = now.split(":")
            found = f'{kind} "{name}"' in terraform
        elif now.startswith("pipeline "):
            found = not fault_of(now.removeprefix("pipeline "), is_whole=False)
        else:
            found = now.startswith("gcloud ") or (ROOT / now).exists()
        if not found:
            missing.append(now)
    assert missing == []


def test_what_is_left_out_says_why() -> None:
    assert [row["guide"] for row in rows() if row["now"] == "none" and not row["right"]] == []


def test_the_tests_exist_and_are_about_more_than_whether_terraform_accepts_it() -> None:
    found = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    promises = {f"test_production_is_planned_as_promised[{kind}.{name}]" for kind, name, _ in PROMISES}

    named = {f"test_{row['test']}" for row in rows()}
    assert {name for name in named if name not in promises and name not in found} == set()
    assert not any("terraform_accepts" in name for name in named)
