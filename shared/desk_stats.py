"""The desk in figures, tenant by tenant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from shared.dead_letters import StateCount


@dataclass(frozen=True)
class TenantStats:
    """One tenant's letters. `lately` is the last 24 hours."""

    tenant_id: str
    open: int
    replaying: int
    closed: int
    discarded: int
    oldest_open: datetime | None
    new_lately: int
    closed_lately: int
    replays: int
    replay_outcomes: Mapping[str, int]
    """Letters of all replays by what became of them."""


def stats_of(tenant_id: str, counts: Sequence[StateCount], outcomes: Mapping[str, int]) -> TenantStats:
    """Pure: the rows of `counts_by_state` and `outcomes_of_replays` as one line."""
    letters = {count.state: count.letters for count in counts}
    return TenantStats(
        tenant_id=tenant_id,
        open=letters.get("open", 0),
        replaying=letters.get("replaying", 0),
        closed=letters.get("closed", 0),
        discarded=letters.get("discarded", 0),
        oldest_open=next((count.oldest for count in counts if count.state == "open"), None),
        new_lately=sum(count.created_lately for count in counts),
        closed_lately=sum(count.closed_lately for count in counts),
        replays=sum(count.replays for count in counts),
        replay_outcomes=outcomes,
    )
