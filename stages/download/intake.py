"""What the first stage does with webhooks that do not start the chain: remember, merge, or keep unprocessed."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.calls import CallDetails
from schemas.events import CallAnalyzed, CallReceived
from schemas.webhooks import WebhookShapeError, details_of
from shared.claims import Admission
from shared.errors import InvalidEvent
from shared.names import first_request_id
from shared.ports import CallMerger
from shared.stage import Completed, StageContext


@dataclass(frozen=True)
class IntakeDeps:
    """What `run` uses."""

    merger: CallMerger


def admit(event: CallReceived) -> Admission:
    """What the claim writes beside its own row. Only a post-call body is written over what is known of the call."""
    details = _details(event) if event.kind == "post_call" else None
    return Admission(kind=event.kind, origin=event.origin, received_at=event.received_at, details=details)


def run(context: StageContext, deps: IntakeDeps) -> Completed:
    """Consumes `CallReceived` of any kind but post-call.

    Pre-call and routing-complete make the call known. Call-modified updates it: an analysed call goes to the CRM
    again, never through transcription again; a complete call that never started (its post-call webhook was lost)
    starts the chain. Text messages, forms and unknown bodies are kept as not processed.
    """
    event = context.event
    if not isinstance(event, CallReceived):
        raise InvalidEvent("wrong_event", "the first stage takes CallReceived only")
    if event.kind in {"pre_call", "routing_complete"}:
        deps.merger.remember(event.tenant_id, _details(event))
        return Completed(next_event=None, request_state="done")
    if event.kind == "call_modified":
        return _modify(event, deps)
    return Completed(next_event=None, request_state="not_processed")


def _modify(event: CallReceived, deps: IntakeDeps) -> Completed:
    details = _details(event)
    known = deps.merger.merge(event.tenant_id, details)
    if known.analyzed:
        sync = CallAnalyzed(tenant_id=event.tenant_id, request_id=event.request_id, call_id=event.call_id)
        return Completed(next_event=sync)
    if not known.started and _is_complete(details):
        return Completed(next_event=_as_post_call(event), request_state="done")
    return Completed(next_event=None, request_state="done")


def _is_complete(details: CallDetails) -> bool:
    """Whether the call is over and its audio published: a modification may also come while it is still going on."""
    return bool(details.duration_s and details.recording_url)


def _as_post_call(event: CallReceived) -> CallReceived:
    request_id = first_request_id(event.tenant_id, event.call_id)
    return event.model_copy(update={"kind": "post_call", "request_id": request_id})


def _details(event: CallReceived) -> CallDetails:
    try:
        return details_of(event)
    except WebhookShapeError as error:
        raise InvalidEvent("webhook_shape", str(error)) from error
