"""The threat model names tests that exist, and has one for every way that it lists."""

from __future__ import annotations

import re

from infra.local.plan import PROJECT_ROOT

TEXT = (PROJECT_ROOT / "docs/security/threat-model.md").read_text(encoding="utf-8")


def ways() -> list[str]:
    rows = [line for line in TEXT.splitlines() if line.startswith("| ")]
    return rows[2:]


def test_every_way_has_tests_that_exist() -> None:
    assert len(ways()) >= 15
    for row in ways():
        tests = re.findall(r"`(tests/[\w/]+\.py)`", row)
        assert tests, row
        assert [path for path in tests if not (PROJECT_ROOT / path).is_file()] == []
