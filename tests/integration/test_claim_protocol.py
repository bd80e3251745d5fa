"""A model check of the claim protocol: the real runner and store on the Spanner emulator, any order of events.

Several workers are interrupted at every step, die there, meet duplicates, expired leases, failing publishes, sweeps
and every kind of error. What must hold after each step is written as invariants; in the end everything that was
begun must have come to an end.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from schemas.events import CallReceived, TranscriptionOutput
from shared.crash_points import crashing
from shared.errors import TransientFailure
from shared.gateways.sweep_store import SpannerSweepStore
from shared.inbox import Inbox
from shared.runner import Runner
from shared.stage import Completed, StageContext
from shared.sweeper import SENT_AGAIN_AFTER, Sweeper
from tests.support.actors import Actor, current_actor, pause_here
from tests.support.claim_model import (
    BEHAVIOURS,
    FAILURES,
    LONGEST_WALK,
    MAX_ATTEMPTS,
    TO_THE_END,
    WALKS,
    Execution,
    Mail,
    PausingStore,
    Row,
    delivery_of,
    new_call,
    protocol_database,
    request_states,
    rows_of,
    stage_spec,
)
from tests.support.pipeline_database import OUR_TENANT, PipelineDatabase
from tests.support.ports import HandClock, MemoryObjects, MemoryPublisher, MemoryTenants

__all__ = ["protocol_database"]

pytestmark = pytest.mark.emulators

TENANT = OUR_TENANT.tenant_id
MOST_WORKERS = 4
MOST_CALLS = 6
MOST_DELIVERIES = 20
"""Of one message, once all trouble is over."""
OF_THE_NEWEST = 7
"""Of ten deliveries, so many are of the newest request: the older ones have ended and should stay as they are."""


class Protocol(RuleBasedStateMachine):
    """A request, up to four workers, one hand clock; another request once that has ended, so that no step is idle."""

    database: ClassVar[PipelineDatabase]

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.stack.enter_context(crashing(pause_here))
        self.clock = HandClock(datetime.now(UTC))  # not before Spanner's own commit timestamps
        self.publisher = MemoryPublisher()
        self.actors: dict[Actor, Mail] = {}
        self.behaviour: dict[Actor, str] = {}
        self.executions: dict[Actor, Execution] = {}
        self.leases: dict[Actor | None, datetime] = {}
        self.endings: dict[str, Completed] = {}
        self.events = [self._new_event()]
        self.mail = [Mail(event, event.attributes()) for event in self.events]
        self.seen_messages = 0
        self.done: dict[str, tuple[str | None, str | None]] = {}
        """What a finished run said when it was first seen finished: next event and the ledger's token."""
        self.ended: set[str] = set()
        self.left_to_the_sweeper: set[str] = set()
        """Requests whose last word was a duplicate's, refused or dead: Pub/Sub owes no delivery after the first 204."""
        self.checkpointed: set[str] = set()
        self.violations: list[str] = []
        """Seen inside a stage, where the runner would take an assertion for the stage's own fault."""

    def _new_event(self) -> CallReceived:
        """Of a request that has another stage after this one, and of one that has none, by turns."""
        event, ending = new_call(is_last_stage=len(self.endings) % 2 == 0)
        self.endings[event.request_id] = ending
        return event

    # -- the stage -------------------------------------------------------------------------------------------

    def _stage(self, context: StageContext) -> Completed:
        """Does what was decided when the delivery began."""
        actor = current_actor()
        behaviour = self.behaviour[actor] if actor else "finish"
        if context.attempt > MAX_ATTEMPTS:
            self.violations.append("a stage ran although its attempts were used up")
        if context.request_id in self.checkpointed and not context.checkpoint:
            self.violations.append("a checkpoint was lost")
        if actor:
            self.executions[actor] = Execution(context.request_id, context.attempt, self.leases[actor])
            if self._are_two_inside():  # here, and not only where a rule happens to leave the workers
                self.violations.append("two workers under live leases were inside the same stage")
            pause_here("inside the stage")
        if behaviour.startswith("checkpoint"):
            context.save_checkpoint({"paid": "once"})
            self.checkpointed.add(context.request_id)
        if behaviour == "checkpoint, fail":
            raise TransientFailure("vendor_unavailable", "503")
        if behaviour in FAILURES:
            raise FAILURES[behaviour](self.clock())
        return self.endings[context.request_id]

    def _runner(self) -> Runner:
        store = PausingStore(self.database, self.leases)
        return Runner(
            stage_spec(self._stage, self.clock),
            store,
            MemoryTenants((OUR_TENANT,)),
            self.publisher,
            self.clock,
            worker="model",
        )

    # -- what happens ----------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.actors) < MOST_WORKERS)
    @rule(which=st.integers(0, 9), behaviour=st.sampled_from(BEHAVIOURS), points=WALKS)
    def deliver(self, which: int, behaviour: str, points: int) -> None:
        """Any message, acknowledged before or not; its worker gets past so many crash points at first."""
        newest = [mail for mail in self.mail if mail.event.request_id == self.events[-1].request_id]
        mail = newest if which < OF_THE_NEWEST else self.mail
        self._begin(mail[which % len(mail)], behaviour, points)

    @precondition(lambda self: len(self.actors) < MOST_WORKERS - 1)
    @rule(
        behaviour=st.sampled_from(BEHAVIOURS),
        first=WALKS,
        second=WALKS,
        seconds=st.sampled_from([0, 61]),
        dies=st.booleans(),
    )
    def deliver_twice(self, behaviour: str, first: int, second: int, seconds: int, dies: bool) -> None:
        """The same message to two workers, at once or when the first one's lease is over; the second one may die."""
        mail = next(mail for mail in self.mail if mail.event is self.events[-1])
        self._begin(mail, behaviour, first)
        self.clock.advance(seconds)
        other = self._begin(mail, "finish", second)
        if dies and not other.is_over:
            other.die()
            self._look_at(other)

    @initialize(slept=st.booleans(), points=st.integers(0, LONGEST_WALK + 2), dies=st.booleans())
    def begin(self, slept: bool, points: int, dies: bool) -> None:
        """Half of all walks begin with a duplicate of what was answered for: Pub/Sub owes nobody another delivery."""
        if slept:
            self._begin(self.mail[0], "deferred", TO_THE_END)
            self.clock.advance(6 * 3600)
            duplicate = self._begin(self.mail[0], "finish", points)
            if dies and not duplicate.is_over:
                duplicate.die()
                self._look_at(duplicate)

    @precondition(lambda self: self.events[-1].request_id in self.ended and len(self.events) < MOST_CALLS)
    @rule()
    def another_call(self) -> None:
        event = self._new_event()
        self.events.append(event)
        self.mail.append(Mail(event, event.attributes()))

    @precondition(lambda self: len(self.actors) < MOST_WORKERS)
    @rule(behaviour=st.sampled_from(BEHAVIOURS), points=WALKS)
    def notify(self, behaviour: str, points: int) -> None:
        """The outside job reports back: early, late, or twice."""
        request_id = self.events[-1].request_id
        name = f"transcripts/{TENANT}/{request_id}/x.json"
        notice = TranscriptionOutput(tenant_id=TENANT, request_id=request_id, object_name=name)
        mail = Mail(notice, {"objectId": name})
        self.mail.append(mail)
        self._begin(mail, behaviour, points)

    def _begin(self, mail: Mail, behaviour: str, points: int) -> Actor:
        runner = self._runner()

        def work() -> int:
            actor = current_actor()
            assert actor is not None
            self.behaviour[actor] = behaviour
            return runner.handle(delivery_of(mail), mail.event).status

        actor = Actor(work)
        self.actors[actor] = mail
        self._look_at(actor)
        self._go_on(actor, points)
        return actor

    @precondition(lambda self: self.actors)
    @rule(which=st.integers(0, MOST_WORKERS), points=WALKS)
    def step(self, which: int, points: int) -> None:
        self._go_on(self._choose(which), points)

    @precondition(lambda self: self.actors)
    @rule(which=st.integers(0, MOST_WORKERS))
    def crash(self, which: int) -> None:
        actor = self._choose(which)
        actor.die()
        self._look_at(actor)

    @precondition(lambda self: self.actors)
    @rule(which=st.integers(0, MOST_WORKERS))
    def run_to_the_end(self, which: int) -> None:
        actor = self._choose(which)
        actor.finish()
        self._look_at(actor)

    @rule(seconds=st.sampled_from([1, 61, 61, 61, 3601, 6 * 3600]))
    def time_passes(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @rule(count=st.integers(1, 2))
    def publishes_fail(self, count: int) -> None:
        self.publisher.failing = count

    @rule()
    def sweep(self) -> None:
        Sweeper(
            SpannerSweepStore(self.database.open, self.database.vault),
            self.publisher,
            Inbox(MemoryObjects()),
            self.clock,
            # A run's age is told by Spanner's clock, which this test does not hold: no two walks would be the same.
            longest_again=SENT_AGAIN_AFTER,
        ).sweep()
        self._collect_mail()

    def _go_on(self, actor: Actor, points: int) -> None:
        for _ in range(points):
            if not actor.is_over:
                actor.go_on()
                self._look_at(actor)

    def _choose(self, which: int) -> Actor:
        return list(self.actors)[which % len(self.actors)]

    def _look_at(self, actor: Actor) -> None:
        """Keep what follows from where a worker is now."""
        if actor.is_over or actor.point in {"recorded", "after_sleep"}:
            self.executions.pop(actor, None)
        if actor.is_over:
            mail = self.actors.pop(actor)
            is_taken = actor.status is not None and actor.status < 300
            if mail.acknowledged and not is_taken:
                self.left_to_the_sweeper.add(mail.event.request_id)
            mail.acknowledged |= is_taken
        self._collect_mail()

    def _collect_mail(self) -> None:
        """What was sent again is delivered like everything else."""
        fresh, self.seen_messages = self.publisher.messages[self.seen_messages :], len(self.publisher.messages)
        self.mail += [
            Mail(CallReceived.model_validate_json(message.data), message.attributes)
            for message in fresh
            if message.topic == CallReceived.topic
        ]

    # -- what must hold --------------------------------------------------------------------------------------

    def _rows(self) -> dict[str, Row]:
        return rows_of(self.database, [event.request_id for event in self.events])

    def _published_next(self, request_id: str) -> int:
        following = self.endings[request_id].next_event
        assert following is not None
        return self._published(following.topic, request_id)

    def _published(self, topic: str, request_id: str) -> int:
        return sum(
            message.topic == topic and message.attributes["request_id"] == request_id
            for message in self.publisher.messages
        )

    @invariant()
    def everything_holds(self) -> None:
        rows = self._rows()
        assert self.violations == []
        assert not self._are_two_inside()
        self._what_is_done_stays_done_and_is_accounted_once(rows)
        self._whoever_sleeps_has_a_time_to_be_woken(rows)
        self._nothing_ends_in_the_middle(rows)

    def _are_two_inside(self) -> bool:
        """Whether more than one worker is inside the same run's stage under a live lease."""
        alive = [one.request_id for one in self.executions.values() if one.lease_until > self.clock()]
        return len(alive) != len(set(alive))

    def _what_is_done_stays_done_and_is_accounted_once(self, rows: Mapping[str, Row]) -> None:
        for request_id, (next_event, token) in self.done.items():
            row = rows[request_id]
            assert (row.state, row.next_event, row.ledger) == ("done", next_event, token)
        self.ended.update(request_id for request_id, row in rows.items() if row.state in {"done", "failed"})
        for request_id, row in rows.items():
            assert (row.ledger is not None) == (row.state == "done"), "the ledger and the row disagree"
            if row.state == "done":
                self.done.setdefault(request_id, (row.next_event, row.ledger))
            else:
                assert self._published_next(request_id) == 0, "published before it was recorded"

    def _whoever_sleeps_has_a_time_to_be_woken(self, rows: Mapping[str, Row]) -> None:
        for row in rows.values():
            if row.state in {"waiting", "deferred", "blocked"}:
                assert row.due_at is not None

    def _nothing_ends_in_the_middle(self, rows: Mapping[str, Row]) -> None:
        """With every message of a request acknowledged and nobody at work, its row is at an end or knows its time."""
        for event in self.events:
            if event.request_id in self.left_to_the_sweeper:
                continue
            mail = [one for one in self.mail if one.event.request_id == event.request_id]
            if not all(one.acknowledged for one in mail) or any(one in self.actors.values() for one in mail):
                continue
            row = rows[event.request_id]
            assert row.state not in {"running", "retrying"}, "acknowledged, and nobody will go on"
            if row.state == "failed":
                assert self._published("dead-letters", event.request_id) >= 1
            if row.state == "done":
                assert self._published_next(event.request_id) >= 1

    # -- the end ---------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        """Trouble is over: every delivery works and every stage succeeds. Everything must come to its end."""
        try:
            self.publisher.failing = 0
            for actor in list(self.actors):
                actor.finish()
                self._look_at(actor)
            for _ in range(4):
                self._deliver_what_is_left()
                self.clock.advance(48 * 3600)
                if self._everything_has_ended() and not self.left_to_the_sweeper:
                    break
                self.sweep()
                self._deliver_what_is_left()
                self.left_to_the_sweeper.clear()  # no more excuses: what nobody delivers again, one sweep has to find
            self.everything_holds()
            rows = self._rows()
            assert len(rows) == len(self.events)
            assert {row.state for row in rows.values()} <= {"done", "failed"}
            states = request_states(self.database)
            for request_id in (request_id for request_id, row in rows.items() if row.state == "done"):
                assert states[request_id] == self.endings[request_id].request_state
        finally:
            self.stack.close()

    def _everything_has_ended(self) -> bool:
        return all(row.state in {"done", "failed"} for row in self._rows().values())

    def _deliver_what_is_left(self) -> None:
        for mail in self.mail:
            for _ in range(MOST_DELIVERIES):
                if mail.acknowledged:
                    break
                status = self._runner().handle(delivery_of(mail), mail.event).status
                mail.acknowledged = status < 300
                if status == 503:
                    self.clock.advance(61)
                    self._collect_mail()
                    if isinstance(mail.event, TranscriptionOutput):
                        break  # a notice for a run that nobody began comes again after its run's own event


def test_the_claim_protocol_keeps_its_promises_in_any_order_of_events(protocol_database: PipelineDatabase) -> None:
    Protocol.database = protocol_database
    run_state_machine_as_test(
        Protocol,
        settings=settings(
            max_examples=30,
            stateful_step_count=30,
            deadline=None,
            database=None,
            # Without shrinking: thirty steps can be read, and shrinking on a real database takes minutes.
            phases=[Phase.generate],
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
