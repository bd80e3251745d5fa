"""What else an operator should know of a call: its other requests, the CRMs, the tenant, clocks, the schema."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.moments import moment
from shared.names import incomplete_request_id, late_audio_request_id
from shared.story import CallStory, RequestFacts, SchemaGap
from shared.whereabouts.situations import FINISHED, Pace, Situation, situation_of

_CLOCKS_AGREE_WITHIN = timedelta(seconds=60)


@dataclass(frozen=True)
class Told:
    """What the answer itself was about. `request` is None when no request began the call's chain."""

    story: CallStory
    request: RequestFacts | None
    now: datetime


def notes_on(told: Told, *, schema: SchemaGap, pace: Pace) -> tuple[str, ...]:
    """One line each, most telling first."""
    return (
        *_of_schema(schema),
        *_of_tenant(told),
        *_of_the_run(told, pace),
        *_of_crms(told),
        *_of_call(told),
        *_of_letters(told),
        *_of_other_requests(told),
    )


def _of_schema(schema: SchemaGap) -> Iterator[str]:
    if schema.missing:
        yield f"the database lacks {', '.join(schema.missing)}: run `pipeline migrate`"
    if schema.unknown:
        yield f"the database is ahead of this release by {', '.join(schema.unknown)}; its workers go on as before"


def _of_tenant(told: Told) -> Iterator[str]:
    status = told.story.tenant_status
    is_told = told.request is not None and _situation(told, told.request) is Situation.SUSPENDED
    if status not in {"", "active", "system"} and not is_told:
        yield f"the tenant is {status}: the next attempt will not be made before it is resumed"
    if told.story.tenant_problem:
        yield told.story.tenant_problem


def _of_the_run(told: Told, pace: Pace) -> Iterator[str]:
    run = told.request.last_run if told.request else None
    if run is None or run.stage not in pace.stages:
        return
    if run.state == "running" and run.code:
        yield f"the attempt before ended with {run.code}: {run.detail}"
    ahead = run.lease_until - run.updated_at - pace.stages[run.stage].lease
    if run.state == "running" and ahead > _CLOCKS_AGREE_WITHIN:
        yield (
            f"worker {run.worker}'s clock runs {ahead.total_seconds():.0f} s ahead of the database's: "
            "its lease ends that much later"
        )
    if run.crms_done and run.state != "done":
        yield f"{', '.join(run.crms_done)} took the call already and is not asked again"


def _of_crms(told: Told) -> Iterator[str]:
    if told.request is not None and _situation(told, told.request) is Situation.DONE:
        return  # the answer has said so
    for sync in told.story.syncs:
        yield (
            f"{sync.provider} holds the call as {sync.activity_type} {sync.activity_id} since "
            f"{moment(sync.synced_at, now=told.now)}"
        )


def _of_call(told: Told) -> Iterator[str]:
    call = told.story.call
    if call is None:
        return
    if call.no_audio_reason and not call.recorded:
        yield f"the call went on without audio: {call.no_audio_reason}"
    if call.analysis_failed and not call.analyzed:
        yield "the model gave no analysis; the CRM shows the call as not analyzed, and a replay completes it"


def _of_letters(told: Told) -> Iterator[str]:
    requests = {request.request_id: request for request in told.story.requests}
    for letter in told.story.letters:
        request = requests.get(letter.request_id)
        run = next((run for run in request.runs if run.stage == letter.stage), None) if request else None
        if letter.state != "open" or (run is not None and run.state == "failed"):
            continue
        if run is not None and run.state == "done":
            is_done = f"is open although {letter.stage} is done: the next sweep closes it"
            yield f"dead letter {letter.dead_letter_id} {is_done}"
        elif run is not None:
            yield (
                f"dead letter {letter.dead_letter_id} ({letter.reason}) is open although {letter.stage} is "
                f"{run.state}: Pub/Sub gave the message up, and the sweeper sends the stage's event again"
            )
        elif told.request is not None:
            yield f"dead letter {letter.dead_letter_id} ({letter.reason}) of this call was given up unclaimed"


def _of_other_requests(told: Told) -> Iterator[str]:
    for other in told.story.requests:
        if told.request is None or other.request_id != told.request.request_id:
            yield f"request {other.request_id} ({other.kind}{_role(told, other)}): {_state(told, other)}"


def _role(told: Told, other: RequestFacts) -> str:
    story = told.story
    if other.request_id == late_audio_request_id(story.tenant_id, story.call_id):
        return ", supersedes the request that went on without audio"
    for source in story.requests:
        if incomplete_request_id(story.tenant_id, source.request_id) == other.request_id:
            return f", takes the call to the CRM as far as it is known, because {source.request_id} failed"
    return ""


def _state(told: Told, other: RequestFacts) -> str:
    situation = _situation(told, other)
    stage = other.last_run.stage if other.last_run else ""
    word = situation.value.replace("_", " ")
    return word if situation in FINISHED else f"{word} at {stage or other.stage}"


def _situation(told: Told, request: RequestFacts) -> Situation:
    return situation_of(request, told.story, now=told.now)
