"""Where a request stands, as one of a few situations; decided from its rows and the clock alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from schemas.events import EVENT_TYPES
from shared.pipeline import Pipeline
from shared.story import STAGES, CallStory, RequestFacts, RunFacts

CHAIN_KINDS = frozenset({"post_call", "incomplete"})
"""Requests that take a call through the stages; every other kind is merged into the call."""


class Situation(StrEnum):
    """What `pipeline why` tells apart. The worst comes first: of several requests the first is told."""

    FAILED = "failed"
    FAILED_UNRECORDED = "failed_unrecorded"
    BLOCKED = "blocked"
    SUSPENDED = "suspended"
    LEASE_OVER = "lease_over"
    RETRYING = "retrying"
    REPLAYING = "replaying"
    DEFERRED = "deferred"
    WAITING = "waiting"
    BETWEEN_STAGES = "between_stages"
    RECEIVED = "received"
    RUNNING = "running"
    DISCARDED = "discarded"
    DONE = "done"
    SUPERSEDED = "superseded"
    MERGED = "merged"
    NOT_PROCESSED = "not_processed"
    # Of a call, not of a request:
    NEVER_ARRIVED = "never_arrived"
    IN_INBOX = "in_inbox"
    GIVEN_UP_UNCLAIMED = "given_up_unclaimed"
    AWAITING_POST_CALL = "awaiting_post_call"
    SCHEMA_BEHIND = "schema_behind"


FINISHED = frozenset(
    {Situation.DONE, Situation.MERGED, Situation.NOT_PROCESSED, Situation.DISCARDED, Situation.SUPERSEDED}
)
_ORDER = {situation: rank for rank, situation in enumerate(Situation)}


@dataclass(frozen=True)
class StagePace:
    """How one stage's messages are delivered."""

    lease: timedelta
    max_attempts: int
    min_backoff_s: float
    max_backoff_s: float
    subscription: str


@dataclass(frozen=True)
class Pace:
    """The bounds within which things go on by themselves: `infra/pipeline.json` and settings."""

    stages: Mapping[str, StagePace]
    by_topic: Mapping[str, str]
    """Which stage a topic's events start."""
    stale_after: timedelta
    """PIPELINE_SWEEP_STALE_S: when the sweeper sends something that shows no progress."""
    sweep_late_after: timedelta = timedelta(minutes=10)
    """Two of Cloud Scheduler's five minutes: what is due for longer was not swept."""

    @classmethod
    def of(cls, pipeline: Pipeline, *, stale_after: timedelta, lease: timedelta | None = None) -> Pace:
        """`lease` replaces every stage's own, as PIPELINE_LEASE_S does."""
        services = {name: service for name, service in pipeline.services.items() if name in STAGES}
        return cls(
            stages={
                name: StagePace(
                    lease=lease or timedelta(seconds=service.ack_deadline_s),
                    max_attempts=service.max_delivery_attempts,
                    min_backoff_s=service.min_backoff_s,
                    max_backoff_s=service.max_backoff_s,
                    subscription=service.subscribes[0].subscription,
                )
                for name, service in services.items()
            },
            by_topic={item.topic: name for name, service in services.items() for item in service.subscribes},
            stale_after=stale_after,
        )

    def stage_after(self, event_type: str) -> str:
        """The stage that an event starts; empty for one that starts none of ours."""
        event_class = EVENT_TYPES.get(event_type)
        return self.by_topic.get(event_class.topic, "") if event_class else ""


def situation_of(request: RequestFacts, story: CallStory, *, now: datetime) -> Situation:
    """Where the request stands now."""
    if request.state == "not_processed":
        return Situation.NOT_PROCESSED
    run = request.last_run
    if run is None:
        return Situation.RECEIVED
    match run.state:
        case "running":
            return Situation.LEASE_OVER if run.lease_until <= now else Situation.RUNNING
        case "retrying":
            return Situation.REPLAYING if _was_just_replayed(run, story) else Situation.RETRYING
        case "blocked":
            return Situation.SUSPENDED if run.code == "tenant_suspended" else Situation.BLOCKED
        case "failed":
            return _given_up(run, story)
        case "waiting":
            return Situation.WAITING
        case "deferred":
            return Situation.DEFERRED
        case _:
            return _after(request, run)


def worst(requests: tuple[RequestFacts, ...], story: CallStory, *, now: datetime) -> RequestFacts:
    """The request that a question about the call is about: the worst situation; of equals the latest chain."""
    return min(
        reversed(requests),
        key=lambda one: (_ORDER[situation_of(one, story, now=now)], one.kind != "post_call"),
    )


def _was_just_replayed(run: RunFacts, story: CallStory) -> bool:
    letter = story.letter_of(run.request_id, run.stage)
    return letter is not None and letter.state == "replaying" and run.updated_at <= letter.updated_at


def _given_up(run: RunFacts, story: CallStory) -> Situation:
    letter = story.letter_of(run.request_id, run.stage)
    if letter is None:
        is_rerun = story.rerun_of(run.request_id, run.stage)
        return Situation.SUPERSEDED if is_rerun else Situation.FAILED_UNRECORDED
    return Situation.DISCARDED if letter.state == "discarded" else Situation.FAILED


def _after(request: RequestFacts, run: RunFacts) -> Situation:
    """The last stage that began is done."""
    if request.state == "active":
        return Situation.BETWEEN_STAGES
    if request.kind not in CHAIN_KINDS and run.stage == STAGES[0]:
        return Situation.MERGED
    return Situation.DONE
