"""Words for a call whose way through the stages never began: nothing came, or nothing that begins it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from shared.meanings.registry import meaning_of
from shared.moments import moment
from shared.story import CallStory, LetterFacts, SchemaGap
from shared.whereabouts.case import SWEEP, Words
from shared.whereabouts.situations import Situation

_POST_CALL_WITHIN = timedelta(minutes=20)
"""CallRail sends the post-call webhook up to 20 minutes after the call, when it transcribes itself."""
_CHECKS = (
    "either CallRail never sent the webhook (integration off, trigger not configured); "
    "or the receiver refused it (`webhook_refused` in its log: wrong signature 401, suspended tenant 403, body over "
    "1 MiB 413); "
    "or it answered 503 because neither Pub/Sub nor the inbox took it (`webhook_not_kept`); "
    "or it was parked because its shape was wrong, without a readable id (`webhook_parked`); "
    "or it waits in subscription download-call-received because service download is down or puts it back"
)


def no_request(story: CallStory, *, inbox: Sequence[str], schema: SchemaGap, now: datetime) -> tuple[Situation, Words]:
    """The situation of a call without a request that began its chain, and the words for it."""
    if inbox:
        return Situation.IN_INBOX, _in_inbox(inbox)
    open_letters = [letter for letter in story.letters if letter.state == "open"]
    if open_letters and not story.requests:
        return Situation.GIVEN_UP_UNCLAIMED, _given_up_unclaimed(open_letters[-1])
    if story.requests:
        return Situation.AWAITING_POST_CALL, _awaiting_post_call(story, now)
    return Situation.NEVER_ARRIVED, _never_arrived(story, schema)


def _in_inbox(names: Sequence[str]) -> Words:
    return Words(
        where=f"in the inbox: {', '.join(names)}",
        because="Pub/Sub did not take the webhook when it came, so the receiver kept it in the audio bucket",
        next_try="the next sweep publishes it, if Pub/Sub takes messages again",
        helps="nothing, if the sweeper runs",
        commands=(SWEEP,),
    )


def _given_up_unclaimed(letter: LetterFacts) -> Words:
    meaning = meaning_of(letter.reason)
    said = f"{letter.reason}: {letter.detail}"
    return Words(
        where=f"given up before {letter.stage} could begin: dead letter {letter.dead_letter_id}",
        because=f"{meaning.means} ({said})" if meaning else said,
        next_try="none by itself",
        helps=letter.fix or (meaning.helps if meaning else "mend the cause, then replay"),
        commands=(
            f"pipeline dead-letters show {letter.dead_letter_id} --tenant TENANT",
            f"pipeline dead-letters replay {letter.dead_letter_id} --tenant TENANT",
        ),
    )


def _awaiting_post_call(story: CallStory, now: datetime) -> Words:
    last = story.requests[-1]
    is_late = now - last.received_at > _POST_CALL_WITHIN
    known = f"the call is known from its {last.kind} webhook of {moment(last.received_at, now=now)}"
    since = story.requests[0].received_at.date().isoformat()
    return Words(
        where="known, not begun: its post-call webhook has not come",
        because=f"{known}; the post-call webhook is late, and may be lost"
        if is_late
        else f"{known}; it may still be going on, and the post-call webhook comes up to 20 minutes after its end",
        next_try="when the post-call webhook comes; otherwise the scheduled reconciliation finds the call",
        helps="look at CallRail's list of calls: what is there and not here comes with a backfill",
        commands=(f"pipeline backfill --tenant TENANT --since {since}",) if is_late else (),
    )


def _never_arrived(story: CallStory, schema: SchemaGap) -> Words:
    behind = f"the schema lacks {', '.join(schema.missing)}, so workers put messages back; " if schema.missing else ""
    if not story.tenant_status:
        return Words(
            where="nowhere: no tenant has this call or request"
            if not story.tenant_id
            else "nowhere: there is no such tenant",
            because=f"{behind}{_CHECKS}",
            next_try="none: nothing is known of it",
            helps="say whose call it is with --tenant, and look for its id in the receiver's log",
            commands=("pipeline tenant list",),
        )
    problem = f"{story.tenant_problem}, so the receiver turns its webhooks away; " if story.tenant_problem else ""
    return Words(
        where="nowhere: the tenant has no such call",
        because=f"{behind}{problem}{_CHECKS}",
        next_try="the scheduled reconciliation, if CallRail knows the call",
        helps="a backfill asks CallRail for its list of calls and starts what is missing; "
        "a message for nobody lies among the dead letters of `unassigned`",
        commands=(
            "pipeline backfill --tenant TENANT --since 2d --dry-run",
            "pipeline backfill --tenant TENANT --since 2d",
            "pipeline dead-letters list --tenant unassigned",
        ),
    )
