"""A chaos run before it happens: calls, faults and deaths, all from one seed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from infra.local.chaos.calls import PlannedCall, Post, plan_calls
from infra.local.chaos.faults import Fault, plan_deaths, plan_faults
from shared.crash_points import Death

_POSTING_SHARE = 0.8
"""Webhooks come in the first part of the run, so that every one meets faults on its way."""


@dataclass(frozen=True)
class ChaosPlan:
    """The same for the same seed, number of calls and duration."""

    seed: int
    duration_s: float
    calls: tuple[PlannedCall, ...]
    faults: tuple[Fault, ...]
    deaths: tuple[Death, ...]

    @property
    def posts(self) -> list[Post]:
        """Every webhook in order of time."""
        return sorted((post for call in self.calls for post in call.posts), key=lambda post: post.at_s)

    @property
    def digest(self) -> str:
        """Tells whether two runs were planned alike."""
        return hashlib.sha256(repr((self.calls, self.faults, self.deaths)).encode()).hexdigest()[:12]


def make_plan(*, seed: int, calls: int, duration_s: float) -> ChaosPlan:
    """Draw everything."""
    return ChaosPlan(
        seed=seed,
        duration_s=duration_s,
        calls=plan_calls(seed, count=calls, over_s=duration_s * _POSTING_SHARE),
        faults=plan_faults(seed, over_s=duration_s),
        deaths=plan_deaths(seed, over_s=duration_s),
    )
