"""One call, many triggers: what the first stage does with each webhook of a call, in whatever order they come.

Every webhook is merged into the call's record. What happens next follows from what is known then, not from which
webhook came: start the chain once, wake it when its recording is known, transcribe late audio once, tell the CRM what
changed.
"""

from __future__ import annotations

from dataclasses import dataclass

from schemas.calls import CallDetails
from schemas.events import CallAnalyzed, CallReceived, Event
from schemas.tenant import Tenant
from schemas.webhooks import CALL_KINDS, WebhookShapeError, details_of
from shared.call_merge import Merged, said
from shared.claims import Admission
from shared.errors import InvalidEvent, TenantBlocked
from shared.names import first_request_id, late_audio_request_id
from shared.ports import CallMerger, Clock, KnownCall
from shared.stage import Completed, StageContext
from stages.download.logic import has_consent


@dataclass(frozen=True)
class IntakeDeps:
    """What this module uses."""

    merger: CallMerger
    now: Clock


def admit(event: CallReceived) -> Admission:
    """What the claim writes beside its own row: for a post-call webhook, what it says of the call."""
    words = _said(event) if event.kind == "post_call" else None
    return Admission(kind=event.kind, origin=event.origin, received_at=event.received_at, said=words)


def run(context: StageContext, deps: IntakeDeps) -> Completed:
    """Consumes `CallReceived` of any kind but post-call, which the download itself takes.

    Produces what `follow_up` says. Text messages, forms and unknown bodies are kept as not processed.
    """
    event = context.event
    if not isinstance(event, CallReceived):
        raise InvalidEvent("wrong_event", "the first stage takes CallReceived only")
    if event.kind not in CALL_KINDS:
        return Completed(next_event=None, request_state="not_processed")
    known = deps.merger.merge(event.tenant_id, _said(event), now=deps.now())
    following = follow_up(event, known, consent_tag=context.tenant.config.privacy.consent_tag)
    ends_here = following is None or following.request_id != event.request_id
    return Completed(next_event=following, request_state="done" if ends_here else "active")


def absorb(event: Event, owner: Tenant | TenantBlocked, deps: IntakeDeps) -> Event | None:
    """A webhook whose request was begun before: it may still say something new (a second post-call body, with audio).

    Returns what must be published besides what the request itself has to say.
    """
    if not isinstance(event, CallReceived) or event.kind != "post_call":
        return None
    known = deps.merger.merge(event.tenant_id, _said(event), now=deps.now())
    # Settings that cannot be read ask for no marker here: the request that follows waits until they can, and asks then.
    consent_tag = owner.config.privacy.consent_tag if isinstance(owner, Tenant) else ""
    return _late_audio(event, known, consent_tag=consent_tag)


def follow_up(event: CallReceived, known: KnownCall, *, consent_tag: str = "") -> Event | None:
    """What a webhook that does not start the chain itself sets going; None when nothing is to be done."""
    late = _late_audio(event, known, consent_tag=consent_tag)
    if late is not None:
        return late
    if not known.started:
        return _as_post_call(event) if event.kind == "call_modified" and _is_complete(known.details) else None
    if known.recording_is_news and not known.recorded:
        # The chain waits for this recording: its own event wakes it. Should this message get lost in a crash, the
        # sweeper sends it, because the merge has made the waiting run due.
        return _as_post_call(event)
    if event.kind == "call_modified" and known.analyzed:
        return CallAnalyzed(tenant_id=event.tenant_id, request_id=event.request_id, call_id=event.call_id)
    return None


def _late_audio(event: CallReceived, known: KnownCall, *, consent_tag: str) -> CallReceived | None:
    """The call went on without audio, and now there is some, or a late marker allows to use it: transcribe it, once.

    Without the marker nothing starts: the one request for late audio would be used up before the marker comes.
    """
    if not (known.no_audio and known.details.recording_url) or known.recorded:
        return None
    if not has_consent(known.details, consent_tag):
        return None
    request_id = late_audio_request_id(event.tenant_id, event.call_id)
    if event.request_id == request_id:
        return None
    return event.model_copy(update={"kind": "post_call", "request_id": request_id})


def _as_post_call(event: CallReceived) -> CallReceived:
    request_id = first_request_id(event.tenant_id, event.call_id)
    return event.model_copy(update={"kind": "post_call", "request_id": request_id})


def _is_complete(details: CallDetails) -> bool:
    """Whether the call is over and its audio published: a modification may also come while it is still going on."""
    return bool(details.duration_s and details.recording_url)


def _said(event: CallReceived) -> Merged:
    try:
        return said(event, details_of(event))
    except WebhookShapeError as error:
        raise InvalidEvent("webhook_shape", str(error)) from error
