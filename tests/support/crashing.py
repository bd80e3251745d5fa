"""Deaths without losing the process: a call is carried through the stages, and the worker dies where a test says."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from handlers import wiring
from handlers.push import StageTaker
from schemas.events import CallReceived
from shared.crash_points import crashing
from shared.deliveries import Delivery
from shared.errors import PipelineError
from shared.gateways.sweep_store import SpannerSweepStore
from shared.inbox import Inbox
from shared.runner import Runner
from shared.stage import Completed, StageContext
from shared.sweeper import Sweeper
from tests.support.flaky import BUCKET
from tests.support.mail import _STEP_OF_TOPIC, Mail, Step, _delivery
from tests.support.ports import Message

LONGEST_LEASE = timedelta(seconds=600)
"""Of all stages: after it nobody holds what a dead worker held."""


class CrashNow(BaseException):
    """The process is gone: nothing after this runs, not even what looks after errors."""


@dataclass
class Doom:
    """Dies at the `passing`-th passing of `point`, once; remembers every point that was passed."""

    point: str = ""
    passing: int = 1
    passed: list[str] = field(default_factory=list)

    def __call__(self, point: str) -> None:
        self.passed.append(point)
        if point == self.point and self.passed.count(point) == self.passing:
            raise CrashNow

    @property
    def has_struck(self) -> bool:
        return self.passed.count(self.point) >= self.passing


@dataclass
class ShiftedClock:
    """The wall clock, some time ahead."""

    ahead: timedelta = timedelta(0)

    def __call__(self) -> datetime:
        return wiring.now() + self.ahead


@dataclass
class CrashingMail(Mail):
    """Carries a call as `Mail` does, while `doom` hangs over the step `at`.

    A worker that dies gives no answer; the message comes again when its lease is over. `error` makes the step's first
    `failures` attempts fail. What sleeps afterwards is woken by `sweeps` sweeps, which may die as well.
    """

    doom: Doom = field(default_factory=Doom)
    error: PipelineError | None = None
    failures: int = 1
    sweeps: int = 0
    clock: ShiftedClock = field(default_factory=ShiftedClock)

    def __post_init__(self) -> None:
        self.trouble = crashing(self.doom)

    def carry(self, event: CallReceived) -> None:
        """Until nothing is left."""
        self.carry_on(event, [Message(event.topic, event.model_dump_json().encode(), event.attributes())])
        for _ in range(self.sweeps):
            self.carry_on(event, self._swept())

    def carry_on(self, event: CallReceived, messages: list[Message]) -> None:
        """Deliver what somebody published, a replay for example, and everything that follows from it."""
        queue = deque(_deliveries(messages))
        while queue:
            step, delivery = queue.popleft()
            seen = len(self.publisher.messages)
            self._deliver(step, delivery)
            if step == "submit":
                queue += [("collect", notice) for notice in self._notices(event)]
            queue += _deliveries(self.publisher.messages[seen:])

    def _swept(self) -> list[Message]:
        """What a sweep publishes when everything that sleeps is due; a sweeper that dies is started again."""
        self.clock.ahead += LONGEST_LEASE
        seen = len(self.publisher.messages)
        with crashing(self.doom):
            for _ in range(2):
                try:
                    self._sweeper().sweep()
                    break
                except CrashNow:
                    self.clock.ahead += LONGEST_LEASE
        return self.publisher.messages[seen:]

    def _sweeper(self) -> Sweeper:
        return Sweeper(
            store=SpannerSweepStore(self.chain.database.open, self.chain.database.vault),
            publisher=self.publisher,
            inbox=Inbox(self.chain.objects),
            now=self.clock,
        )

    def _taker(self, step: Step) -> Callable[[Delivery], int]:
        taker = StageTaker(runner=self._runner(step), audio_bucket=BUCKET)
        book = self.chain.neighbours.speech.book

        def take(delivery: Delivery) -> int:
            try:
                status = taker(delivery).status
            except CrashNow:
                self.clock.ahead += LONGEST_LEASE
                status = 503
            book.wait_until_idle()
            return status

        return take

    def _runner(self, step: Step) -> Runner:
        stage = "transcribe" if step in ("submit", "collect") else step
        runner = replace(self.chain.runners[stage], publisher=self.publisher, now=self.clock)
        if step != self.at or self.error is None:
            return runner
        if step == "collect":
            assert runner.stage.resume is not None
            return replace(runner, stage=replace(runner.stage, resume=self._failing_first(runner.stage.resume)))
        return replace(runner, stage=replace(runner.stage, run=self._failing_first(runner.stage.run)))

    def _failing_first(self, work: Callable[[StageContext], Completed]) -> Callable[[StageContext], Completed]:
        def run(context: StageContext) -> Completed:
            if self.error is not None and self.failures > 0:
                self.failures -= 1
                raise self.error
            return work(context)

        return run


def _deliveries(messages: Sequence[Message]) -> list[tuple[Step, Delivery]]:
    """What of it starts a step of ours."""
    return [
        (_STEP_OF_TOPIC[message.topic], _delivery(message)) for message in messages if message.topic in _STEP_OF_TOPIC
    ]
