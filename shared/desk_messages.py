"""What one replay of one letter sends and writes: the original's message, or a re-run from an earlier stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from schemas.events import CallReceived, Event
from shared.dead_letters import AuditEntry, DeadLetter, DeadLetterBody, letter_id
from shared.deliveries import parse_event
from shared.desk_jobs import ReplayJob, ReplayOptions, ReplayStart
from shared.desk_letters import replay_attributes
from shared.desk_ports import LetterReads
from shared.errors import InvalidEvent, NotReady


@dataclass(frozen=True)
class Outgoing:
    """A message about to be sent. `request_id` and `stage` say which run it starts."""

    topic: str
    data: bytes
    attributes: Mapping[str, str]
    request_id: str
    stage: str
    opens_request: bool = False
    """A re-run from a later stage than the first: nobody else would open its request."""


class CannotReplay(Exception):
    """This letter cannot be sent; `reason` is a snake_case phrase."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def reason_not_to_replay(letter: DeadLetter, options: ReplayOptions, *, stalled_before: datetime) -> str:
    """Why a letter is left where it is; empty when it can be replayed."""
    if letter.state in {"closed", "discarded"}:
        return letter.state
    if letter.run_state == "done":
        return "closed"  # its call went on by other ways; thousands of letters are closed by and by
    if letter.state == "replaying" and not (letter.replayed_at and letter.replayed_at <= stalled_before):
        return "replaying"
    if not letter.has_topic:
        return "no_topic"
    if letter.replays >= options.max_replays and not options.is_forced:
        return "loop_guard"
    return ""


def is_rerun(letter: DeadLetter, options: ReplayOptions, stages: Sequence[str]) -> bool:
    """Whether the replay begins at an earlier stage than the one that failed."""
    if options.from_stage is None or letter.stage not in stages:
        return False
    return stages.index(options.from_stage) < stages.index(letter.stage)


def message_for(
    body: DeadLetterBody, options: ReplayOptions, stages: Sequence[str], reads: LetterReads, *, number: int
) -> Outgoing:
    """The message of the letter's replay with this number. Raises `CannotReplay`.

    Derived from the letter alone: sent a second time, it is the same message for the same request.
    """
    letter = body.letter
    if is_rerun(letter, options, stages):
        assert options.from_stage is not None
        return _rerun(body, options.from_stage, stages, reads, number=number)
    return Outgoing(
        topic=body.topic,
        data=body.event.encode(),
        attributes=replay_attributes(body.attributes),
        request_id=letter.current_request_id,
        stage=letter.stage,
    )


def _rerun(
    body: DeadLetterBody, from_stage: str, stages: Sequence[str], reads: LetterReads, *, number: int
) -> Outgoing:
    letter = body.letter
    stored = reads.event_of_stage(letter.tenant_id, letter.request_id, from_stage)
    if stored is None:
        raise CannotReplay("stage_never_ran")
    try:
        original = parse_event(stored.encode())
    except (InvalidEvent, NotReady) as error:
        raise CannotReplay("event_unreadable") from error
    event = _as_rerun(original, rerun_request_id(letter, from_stage, number))
    return Outgoing(
        topic=event.topic,
        data=event.model_dump_json().encode(),
        # Without the letter's trace: a request of its own has a trace of its own (docs/decisions/0012).
        attributes=event.attributes(),
        request_id=event.request_id,
        stage=from_stage,
        opens_request=from_stage != stages[0],
    )


def _as_rerun(original: Event, request_id: str) -> Event:
    changes: dict[str, object] = {"request_id": request_id}
    if isinstance(original, CallReceived):
        changes["origin"] = "rerun"
    return original.model_copy(update=changes)


def rerun_request_id(letter: DeadLetter, from_stage: str, number: int) -> str:
    """The request of a letter's re-run: derived, so that sending its message again starts nothing new."""
    subject = "\x1f".join((letter.tenant_id, letter.dead_letter_id, from_stage, str(number)))
    return letter_id(subject, prefix="x")


def start_of(body: DeadLetterBody, outgoing: Outgoing, job: ReplayJob, *, stalled_before: datetime) -> ReplayStart:
    """What is written before the message is sent."""
    letter = body.letter
    detail = {"job_id": job.job_id, "stage": outgoing.stage, "replay": letter.replays + 1}
    if outgoing.request_id != letter.current_request_id:
        detail["request_id"] = outgoing.request_id
    return ReplayStart(
        letter=letter,
        job_id=job.job_id,
        request_id=outgoing.request_id,
        stage=outgoing.stage,
        opens_request=outgoing.opens_request,
        edited_event=body.event if letter.copy_of else None,
        stalled_before=stalled_before,
        audit=AuditEntry(job.actor, "dead_letter.replay", letter.dead_letter_id, detail, outcome="sent"),
    )
