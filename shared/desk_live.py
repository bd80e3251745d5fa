"""A replay's look at the live calls of all tenants: they share its workers."""

from __future__ import annotations

from datetime import UTC, datetime

import structlog

from shared.desk import Desk
from shared.desk_jobs import ReplayJob
from shared.desk_pace import LOOKED_BACK, Pace

log = structlog.get_logger()


class LiveWatch:
    """Keeps the pace of one run of a job. Raises `TransientFailure` when Spanner does not answer."""

    def __init__(self, desk: Desk, job: ReplayJob) -> None:
        self._desk = desk
        self._job = job
        self.pace = Pace(cap=job.options.rate, max_slowdown=job.options.max_slowdown)
        self._begun_at = self._seen_until = desk.now()

    def begin(self) -> None:
        """Take the measure: how long live calls took lately."""
        if not self.pace.max_slowdown or self._job.total == 1:
            return
        since = self._begun_at - LOOKED_BACK
        self.pace.begin(self._desk.store.live_times(received_after=since, ended_after=since))
        if self.pace.limit_s is not None:
            limit_s, rate = round(self.pace.limit_s, 3), round(self.pace.rate, 3)
            log.info("replay_watches_live_calls", job_id=self._job.job_id, limit_s=limit_s, rate=rate)

    def look(self) -> None:
        """Note the live calls that ended since the last look, and go faster or slower."""
        if self.pace.limit_s is None:
            return
        found = self._desk.store.live_times(received_after=self._begun_at, ended_after=self._seen_until)
        if not found:
            return
        before = self.pace.rate
        self.pace.note(sorted(found))
        self._seen_until = datetime.fromtimestamp(max(live.ended_at for live in found), UTC)
        if self.pace.rate != before:
            rate, slow = round(self.pace.rate, 3), self.pace.slow
            log.info("replay_pace", job_id=self._job.job_id, rate=rate, live_calls=self.pace.calls, slow=slow)
