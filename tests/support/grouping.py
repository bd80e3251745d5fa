"""How the tests are shared out when several workers run them (`pytest -n`): by file, and the slowest first.

A file stays together: its module fixtures are started once. The end-to-end tests that use the session's stack stay
together too, for the same reason. The slowest groups begin first, so that the run does not end with one worker
busy and the others idle.
"""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler.loadscope import LoadScopeScheduling

SHARED_STACK = "tests/e2e on the session's stack"
STACKS_OF_THEIR_OWN = frozenset({"tests/e2e/test_own_stacks.py", "tests/e2e/test_chaos_short.py"})
SLOWEST_FIRST: tuple[str, ...] = (
    SHARED_STACK,
    "tests/e2e/test_own_stacks.py",
    "tests/e2e/test_chaos_short.py",
    "tests/integration/test_many_triggers.py",
    "tests/integration/test_claim_protocol.py",
    "tests/integration/test_crash_points.py",
    "tests/integration/test_replay_jobs.py",
    "tests/integration/test_stack_supervisor.py",
    "tests/contract/test_spanner_faults.py",
    "tests/failures/test_moving.py",
    "tests/failures/test_tenants.py",
    "tests/integration/test_dead_letter_archive.py",
    "tests/integration/test_sweeper.py",
    "tests/integration/test_cross_tenant.py",
    "tests/architecture/test_infra.py",
)
"""Groups in the order in which they begin; all others follow in random order."""


class ByFile(LoadScopeScheduling):  # type: ignore[misc]  # its base has no types
    """A worker takes a whole group at a time. (`--dist loadgroup` marks node ids in a way that pytest 9.2 ignores.)"""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    return ByFile(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """After pytest-randomly shuffled: its wrapper goes first."""
    items.sort(key=lambda item: rank_of(group_of(item.nodeid)))


def group_of(nodeid: str) -> str:
    """The test's file, or the shared stack."""
    path = nodeid.partition("::")[0]
    return SHARED_STACK if path.startswith("tests/e2e/") and path not in STACKS_OF_THEIR_OWN else path


def rank_of(group: str) -> int:
    return SLOWEST_FIRST.index(group) if group in SLOWEST_FIRST else len(SLOWEST_FIRST)
