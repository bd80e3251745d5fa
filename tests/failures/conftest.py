"""The whole chain for failures that are about calls on their way."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.flaky import Chain
from tests.support.office import Office, open_chain


@pytest.fixture(scope="module")
def chain(request: pytest.FixtureRequest, spanner_emulator: str, gcs_server: str) -> Iterator[Chain]:
    """All stages with all neighbours; what is known of tenants and circuits is old within moments."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIPELINE_CIRCUIT_PROBE_S", "0.05")
        patch.setenv("PIPELINE_TENANT_CACHE_TTL_S", "0.01")
        name = request.module.__name__.rpartition("_")[2]
        with open_chain(spanner_emulator, gcs_server, name=f"failures-{name}") as chain:
            yield chain


@pytest.fixture
def office(chain: Chain) -> Iterator[Office]:
    """Whatever a neighbour was told ends with the test."""
    yield Office(chain)
    for plan in chain.neighbours.plans.values():
        plan.clear()
    chain.neighbours.speech.book.wait_until_idle()
