"""docs/api/webhook.md names every answer that the receiver can give, and none that it cannot."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.webhooks import EVENT_KINDS
from shared.pipeline import PIPELINE_FILE

ROOT = PIPELINE_FILE.parents[1]
DOCUMENT = (ROOT / "docs/api/webhook.md").read_text(encoding="utf-8")
ANSWERS = DOCUMENT.split("\n## Answers\n")[1].split("\n## ")[0]

OWN_ANSWERS = ("handlers/webhook.py", "handlers/receiver.py")
BEHIND_503 = (
    "shared/gateways/database.py",
    "shared/gateways/objects.py",
    "shared/gateways/tenant_cache.py",
    "shared/gateways/tenant_rows.py",
)
"""What the receiver asks while it answers; its other errors are turned into one of its own."""
NEVER_MET = frozenset({"object_too_large"})
"""Said of reading an object; the receiver only writes one."""

Answer = tuple[int, str]


def source_of(name: str) -> str:
    return Path(ROOT / name).read_text(encoding="utf-8")


def documented() -> Iterator[Answer]:
    """Status and code of every row; a code that ends in … stands for a family."""
    for status, codes in re.findall(r"^\| (\d{3}) \| (.+?) \|", ANSWERS, flags=re.MULTILINE):
        for code in re.findall(r"`([a-z_]+…?)`", codes):
            yield int(status), code


def own_answers() -> set[Answer]:
    calls = re.compile(r"(?:Refused|_problem|_error)\(\s*(\d{3}), \"([a-z_]+)\"")
    found = (pair for name in OWN_ANSWERS for pair in calls.findall(source_of(name)))
    return {(int(status), code) for status, code in found}


def codes_behind_503() -> set[str]:
    raised = re.compile(r"(?:TransientFailure|PermanentFailure|TenantBlocked)\(\s*\"([a-z_]+)\"")
    receiver = set(raised.findall(source_of("handlers/receiver.py")))
    return receiver | {code for name in BEHIND_503 for code in raised.findall(source_of(name))} - NEVER_MET


def test_every_answer_of_the_receivers_own_has_its_row() -> None:
    missing = own_answers() - set(documented())
    assert missing == set()


def test_every_row_is_an_answer_that_the_receiver_gives() -> None:
    made_up = {(status, code) for status, code in documented() if status != 503} - own_answers()
    assert made_up == set()


@pytest.mark.parametrize("code", sorted(codes_behind_503()))
def test_every_reason_of_a_503_has_its_row(code: str) -> None:
    rows = [row for status, row in documented() if status == 503]
    assert any(code.startswith(row.removesuffix("…")) if row.endswith("…") else code == row for row in rows)


def test_every_503_of_the_table_can_happen() -> None:
    rows = [row.removesuffix("…") for status, row in documented() if status == 503]
    assert [row for row in rows if not any(code.startswith(row) for code in codes_behind_503())] == []


def test_every_event_of_the_addresses_is_one_and_none_is_left_out() -> None:
    table = DOCUMENT.split("| CallRail trigger |")[1].split("\n\n")[0]
    events = re.findall(r"`([a-z-]+)`", "".join(row.split("|")[2] for row in table.splitlines()[2:]))
    assert sorted(events) == sorted(EVENT_KINDS)
