"""Words for requests with nothing left to do: done, merged into their call, not processed."""

from __future__ import annotations

from shared.whereabouts.case import Case, Words


def merged(case: Case) -> Words:
    event = case.run.next_event
    goes_on = event.request_id if event and event.request_id != case.request.request_id else ""
    return Words(
        where=f"done: this {case.request.kind} webhook was merged into the call",
        because=f"it set request {goes_on} going" if goes_on else "there was nothing else to do for it",
        next_try="none needed",
        helps="nothing",
        commands=(f"pipeline why {goes_on} --tenant TENANT",) if goes_on else (),
    )


def superseded(case: Case) -> Words:
    again = case.story.rerun_of(case.run.request_id, case.run.stage)
    return Words(
        where=f"superseded: request {again} took the call over from an earlier stage",
        because=f"this request was given up at {case.run.stage} and re-run by an operator",
        next_try="none needed here",
        helps="nothing",
        commands=(f"pipeline why {again} --tenant TENANT",),
    )


def not_processed(case: Case) -> Words:
    kind = case.request.kind
    means = {
        "text_message": "a text message, which the pipeline records and does not process",
        "form_submission": "a form, which the pipeline records and does not process",
    }.get(kind, "a body that was not understood: of a kind we do not know, or of a wrong shape (answered 422)")
    is_unknown = kind not in {"text_message", "form_submission"}
    return Words(
        where="not processed",
        because=f"this webhook is {means}",
        next_try="none",
        helps="see `webhook_parked` in the receiver's log for the field at fault; the call itself comes with a backfill"
        if is_unknown
        else "nothing",
        commands=(f"pipeline backfill --tenant TENANT --since {case.request.received_at:%Y-%m-%d}",)
        if is_unknown
        else (),
    )


def done(case: Case) -> Words:
    syncs = case.story.syncs
    held = "; ".join(
        f"{sync.provider}: {sync.activity_type} {sync.activity_id}"
        + (f", {sync.person_type} {sync.person_id}" if sync.person_id else "")
        + f", since {case.at(sync.synced_at)}"
        for sync in syncs
    )
    return Words(
        where="done: " + (f"in {', '.join(sync.provider for sync in syncs)}" if syncs else "through all stages"),
        because=held or "the tenant has no CRM, so nothing was written to one",
        next_try="none needed",
        helps="nothing",
        commands=("pipeline calls show CALL --tenant TENANT",),
    )
