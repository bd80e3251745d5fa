"""The runner: makes every stage safe against late, repeated and lost deliveries (design §4).

Claim, run, record, publish, answer, in this order. A crash between any two steps is repaired by the redelivery,
which finds the row and goes on from where it stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any
from uuid import uuid4

import structlog

from schemas.events import Event, TranscriptionOutput
from schemas.tenant import Tenant
from shared.active_claims import ActiveClaims, begin_paid
from shared.answers import ACKNOWLEDGED, AGAIN, Answer, consequence_of
from shared.claims import (
    CallVersion,
    ClaimLost,
    NewRun,
    RunKey,
    RunStore,
    Sleep,
    StageRun,
    Verdict,
    decide,
)
from shared.crash_points import crash_point
from shared.dead_letters import TOPIC as DEAD_LETTERS
from shared.dead_letters import GivenUp, dead_letter_attributes
from shared.deliveries import Delivery, is_swept
from shared.errors import (
    AlreadyThere,
    InvalidEvent,
    NotReady,
    PermanentFailure,
    PipelineError,
    TenantBlocked,
    TransientFailure,
    Waiting,
)
from shared.observed import note_admission, note_attempt, note_done, note_sleep, observed
from shared.ports import Clock, Publisher, TenantDirectory
from shared.request_ends import end_after, open_until_published
from shared.retention import kept_for
from shared.run_events import (
    fresh_run,
    original_delivery,
    stored_event,
    taken_over_run,
    trace_attribute,
    traceback_digest,
)
from shared.stage import Completed, StageContext
from shared.stage_spec import Owner, StageSpec
from shared.telemetry import OFF, Telemetry
from shared.traces import ATTRIBUTE

log = structlog.get_logger()

_WORKER_STOPPED = Sleep("retrying", error_code="worker_stopped", error_detail="the worker was shut down")


@dataclass(frozen=True)
class Runner:
    """Runs one stage. Everything it uses is passed in."""

    stage: StageSpec
    store: RunStore
    tenants: TenantDirectory
    publisher: Publisher
    now: Clock
    worker: str
    """Names this process in the row, for the operator who looks at a stuck claim."""
    claims: ActiveClaims = field(default_factory=ActiveClaims)
    telemetry: Telemetry = OFF

    def handle(self, delivery: Delivery, event: Event | TranscriptionOutput) -> Answer:
        """Take one delivery to an answer; never raises."""
        key = RunKey(event.tenant_id, event.request_id, self.stage.name)
        with structlog.contextvars.bound_contextvars(
            tenant_id=key.tenant_id, request_id=key.request_id, stage=key.stage, message_id=delivery.message_id
        ):
            return observed(self.telemetry, key, delivery, lambda traced: self._answer(key, traced, event), self.now)

    def _answer(self, key: RunKey, delivery: Delivery, event: Event | TranscriptionOutput) -> Answer:
        try:
            return self._claim_and_run(key, delivery, event)
        except ClaimLost:
            log.warning("claim_lost")
            return AGAIN
        except InvalidEvent as error:
            return self.give_up(delivery, GivenUp.because(error, stage=key.stage, attempts=1))
        except PipelineError as error:
            # The database or Pub/Sub did not answer: nothing was recorded, so the message must come again.
            log.warning("delivery_put_back", code=error.code, detail=error.detail)
            return AGAIN
        except Exception:
            log.exception("runner_failed")
            return Answer(500)

    def give_up(self, delivery: Delivery, given_up: GivenUp) -> Answer:
        """Publish the dead letter, then acknowledge; without a confirmed publish, nothing is acknowledged."""
        try:
            self.publisher.publish(DEAD_LETTERS, delivery.data, dead_letter_attributes(delivery, given_up))
        except TransientFailure as error:
            log.error("dead_letter_not_published", reason=given_up.reason, code=error.code)
            return AGAIN
        crash_point("given_up")
        log.error("dead_letter", reason=given_up.reason, detail=given_up.detail, attempts=given_up.attempts)
        return ACKNOWLEDGED

    def give_back_claims(self) -> int:
        """Put every run in hand to sleep as `retrying`: the redelivery takes it over at once. Returns how many.

        Nothing is claimed after that, because nobody would give it back before the process is killed. A run that has
        begun what is paid for keeps its claim: who took it over now would pay a second time.
        """
        given_back = 0
        for token, key in self.claims.close():
            try:
                self.store.sleep(key, token, _WORKER_STOPPED)
                given_back += 1
            except (ClaimLost, PipelineError):
                log.warning("claim_not_given_back", request_id=key.request_id, stage=key.stage)
        return given_back

    # -- claim -------------------------------------------------------------------------------------

    def _claim_and_run(self, key: RunKey, delivery: Delivery, event: Event | TranscriptionOutput) -> Answer:
        if self.claims.closed:
            raise NotReady("worker_stopped", "the worker is being shut down")
        owner = self._owner(key.tenant_id)
        if isinstance(owner, Tenant) and owner.status == "offboarded":
            # Its keys are gone, so nothing may be stored; a dead letter would only be kept without its content.
            log.warning("event_of_offboarded_tenant")
            return ACKNOWLEDGED
        if isinstance(event, TranscriptionOutput):
            return self._meet_existing(key, delivery, event, owner, our_token="")
        if not isinstance(event, self.stage.accepts):
            raise InvalidEvent("wrong_topic", f"{event.type} does not start {key.stage}")
        claim = NewRun(
            key=key,
            call_id=event.call_id,
            claim_token=str(uuid4()),
            worker=self.worker,
            lease_until=self.now() + self.stage.lease,
            event=event.model_dump_json(),
            expires_at=self.now() + kept_for(owner),
        )
        admission = self.stage.admit(event) if self.stage.admit else None
        try:
            self.store.insert(claim, admission)
        except AlreadyThere:
            return self._meet_existing(key, delivery, event, owner, our_token=claim.claim_token)
        if admission:
            note_admission(self.telemetry, key, delivery, admission)
        crash_point("claimed")
        return self._attempt(fresh_run(claim), delivery, event, owner)

    def _owner(self, tenant_id: str) -> Owner:
        try:
            tenant = self.tenants.by_id(tenant_id)
        except TenantBlocked as blocked:
            # Not put back: redeliveries would run out and end as a dead letter, for what only a person can mend.
            return blocked
        if tenant is None:
            raise InvalidEvent("unknown_tenant", "no tenant has this id")
        return tenant

    def _meet_existing(
        self,
        key: RunKey,
        delivery: Delivery,
        event: Event | TranscriptionOutput,
        owner: Owner,
        *,
        our_token: str,
    ) -> Answer:
        run = self._absorb_and_read(key, event, owner)
        is_continuation = isinstance(event, TranscriptionOutput) or is_swept(delivery)
        if run is None:
            raise NotReady("run_not_recorded", "the request's row is not there yet")
        verdict = decide(run, our_token=our_token, now=self.now(), is_continuation=is_continuation)
        log.info("claim_met_row", state=run.state, verdict=verdict.value, attempt=run.attempt)
        match verdict:
            case Verdict.OURS:
                return self._attempt(run, delivery, event, owner)
            case Verdict.REPEAT_NEXT_EVENT:
                self._clean_up(run, owner)  # a crash after the record has left it undone
                return self._publish_next(run.key, run.next_event, delivery)
            case Verdict.REPEAT_DEAD_LETTER:
                return self._give_up_again(run, delivery)
            case Verdict.BUSY:
                return AGAIN
            case Verdict.SLEEPS:
                return ACKNOWLEDGED
            case Verdict.TAKE_OVER:
                return self._attempt(self._take_over(run), delivery, event, owner)

    def _absorb_and_read(self, key: RunKey, event: Event | TranscriptionOutput, owner: Owner) -> StageRun | None:
        """The row, after the event's news was taken in: they may be what the row waits for.

        Whoever works on the stage meanwhile and has not seen them cannot record what they make untrue (`call_as_of`).
        """
        if self.stage.absorb is not None and isinstance(event, Event):
            also = self.stage.absorb(event, owner)
            crash_point("absorbed")
            self._publish_also(also)
        return self.store.read(key)

    def _take_over(self, run: StageRun) -> StageRun:
        token = str(uuid4())
        lease_until = self.now() + self.stage.lease
        self.store.take_over(run, claim_token=token, worker=self.worker, lease_until=lease_until)
        crash_point("taken_over")
        return taken_over_run(run, token, lease_until)

    def _give_up_again(self, run: StageRun, delivery: Delivery) -> Answer:
        # A notification too: the publish of the dead letter may be what failed when the row was written.
        if self.stage.after_failure:
            self._publish_also(self.stage.after_failure(run))
        return self.give_up(
            original_delivery(run, delivery),
            GivenUp(run.key.stage, run.error_code, run.error_detail, run.error_fix, attempts=run.attempt),
        )

    # -- run, record, publish ----------------------------------------------------------------------

    def _attempt(self, run: StageRun, delivery: Delivery, event: Event | TranscriptionOutput, owner: Owner) -> Answer:
        with (
            structlog.contextvars.bound_contextvars(call_id=run.call_id, attempt=run.attempt),
            self.claims.held(run),
        ):
            if self.claims.closed:
                self.store.sleep(run.key, run.claim_token, _WORKER_STOPPED)
                return AGAIN
            note_attempt(run)
            try:
                completed = self._run_stage(run, event, owner)
            except Waiting as waiting:
                self._sleep(run, Sleep("waiting", due_at=waiting.until, checkpoint=waiting.checkpoint))
                log.info("stage_waiting", until=waiting.until.isoformat())
                return ACKNOWLEDGED
            except ClaimLost:
                raise
            except PipelineError as error:
                return self._stop(run, delivery, error)
            except Exception as error:
                return self._stop_on_bug(run, error)
            answer = self._finish(run, completed, delivery)
            self._clean_up(run, owner)
            return answer

    def _run_stage(self, run: StageRun, event: Event | TranscriptionOutput, owner: Owner) -> Completed:
        if run.attempt > self.stage.max_attempts:
            raise PermanentFailure(
                run.error_code or "attempts_exhausted",
                f"gave up after {self.stage.max_attempts} attempts; last: {run.error_detail or 'no answer'}",
                fix=run.error_fix,
            )
        if isinstance(owner, TenantBlocked):
            raise owner
        if owner.status != "active":
            raise TenantBlocked(
                "tenant_suspended",
                "the tenant is not active",
                fix="pipeline tenant resume TENANT; its calls then go on by themselves",
            )
        stage = self.stage
        function = stage.resume if isinstance(event, TranscriptionOutput) and stage.resume else stage.run
        context = StageContext(
            tenant=owner,
            request_id=run.key.request_id,
            call_id=run.call_id,
            event=event,
            attempt=run.attempt,
            checkpoint=run.checkpoint or {},
            save_checkpoint=partial(self._save_checkpoint, run),
            now=self.now,
            begin_paid=partial(begin_paid, self.claims, run, lease=self.stage.lease, now=self.now),
        )
        return function(context)

    def _save_checkpoint(
        self, run: StageRun, checkpoint: Mapping[str, Any], /, *, call_as_of: datetime | None = None
    ) -> None:
        crash_point("before_checkpoint")
        call = CallVersion(run.call_id, call_as_of) if call_as_of else None
        self.store.save_checkpoint(run.key, run.claim_token, checkpoint, call=call)
        crash_point("after_checkpoint")

    def _sleep(self, run: StageRun, sleep: Sleep) -> None:
        crash_point("before_sleep")
        self.store.sleep(run.key, run.claim_token, sleep)
        note_sleep(sleep)
        crash_point("after_sleep")

    def _finish(self, run: StageRun, completed: Completed, delivery: Delivery) -> Answer:
        next_event = completed.next_event.model_dump_json() if completed.next_event else ""
        recorded = open_until_published(run, completed, now=self.now())
        crash_point("stage_run")
        try:
            self.store.finish(run, recorded)
        except AlreadyThere:
            log.info("finished_by_another")
            return self._repeat_stored(run.key, delivery)
        except NotReady as changed:
            return self._stop(run, delivery, changed)
        used = note_done(self.telemetry, run, completed, now=self.now())
        crash_point("recorded")
        answer = self._publish_next(run.key, next_event, delivery, is_open=recorded.request_state == "active")
        log.info("stage_done", next=completed.next_event.type if completed.next_event else None, **used)
        return answer

    def _clean_up(self, run: StageRun, owner: Owner) -> None:
        """Only after the record: until then a redelivery needs what is removed here. The bucket's life cycle does it
        where this fails."""
        if self.stage.clean_up and isinstance(owner, Tenant):
            try:
                self.stage.clean_up(run, owner)
            except PipelineError as error:
                log.warning("clean_up_failed", code=error.code)

    def _repeat_stored(self, key: RunKey, delivery: Delivery) -> Answer:
        stored = self.store.read(key)
        return self._publish_next(key, stored.next_event if stored else "", delivery)

    def _publish_also(self, event: Event | None) -> None:
        """Publish an event beside the stage's own. Raises `TransientFailure`: the delivery comes again."""
        if event is not None:
            # It may begin a request of its own, which then has a trace of its own.
            trace = self.telemetry.trace_of(event.tenant_id, event.request_id).header
            attributes = {**event.attributes(), ATTRIBUTE: trace}
            self.publisher.publish(event.topic, event.model_dump_json().encode(), attributes)
            crash_point("published_beside")

    def _publish_next(self, key: RunKey, next_event: str, delivery: Delivery, *, is_open: bool = True) -> Answer:
        """`is_open`: whether the request may be waiting for this event to end."""
        if not next_event:
            return ACKNOWLEDGED
        event = stored_event(next_event)
        try:
            attributes = {**event.attributes(), **trace_attribute(delivery)}
            self.publisher.publish(event.topic, next_event.encode(), attributes)
        except TransientFailure as error:
            log.warning("next_event_not_published", code=error.code)
            return AGAIN
        crash_point("published")
        if is_open:
            end_after(event, key, self.store)
        return ACKNOWLEDGED

    # -- the error table ---------------------------------------------------------------------------

    def _stop(self, run: StageRun, delivery: Delivery, error: PipelineError) -> Answer:
        """Write how the run stands, then answer; what nobody can mend by waiting becomes a dead letter."""
        consequence = consequence_of(error, now=self.now())
        row = consequence.row
        self._sleep(run, row)
        if consequence.answer is None:
            if self.stage.after_failure:
                self._publish_also(self.stage.after_failure(run))
            given_up = GivenUp.because(error, stage=run.key.stage, attempts=run.attempt)
            return self.give_up(original_delivery(run, delivery), given_up)
        due_at = row.due_at.isoformat() if row.due_at else None
        log.warning(
            "stage_stopped", state=row.state, code=error.code, detail=error.detail, fix=error.fix, due_at=due_at
        )
        return consequence.answer

    def _stop_on_bug(self, run: StageRun, error: Exception) -> Answer:
        """A bug: the traceback goes to the log once, its digest into the row so that equal faults group."""
        digest = traceback_digest(error)
        log.error("stage_failed_unexpectedly", digest=digest, exc_info=error)
        detail = f"{type(error).__name__}, traceback digest {digest}"
        self._sleep(run, Sleep("retrying", error_code="internal_error", error_detail=detail))
        return Answer(500)
