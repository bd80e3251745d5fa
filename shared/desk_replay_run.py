"""Runs a replay job: slowly, step by step, one process at a time, and so that it can be stopped and resumed anywhere.

Every letter is one commit (letter, item, run and audit log) and then one publish. A crash between the two leaves a sent
item that no worker has touched; whoever resumes the job sends its message again, and the claim lets one of the two run.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from uuid import uuid4

import structlog

from shared.dead_letters import AuditEntry, DeadLetterBody
from shared.desk_jobs import (
    LEASE_S,
    LOOK_EVERY_S,
    PAUSE_AFTER_TROUBLE_S,
    JobReport,
    JobState,
    Progress,
    ReplayItem,
    ReplayJob,
    failure_share,
    not_free,
    outcome_of,
    pause_after_look,
    step_sizes,
)
from shared.desk_live import LiveWatch
from shared.desk_messages import CannotReplay, Outgoing, message_for, reason_not_to_replay, start_of
from shared.desk_ports import DeadLetterStore
from shared.desk_replay import ReplayDesk
from shared.errors import PermanentFailure, PipelineError, TenantBlocked, TransientFailure

log = structlog.get_logger()

Pause = Callable[[float], bool]
"""Waits so many seconds at most; true when it is time to stop (an event's `wait`)."""

ENOUGH_TO_JUDGE = 20
"""Outcomes before a step may be stopped in its middle; at its end it is judged whatever their number."""


class _Stop(Exception):
    """The job ends here, for the reason given."""


@dataclass
class JobRun:
    """One run of one job. Time and waiting are passed in."""

    replays: ReplayDesk
    pause: Pause
    report: Callable[[Progress], None] = field(default=lambda _progress: None)
    monotonic: Callable[[], float] = time.monotonic

    def run(self, job_id: str) -> JobReport:
        """Begin or resume a job and stay until it is finished or stopped.

        Raises `ConfigurationError` when the job is finished or another process runs it. Whatever else goes wrong
        stops the job and is its reason; what may pass is waited for, `LEASE_S` at most.
        """
        job = self.replays.job(job_id)
        token = str(uuid4())
        if not self.replays.desk.store.take_job(job, lock_token=token, lease_s=LEASE_S):
            raise not_free(self.replays.job(job_id))
        return _Run(self, job, token, LiveWatch(self.replays.desk, job)).go()


@dataclass
class _Run:
    """A job in hand."""

    settings: JobRun
    job: ReplayJob
    token: str
    live: LiveWatch
    items: list[ReplayItem] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    seen: frozenset[int] = frozenset()
    """Positions whose outcome was there when this run began: whoever resumes a job has seen it, and judges the rest."""
    pending: int = 0
    judged: int = 0
    step: range = range(0)
    step_number: int = 0
    _look_at: float = 0.0
    _sent_at: float = -math.inf

    def _load(self) -> None:
        self._replays.settle(self.job)
        self.items = self._store.items(self.job)
        self.sizes = step_sizes(len(self.items), self.job.options.steps)
        self.pending = sum(item.state == "pending" for item in self.items)

    @property
    def _replays(self) -> ReplayDesk:
        return self.settings.replays

    @property
    def _store(self) -> DeadLetterStore:
        return self._replays.desk.store

    def go(self) -> JobReport:
        state: JobState = "stopped"
        reason = "the process ended"
        self.judged = self.job.judged_steps
        try:
            self._load()
            self.seen = frozenset(item.position for item in self.items if item.state in {"arrived", "failed"})
            self.live.begin()
            self._send_doubtful_again()
            self._take_steps_with_patience()
            state, reason = "finished", ""
        except _Stop as stop:
            reason = str(stop)
        except PipelineError as error:
            log.warning("replay_interrupted", job_id=self.job.job_id, code=error.code, detail=error.detail)
            reason = error.detail
        finally:
            self._leave(state, reason)
        return self._replays.report(self._replays.job(self.job.job_id))

    def _leave(self, state: JobState, reason: str) -> None:
        counts: Counter[str] = Counter(item.state for item in self.items)
        audit = AuditEntry(
            self.job.actor,
            "replay.end",
            self.job.job_id,
            {"counts": dict(counts), "reason": reason},
            outcome=state,
        )
        log.info("replay_ended", job_id=self.job.job_id, state=state, reason=reason, counts=dict(counts))
        try:
            self._store.leave_job(
                self.job,
                lock_token=self.token,
                state=state,
                stop_reason=reason,
                judged_steps=self.judged,
                audit=audit,
            )
        except PipelineError as error:
            log.warning("replay_not_unlocked", job_id=self.job.job_id, code=error.code, lease_s=LEASE_S)

    # -- steps -----------------------------------------------------------------------------------------

    def _take_steps_with_patience(self) -> None:
        """A database or a Pub/Sub that is away is waited for, until nothing has moved for `LEASE_S`.

        Then as whoever resumes it: what was done is read anew, because a commit without an answer may have been made.
        """
        work, since, stood = self._take_steps, 0.0, None
        while True:
            try:
                work()
            except TransientFailure as error:
                now, stands = self.settings.monotonic(), Counter(item.state for item in self.items)
                if stands != stood:
                    since, stood = now, stands
                if now >= since + LEASE_S:
                    raise
                log.warning("replay_waits", job_id=self.job.job_id, code=error.code, detail=error.detail)
                self._pause(PAUSE_AFTER_TROUBLE_S)
                work = self._go_on
            else:
                return

    def _go_on(self) -> None:
        self._load()
        self._send_doubtful_again()
        self._take_steps()

    def _take_steps(self) -> None:
        first = 0
        for number, size in enumerate(self.sizes, start=1):
            self.step, self.step_number = range(first, first + size), number
            first += size
            if number <= self.judged and not self._count()["pending"]:
                continue
            for position in self.step:
                if self.items[position].state == "pending":
                    self._wait_for_turn()
                    self._send(self.items[position])
            self._await_outcomes(is_last=number == len(self.sizes))
            self.judged = max(self.judged, number)
            self._judge(enough=1)
            self._renew()

    def _await_outcomes(self, *, is_last: bool) -> None:
        ends_at = self.settings.monotonic() + self.job.options.wait_s
        self._look()
        while self._count()["sent"] and self.settings.monotonic() < ends_at:
            self._pause(self._look_at - self.settings.monotonic())
            self._look()
        unsettled = self._count()["sent"]
        if unsettled and not is_last:
            wait_s = self.job.options.wait_s
            raise _Stop(f"no outcome of {unsettled} letters of step {self.step_number} within {wait_s:g} s")

    def _judge(self, *, enough: int) -> None:
        """Stop when too many of the step's letters failed again and others would follow them."""
        if not self.pending:
            return
        news = (self.items[position].state for position in self.step if position not in self.seen)
        counts: Counter[str] = Counter(news)
        settled = counts["arrived"] + counts["failed"]
        share = failure_share(counts)
        if settled >= enough and share > self.job.options.max_failures:
            raise _Stop(
                f"{counts['failed']} of {settled} letters of step {self.step_number} failed again:"
                f" {share:.0%} is more than {self.job.options.max_failures:.0%}"
            )

    def _count(self) -> Counter[str]:
        return Counter(self.items[position].state for position in self.step)

    # -- looking ---------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Note outcomes, keep the lock, tell the person who waits."""
        begun = self.settings.monotonic()
        for position, item in self._replays.settle(self.job).items():
            self.items[position] = item
        self.live.look()
        self._renew()
        self._look_at = self.settings.monotonic() + pause_after_look(self.settings.monotonic() - begun)
        counts: Counter[str] = Counter(item.state for item in self.items)
        progress = Progress(len(self.items), counts, self.step_number, len(self.sizes), self.live.pace.rate)
        self.settings.report(progress)

    def _renew(self) -> None:
        kept = self._store.renew_job(self.job, lock_token=self.token, lease_s=LEASE_S, judged_steps=self.judged)
        if not kept:
            now = self._replays.job(self.job.job_id)
            raise _Stop(now.stop_reason or "another process took the job over")

    # -- sending ---------------------------------------------------------------------------------------

    def _wait_for_turn(self) -> None:
        """Until the rate allows the next message; the job is looked after meanwhile."""
        while (left := self._until_turn()) > 0 or self._is_time_to_look():
            if self._is_time_to_look():
                self._look()
                self._judge(enough=ENOUGH_TO_JUDGE)
            else:
                self._pause(min(left, LOOK_EVERY_S))
        self._pause(0)
        self._sent_at = self.settings.monotonic()

    def _until_turn(self) -> float:
        """Seconds. Counted anew with each look: the rate may have changed since the last message."""
        return self._sent_at + 1 / self.live.pace.rate - self.settings.monotonic()

    def _is_time_to_look(self) -> bool:
        return self.settings.monotonic() >= self._look_at

    def _pause(self, seconds: float) -> None:
        if self.settings.pause(seconds):
            raise _Stop("stopped by its operator")

    def _send(self, item: ReplayItem) -> None:
        try:
            body = self._read(item.tenant_id, item.dead_letter_id)
            if reason := self._reason_to_skip(body):
                raise CannotReplay(reason)
            outgoing = self._message(body, number=body.letter.replays + 1)
            start = start_of(body, outgoing, self.job, stalled_before=self._replays.stalled_before())
            if not self._store.start_replay(start):
                now = self._read(item.tenant_id, item.dead_letter_id)
                raise CannotReplay(self._reason_to_skip(now) or "replaying")
        except CannotReplay as refused:
            self._skip(item, refused.reason)
            return
        self.items[item.position] = replace(item, state="sent", replay_number=body.letter.replays + 1)
        self.pending -= 1
        self._publish(outgoing)

    def _read(self, tenant_id: str, dead_letter_id: str) -> DeadLetterBody:
        """Raises `CannotReplay` for a letter that is gone or cannot be opened: it must not hold up those after it."""
        try:
            body = self._store.read(tenant_id, dead_letter_id)
        except (PermanentFailure, TenantBlocked) as error:
            raise CannotReplay(error.code) from error
        if body is None:
            raise CannotReplay("gone")
        return body

    def _reason_to_skip(self, body: DeadLetterBody) -> str:
        return reason_not_to_replay(body.letter, self.job.options, stalled_before=self._replays.stalled_before())

    def _skip(self, item: ReplayItem, reason: str) -> None:
        skipped = replace(item, state="skipped", reason=reason)
        self._store.mark_items(self.job, [skipped])
        self.items[item.position] = skipped
        self.pending -= 1

    def _message(self, body: DeadLetterBody, *, number: int) -> Outgoing:
        desk = self._replays.desk
        return message_for(body, self.job.options, desk.pipeline.stages, desk.store, number=number)

    def _publish(self, outgoing: Outgoing) -> None:
        self._replays.desk.publisher.publish(outgoing.topic, outgoing.data, outgoing.attributes)

    def _send_doubtful_again(self) -> None:
        """Send once more what an earlier run may have marked and not published, and nobody has touched.

        A run sends one letter after the other and ends where a publish fails: only its last one can be in doubt. The
        others wait in Pub/Sub, behind a backlog perhaps, which repetitions must not make longer.
        """
        last = max((item.position for item in self.items if item.replay_number is not None), default=None)
        for sent in self._store.look_at_sent(self.job):
            if sent.position != last or not sent.is_untouched or outcome_of(sent) is not None:
                continue
            try:
                body = self._read(sent.tenant_id, sent.dead_letter_id)
                outgoing = self._message(body, number=sent.replay_number)
            except CannotReplay as refused:
                log.warning("replay_not_sent_again", dead_letter_id=sent.dead_letter_id, reason=refused.reason)
                continue
            self._wait_for_turn()
            self._publish(outgoing)
            log.info("replay_sent_again", job_id=self.job.job_id, dead_letter_id=sent.dead_letter_id)
