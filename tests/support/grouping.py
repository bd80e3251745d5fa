"""How the tests are shared out when several workers run them (`pytest -n`): by file, and the slowest first.

A file stays together: its module fixtures are started once. The end-to-end tests that use the session's stack stay
together too, for the same reason. The slowest groups begin first, so that the run does not end with one worker
busy and the others idle.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.stack import SHARED_STACK

SLOWEST_FIRST: tuple[str, ...] = (
    SHARED_STACK,
    "e2e/test_own_stacks",
    "e2e/test_chaos_short",
    "integration/test_crash_points",
    "failures/test_moving",
    "integration/test_replay_jobs",
    "integration/test_stack_supervisor",
    "integration/test_claim_protocol",
)
"""Groups in the order in which they begin; all others follow in random order."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """After pytest-randomly shuffled (its wrapper goes first) and before pytest-xdist reads the marks."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(group_of(item)))
    items.sort(key=lambda item: rank_of(group_of(item)))


def group_of(item: pytest.Item) -> str:
    """The file's path below `tests/` without ending, or the shared stack."""
    if "local_stack" in getattr(item, "fixturenames", ()):
        return SHARED_STACK
    return "/".join(Path(item.location[0]).with_suffix("").parts[1:])


def rank_of(group: str) -> int:
    return SLOWEST_FIRST.index(group) if group in SLOWEST_FIRST else len(SLOWEST_FIRST)
