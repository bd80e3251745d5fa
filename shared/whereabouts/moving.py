"""Words for requests that go on by themselves: at work, on the way, waiting, to be tried again."""

from __future__ import annotations

from datetime import datetime, timedelta

from shared.deliveries import KNOWN_VERSION
from shared.meanings.registry import meaning_of
from shared.moments import duration
from shared.request_ends import is_last
from shared.story import NextEvent
from shared.whereabouts.case import SWEEP, Case, Words, advice, circuit_words, error_words

_ON_ITS_WAY = timedelta(minutes=1)
"""A published event is normally claimed within seconds."""


def running(case: Case) -> Words:
    run = case.run
    return Words(
        where=f"{run.stage}, at work",
        because=f"worker {run.worker} has the claim until {case.at(run.lease_until)}",
        next_try="none needed; should the worker die, the redelivery or the sweeper takes over when the lease is over",
        next_try_at=run.lease_until,
        helps="nothing: it is being done",
    )


def lease_over(case: Case) -> Words:
    run = case.run
    return Words(
        where=f"{run.stage}, abandoned",
        because=f"worker {run.worker} died or hangs: it neither finished nor gave its claim back, and the lease "
        f"ran out at {case.at(run.lease_until)}",
        next_try=f"Pub/Sub's next delivery takes it over; failing that, {case.sweep_at(run.due_at or run.lease_until)}",
        next_try_at=run.due_at or run.lease_until,
        helps="nothing, if workers run; look for restarts and memory in the worker's log when it happens often",
        commands=(SWEEP,),
    )


def retrying(case: Case) -> Words:
    run, pace = case.run, case.pace.stages[case.run.stage]
    stale_at = max(filter(None, (run.updated_at + case.pace.stale_after, run.due_at)))
    left = max(0, pace.max_attempts - run.attempt)
    return Words(
        where=f"{run.stage}, to be tried again",
        because=error_words(run),
        next_try=f"Pub/Sub delivers it again after {pace.min_backoff_s:g} to {pace.max_backoff_s:g} s; "
        f"failing that, {case.sweep_at(stale_at)}. {left} attempts are left before it becomes a dead letter",
        next_try_at=run.updated_at + timedelta(seconds=pace.max_backoff_s),
        helps=advice(run, otherwise="nothing: it is tried again"),
    )


def waiting(case: Case) -> Words:
    run = case.run
    until = run.due_at or run.updated_at
    job = f"Speech's operation {run.operation}" if run.operation else "an outside job"
    return Words(
        where=f"{run.stage}, waiting",
        because=f"waiting for {job}; the notification of its output wakes the stage",
        next_try=f"when the output appears; otherwise {case.sweep_at(until)}, and Speech is asked",
        next_try_at=until,
        helps="nothing: batch recognition takes minutes, with dynamic batch up to 24 hours",
        commands=(SWEEP,) if until <= case.now else (),
    )


def deferred(case: Case) -> Words:
    run = case.run
    due = run.due_at or case.now
    return Words(
        where=f"{run.stage}, put off",
        because=error_words(run) + circuit_words(case),
        next_try=case.sweep_at(due),
        next_try_at=due,
        helps=advice(run, otherwise="nothing: it goes on at the time given"),
        commands=(SWEEP,) if due <= case.now else (),
    )


def between(case: Case) -> Words:
    run = case.run
    event = run.next_event
    if event and is_last(event, run.request_id):
        return _last_event(case, event)
    following = case.pace.stage_after(event.type) if event else ""
    done_at = run.finished_at or run.updated_at
    stale_at = case.request.updated_at + case.pace.stale_after
    subscription = case.pace.stages[following].subscription if following in case.pace.stages else ""
    return Words(
        where=f"{run.stage} is done, {following or 'the next stage'} has not begun",
        because=_why_not_claimed(case, following, done_at),
        next_try=f"Pub/Sub delivers the event; failing that, {case.sweep_at(stale_at)}",
        next_try_at=stale_at,
        helps=f"see whether service {following} runs and what it answers; see the oldest message of {subscription}",
        commands=("pipeline migrate",) if case.schema.missing else (SWEEP,) if case.now - done_at > _ON_ITS_WAY else (),
    )


def _last_event(case: Case, event: NextEvent) -> Words:
    run = case.run
    stale_at = case.request.updated_at + case.pace.stale_after
    return Words(
        where=f"{run.stage} is done, its last event is not known to be published",
        because=f"the worker recorded the results and is about to publish {event.type}, or it died before",
        next_try=f"Pub/Sub delivers the stage's event again, which publishes {event.type}; failing that, "
        f"{case.sweep_at(stale_at)}",
        next_try_at=stale_at,
        helps="nothing: the call itself is done",
        commands=(SWEEP,) if stale_at <= case.now else (),
    )


def _why_not_claimed(case: Case, following: str, done_at: datetime) -> str:
    event = case.run.next_event
    if event and event.version > KNOWN_VERSION:
        meaning = meaning_of("event_version_unknown")
        return f"{meaning.means if meaning else ''} (event_version_unknown: version {event.version})"
    if case.schema.missing:
        return f"workers of this release put messages back: the schema lacks {', '.join(case.schema.missing)}"
    if case.now - done_at <= _ON_ITS_WAY:
        return "its event was published a moment ago and is on its way"
    return (
        f"its event was published {duration(case.now - done_at)} ago and nobody has claimed it: {following} is down, "
        "behind with its subscription, or puts messages back (see `delivery_put_back` in its log)"
    )


def received(case: Case) -> Words:
    return Words(
        where=f"{case.request.stage} has not begun",
        because=f"the request's row is there since {case.at(case.request.received_at)} and no stage has claimed it",
        next_try="Pub/Sub delivers the event",
        helps=f"see whether service {case.request.stage} runs",
    )
