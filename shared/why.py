"""Where is this call, and why? From a call's story to plain words: pure, no clock, no database.

What every error code means stands in `shared.meanings.registry`; the words for each situation in
`shared.whereabouts`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from shared.meanings.chapter import filled
from shared.meanings.registry import meaning_of
from shared.story import CallStory, RequestFacts, SchemaGap
from shared.whereabouts.case import Case, Words
from shared.whereabouts.missing import no_request
from shared.whereabouts.notes import Told, notes_on
from shared.whereabouts.registry import WORDS
from shared.whereabouts.situations import CHAIN_KINDS, FINISHED, Pace, Situation, situation_of, worst

_COMMAND = re.compile(r"`(pipeline [^`]+)`|^(pipeline [a-z][^;,]*)")
_NO_GAP = SchemaGap()


@dataclass(frozen=True)
class LastError:
    """What stopped the stage last: as the row has it, and what it means."""

    code: str
    detail: str
    means: str


@dataclass(frozen=True)
class Answer:
    """What an operator reads; every text is safe to show (no personal data)."""

    tenant_id: str
    call_id: str
    situation: Situation
    where: str
    because: str
    next_try: str
    helps: str
    request_id: str = ""
    stage: str = ""
    since: datetime | None = None
    attempt: int | None = None
    max_attempts: int | None = None
    last_error: LastError | None = None
    next_try_at: datetime | None = None
    commands: tuple[str, ...] = ()
    """To type as they are."""
    notes: tuple[str, ...] = field(default=())


def explain(
    story: CallStory,
    *,
    now: datetime,
    pace: Pace,
    request_id: str = "",
    inbox: Sequence[str] = (),
    schema: SchemaGap = _NO_GAP,
) -> Answer:
    """Say where the call is. `request_id` asks about one request; `inbox` names objects kept for the call."""
    request = _asked(story, request_id, now=now)
    if request is None or _chain_never_began(story, request, request_id, now=now):
        situation, words = no_request(story, inbox=inbox, schema=schema, now=now)
        notes = notes_on(Told(story, None, now), schema=schema, pace=pace)
        return _answer(story, None, situation, words, notes)
    situation = situation_of(request, story, now=now)
    words = WORDS[situation](Case(story, request, schema, now, pace))
    notes = notes_on(Told(story, request, now), schema=schema, pace=pace)
    return _with_run(_answer(story, request, situation, words, notes), request, situation, pace=pace)


def unreadable(tenant_id: str, call_id: str, *, schema: SchemaGap, problem: str) -> Answer:
    """When the database refuses the question itself: it lacks what this release asks for."""
    missing = ", ".join(schema.missing)
    return Answer(
        tenant_id=tenant_id,
        call_id=call_id,
        situation=Situation.SCHEMA_BEHIND,
        where="nobody can say: the database refuses the question",
        because=f"the schema lacks {missing}, which this release needs" if missing else problem,
        next_try="workers of this release put their messages back; they come again by themselves",
        helps="bring the schema up to this release; nothing is lost meanwhile",
        commands=("pipeline migrate",),
    )


def _asked(story: CallStory, request_id: str, *, now: datetime) -> RequestFacts | None:
    if request_id:
        return next((one for one in story.requests if one.request_id == request_id), None)
    return worst(story.requests, story, now=now) if story.requests else None


def _chain_never_began(story: CallStory, request: RequestFacts, request_id: str, *, now: datetime) -> bool:
    """Nobody asked about a certain request, all that came is finished, and none of it started the stages."""
    if request_id or situation_of(request, story, now=now) not in FINISHED:
        return False
    only_unprocessed = all(one.state == "not_processed" for one in story.requests)
    return not only_unprocessed and not any(one.kind in CHAIN_KINDS for one in story.requests)


def _answer(
    story: CallStory, request: RequestFacts | None, situation: Situation, words: Words, notes: tuple[str, ...]
) -> Answer:
    values = {"tenant": story.tenant_id, "call": story.call_id}
    because, helps = filled(words.because, **values), filled(words.helps, **values)
    named = [*words.commands, *(match[1] or match[2] for match in _COMMAND.finditer(helps))]
    return Answer(
        tenant_id=story.tenant_id,
        call_id=story.call_id,
        situation=situation,
        where=words.where,
        because=because,
        next_try=words.next_try,
        next_try_at=words.next_try_at,
        helps=helps,
        request_id=request.request_id if request else "",
        commands=tuple(dict.fromkeys(filled(command.strip(), **values) for command in named)),
        notes=notes,
    )


def _with_run(answer: Answer, request: RequestFacts, situation: Situation, *, pace: Pace) -> Answer:
    run = request.last_run
    if run is None:
        return answer
    means = meaning_of(run.code) if run.code else None
    stage_pace = pace.stages.get(run.stage)
    since = run.updated_at
    if situation in {Situation.RUNNING, Situation.LEASE_OVER} and stage_pace:
        since = run.lease_until - stage_pace.lease
    elif run.state == "done":
        since = run.finished_at or run.updated_at
    return replace(
        answer,
        stage=run.stage,
        since=since,
        attempt=min(run.attempt, stage_pace.max_attempts) if stage_pace else run.attempt,
        max_attempts=stage_pace.max_attempts if stage_pace else None,
        last_error=LastError(run.code, run.detail, means.means if means else "nobody has explained this code yet")
        if run.code
        else None,
    )
