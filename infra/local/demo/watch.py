"""Follows posted calls through the stages by reading the pipeline's own tables."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from infra.local.demo.calls import PostedCall
from shared.gateways.calls import SpannerCalls, StoryLine

_POLL_S = 0.25
_FINAL_STATES = frozenset({"done", "failed", "blocked", "not_processed"})


@dataclass(frozen=True)
class StageView:
    """One stage of one call."""

    state: str
    seconds: float | None
    problem: str


@dataclass(frozen=True)
class CallView:
    """One call as the watcher last saw it."""

    posted: PostedCall
    status: str
    stages: Mapping[str, StageView]
    finished_at: datetime | None

    @property
    def is_final(self) -> bool:
        return self.status in _FINAL_STATES

    def timings_s(self) -> dict[str, float]:
        """Seconds in each finished stage, and from the webhook to the end of the request."""
        timings = {name: view.seconds for name, view in self.stages.items() if view.seconds is not None}
        if self.finished_at:
            timings["total"] = round((self.finished_at - self.posted.posted_at).total_seconds(), 3)
        return timings


def watch(
    calls: SpannerCalls,
    tenant_id: str,
    posted: Sequence[PostedCall],
    *,
    timeout_s: float,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[list[CallView]]:
    """Yield every call's state again and again until all are final or the time is over."""
    ends_at = monotonic() + timeout_s
    views = {one.call.call_id: _view(one, []) for one in posted}
    while True:
        for one in posted:
            if not views[one.call.call_id].is_final:
                views[one.call.call_id] = _view(one, calls.story(tenant_id, one.call.call_id))
        yield list(views.values())
        if all(view.is_final for view in views.values()) or monotonic() > ends_at:
            return
        sleep(_POLL_S)


def _view(posted: PostedCall, story: Sequence[StoryLine]) -> CallView:
    lines = [line for line in story if line.request_id == posted.request_id]
    stages = {line.stage: _stage_view(line) for line in lines if line.stage and line.state}
    status = lines[0].request_state if lines else "received"
    return CallView(posted, status, stages, lines[0].request_finished_at if lines else None)


def _stage_view(line: StoryLine) -> StageView:
    seconds = None
    if line.started_at and line.finished_at:
        seconds = round((line.finished_at - line.started_at).total_seconds(), 3)
    problem = f"{line.error_code}: {line.error_detail}" if line.error_code else ""
    return StageView(line.state or "", seconds, problem)
