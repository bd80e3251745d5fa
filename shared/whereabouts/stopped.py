"""Words for requests that wait for a person: blocked, suspended, given up, replayed, discarded."""

from __future__ import annotations

from shared.whereabouts.case import (
    SWEEP,
    Case,
    Words,
    advice,
    advice_after_giving_up,
    circuit_words,
    error_words,
    times,
)


def blocked(case: Case) -> Words:
    run = case.run
    due = run.due_at or case.now
    others = f"; once one call gets through to {run.vendor}, all that wait for it follow" if run.vendor else ""
    return Words(
        where=f"{run.stage}, blocked: a person has to mend the tenant's settings",
        because=error_words(run) + circuit_words(case),
        next_try=case.sweep_at(due) + others,
        next_try_at=due,
        helps=advice(run, otherwise="mend what the error names; the calls then go on by themselves"),
        commands=("pipeline tenant show TENANT",),
    )


def suspended(case: Case) -> Words:
    run = case.run
    is_active = case.story.tenant_status == "active"
    return Words(
        where=f"{run.stage}, kept: the tenant {'was' if is_active else 'is'} suspended",
        because="the tenant is active again, and this call has not been sent since"
        if is_active
        else "calls of a suspended tenant are kept and not processed",
        next_try="the next sweep sends it" if is_active else "every attempt is turned back until it is resumed",
        helps="nothing: the next sweep sends it"
        if is_active
        else "resume the tenant, when whoever suspended it agrees; its calls then go on by themselves",
        commands=(SWEEP,) if is_active else ("pipeline tenant resume TENANT",),
    )


def failed(case: Case) -> Words:
    run, letter = case.run, case.letter
    replayed = f", replayed {times(letter.replays)} without success" if letter.replays else ""
    return Words(
        where=f"{run.stage}, given up: dead letter {letter.dead_letter_id}",
        because=f"{error_words(run)}. Given up {times(letter.occurrences)}{replayed}",
        next_try="none by itself: a replay continues at this stage and keeps what is finished",
        helps=advice_after_giving_up(run),
        commands=(f"pipeline dead-letters replay {letter.dead_letter_id} --tenant TENANT",),
    )


def failed_unrecorded(case: Case) -> Words:
    run = case.run
    return Words(
        where=f"{run.stage}, given up; its dead letter is not recorded yet",
        because=f"{error_words(run)}. The dead letter waits in its subscription: the recorder is slow, down, or cannot "
        "reach Spanner",
        next_try="Pub/Sub delivers the dead letter until it is recorded, and the sweeper has a lost one published "
        "again; then it can be replayed",
        helps="look at service dead_letter and subscription dead-letter-dead-letters",
        commands=("pipeline dead-letters list --tenant TENANT",),
    )


def replaying(case: Case) -> Words:
    run, letter = case.run, case.letter
    stale_at = run.updated_at + case.pace.stale_after
    return Words(
        where=f"{run.stage}, replayed: its event is on the way to the worker",
        because=f"dead letter {letter.dead_letter_id} was replayed at {case.at(letter.updated_at)}; before, "
        f"{error_words(run)}",
        next_try=f"as soon as the message is delivered; failing that, {case.sweep_at(stale_at)}",
        next_try_at=stale_at,
        helps="nothing: wait for the worker",
    )


def discarded(case: Case) -> Words:
    letter = case.letter
    until = f", restorable until {case.at(letter.kept_until)}" if letter.kept_until else ""
    return Words(
        where=f"{case.run.stage}, given up for good: dead letter {letter.dead_letter_id} was discarded{until}",
        because=f"{error_words(case.run)}. Discarded with the words: {letter.note or '(none)'}",
        next_try="none",
        helps="restore the dead letter and replay it, if the call is wanted after all",
        commands=(
            f"pipeline dead-letters restore {letter.dead_letter_id} --tenant TENANT",
            f"pipeline dead-letters replay {letter.dead_letter_id} --tenant TENANT",
        ),
    )
