"""Download: from a call that ended to its recording in the audio bucket, or to an analysis without one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from schemas.calls import CallRecord, RecordingFacts
from schemas.events import CallAnalyzed, CallReceived, RecordingStored
from shared.errors import Deferred, InvalidEvent, NotReady, PermanentFailure
from shared.ports import CallReader, ObjectStore, Recordings
from shared.stage import CallChanges, Completed, StageContext
from stages.download.logic import (
    NEVER_ARRIVED,
    NO_CONSENT,
    LookAt,
    LookSoon,
    StopWaiting,
    after_not_ready,
    has_consent,
    reason_for_no_audio,
)
from stages.download.metadata_analysis import analysis_from_metadata
from stages.download.storing import facts_of, fetch_recording, find_stored


@dataclass(frozen=True)
class DownloadDeps:
    """What the stage needs from the outside."""

    recordings: Recordings
    objects: ObjectStore
    calls: CallReader


def run(context: StageContext, deps: DownloadDeps) -> Completed:
    """Bring one call's audio into the bucket.

    Consumes `CallReceived` of kind `post_call`. Produces `RecordingStored`, or `CallAnalyzed` for a call without
    audio. Writes the object `recordings/<tenant>/<call>.<ext>` once. Raises `NotReady` and `Deferred` while the
    recording is awaited, `InvalidEvent`, `PermanentFailure` (not audio), `TenantBlocked`, `TransientFailure`.
    """
    event, call = _call_of(context, deps)
    details = call.details
    if not has_consent(details, context.tenant.config.privacy.consent_tag):
        return _without_audio(context, event, call, reason=NO_CONSENT)
    reason = reason_for_no_audio(details)
    if reason:
        return _without_audio(context, event, call, reason=reason)
    if context.attempt > 1 or event.origin != "webhook":
        found = find_stored(deps.objects, context.tenant.tenant_id, context.call_id)
        if found:
            return _with_audio(context, facts_of(deps.objects, found))
    try:
        fetched = fetch_recording(
            deps.recordings,
            deps.objects,
            context.tenant,
            call_id=context.call_id,
            recording_url=details.recording_url,
            now=context.now(),
        )
    except NotReady as missing:
        return _wait_or_go_on(context, event, call, missing=missing)
    return _with_audio(context, facts_of(deps.objects, fetched))


def _call_of(context: StageContext, deps: DownloadDeps) -> tuple[CallReceived, CallRecord]:
    """The event, and the call as all its webhooks together describe it: a later one may have brought the recording."""
    event = context.event
    if not isinstance(event, CallReceived):
        raise InvalidEvent("unexpected_event", f"download is started by call_received, not {type(event).__name__}")
    call = deps.calls.get(context.tenant.tenant_id, context.call_id)
    if call is None:
        raise PermanentFailure("call_not_found", "the call's record is gone", fix="it may be past its retention")
    return event, call


def _wait_or_go_on(context: StageContext, event: CallReceived, call: CallRecord, *, missing: NotReady) -> Completed:
    plan = after_not_ready(
        call.details,
        received_at=event.received_at,
        now=context.now(),
        wait_deadline_s=context.tenant.config.recordings.wait_deadline_s,
    )
    match plan:
        case LookSoon():
            raise missing
        case LookAt(moment):
            raise Deferred(missing.code, missing.detail, until=moment, fix=missing.fix) from missing
        case StopWaiting():
            return _without_audio(context, event, call, reason=NEVER_ARRIVED)
        case _:
            assert_never(plan)


def _with_audio(context: StageContext, facts: RecordingFacts) -> Completed:
    return Completed(
        next_event=RecordingStored(
            tenant_id=context.tenant.tenant_id, request_id=context.request_id, call_id=context.call_id
        ),
        changes=CallChanges(recording=facts, no_audio_reason=""),
    )


def _without_audio(context: StageContext, event: CallReceived, call: CallRecord, *, reason: str) -> Completed:
    """Only as long as nothing was said of the call since: its recording, or a marker, may come in this very moment."""
    analysis = analysis_from_metadata(
        call.details,
        threshold=context.tenant.config.ai_config.lead_scoring_threshold,
        # Not part of CallDetails: only this analysis needs to know what time it was where the phone rang.
        time_zone=str(event.payload.get("company_time_zone") or ""),
    )
    return Completed(
        next_event=CallAnalyzed(
            tenant_id=context.tenant.tenant_id, request_id=context.request_id, call_id=context.call_id
        ),
        changes=CallChanges(no_audio_reason=reason, analysis=analysis),
        call_as_of=call.updated_at,
    )
