"""`pipeline bench` counts what a call really costs; here its counting part is held against the promise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.bench.stages import STAGES, measure_stages
from infra.local.bench.targets import STAGE_COSTS, judge_stages
from infra.local.emulators import Emulators
from infra.local.prepare import prepare
from infra.local.stack import Stack, StackOptions, say_nothing
from infra.local.state import StackState

pytestmark = pytest.mark.emulators


@pytest.fixture
def stack(_emulator_programs: Emulators, tmp_path: Path) -> Iterator[StackState]:
    """Emulators and stand-ins with the demo tenant, and no workers: their stages run in this process."""
    with Stack(StackOptions(state_dir=tmp_path, only=()), prepare=prepare) as stack:
        yield stack.state


def test_a_call_costs_no_more_commits_reads_and_publishes_than_promised(stack: StackState) -> None:
    env = {**stack.env, **stack.exports}
    costs = measure_stages(env, tenant_id=stack.extra["DEMO_TENANT_ID"], report=say_nothing)

    assert tuple(costs) == STAGES
    assert [verdict.miss for verdict in judge_stages(costs)] == [""] * len(STAGES)
    # Nothing may have gone past the counter: a claim and a result are two commits, and every stage hands on.
    assert all(cost.commits >= 2 for cost in costs.values())
    assert all(cost.publishes == STAGE_COSTS[stage].publishes for stage, cost in costs.items())
