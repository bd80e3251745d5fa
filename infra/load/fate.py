"""What became of the webhooks that were accepted: every 202 must lead to a request in a final state."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from infra.load.sender import Answer
from shared.gateways.calls import StoryLine

FINAL = frozenset({"done", "failed", "blocked", "not_processed"})
"""States that a request keeps until a person acts; `done` alone is a success."""
_FIRST_LOOK_S, _LAST_LOOK_S = 0.5, 5.0
"""Looks at one call grow apart: a queue of thousands must not be held up by being watched."""


class StoryReader(Protocol):
    """How the pipeline's own tables are asked."""

    def story(self, tenant_id: str, call_id: str) -> list[StoryLine]: ...


@dataclass(frozen=True)
class Fate:
    """Accepted webhooks by the state of their request, and seconds from receipt to the end of those that are done."""

    states: Counter[str]
    """Final states; `unfinished` still moved when the time was over, `lost` has no row: gone, or not taken up yet."""
    end_to_end_s: tuple[float, ...]
    waited_s: float

    @property
    def lost(self) -> int:
        return self.states["lost"]

    @property
    def unfinished(self) -> int:
        return self.states["unfinished"]


def follow(
    reader: StoryReader,
    tenant_id: str,
    accepted: Sequence[Answer],
    *,
    timeout_s: float,
    report: Callable[[int], None],
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Fate:
    """Read each call's rows, in the order of sending, until all are final or the time is over."""
    begun = monotonic()
    states: Counter[str] = Counter()
    seconds: list[float] = []
    for number, answer in enumerate(accepted, 1):
        pause_s = _FIRST_LOOK_S
        while True:
            lines = [line for line in reader.story(tenant_id, answer.call_id) if line.request_id == answer.request_id]
            state = lines[0].request_state if lines else "lost"
            if state in FINAL:
                break
            if monotonic() - begun > timeout_s:
                state = "unfinished" if lines else "lost"
                break
            sleep(pause_s)
            pause_s = min(2 * pause_s, _LAST_LOOK_S)
        states[state] += 1
        if state == "done" and lines[0].request_finished_at:
            seconds.append((lines[0].request_finished_at - lines[0].received_at).total_seconds())
        report(number)
    return Fate(states, tuple(seconds), monotonic() - begun)
