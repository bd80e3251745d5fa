"""CRM sync: every CRM of the tenant holds the call, once, whatever happened on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import structlog

from schemas.calls import CallRecord, CrmRecord, Provider
from schemas.events import CallLeftIncomplete, CallSynced
from schemas.redaction import RedactionKind
from shared.errors import Deferred, NotReady, PermanentFailure, PipelineError, TenantBlocked, TransientFailure
from shared.names import first_request_id
from shared.ports import CallReader, CrmGateways
from shared.redaction import ANALYSIS_TEXTS, redact_fields, redact_transcript
from shared.stage import CallChanges, Completed, StageContext
from stages.crm_sync.logic import ScoreBands, crm_call, previous_record

_log = structlog.get_logger(__name__)

_RAISED_FIRST: tuple[type[PipelineError], ...] = (TransientFailure, NotReady, Deferred, TenantBlocked, PermanentFailure)
"""Which of several failures is raised: what time mends comes first, so that it is mended without anybody's help;
then what a person of the tenant can mend; a final no last, because nothing follows from it. The others are met
again on the next attempt, which touches only the CRMs that are still missing."""


@dataclass(frozen=True)
class CrmSyncDeps:
    """What the stage uses."""

    crms: CrmGateways
    calls: CallReader
    bands: ScoreBands = field(default_factory=ScoreBands)


def run(context: StageContext, deps: CrmSyncDeps) -> Completed:
    """Consumes `CallAnalyzed` (or `CallLeftIncomplete`: the call goes to the CRM as far as it is known, marked),
    produces `CallSynced`, writes what each CRM holds and ends the request.

    After each CRM that took the call its record goes into the checkpoint. All CRMs are tried before a failure is
    raised, so one that is down never holds up another. Raises `PermanentFailure` (no such call, no analysis, record
    refused), `TenantBlocked`, `TransientFailure`, `Deferred`, `NotReady` (the call has changed since it was read: the
    next attempt tells the CRM again, so that what was read last has the last word); of several, see `_RAISED_FIRST`.
    """
    providers = context.tenant.config.crm_config.providers
    if not providers:
        return _completed(context, (), None)
    call = _gather(context, deps)
    synced = _synced_before(context.checkpoint, providers)
    failures: dict[Provider, PipelineError] = {}
    for provider in providers:
        if provider in synced:
            continue
        crm_document = crm_call(call, bands=deps.bands, previous=previous_record(call, provider))
        try:
            told = deps.crms.for_tenant(context.tenant, provider).sync_call(crm_document)
        except PipelineError as failure:
            failures[provider] = failure
            continue
        try:
            # Another request of this call may have told the CRM something newer meanwhile, which this overwrote.
            context.save_checkpoint(_checkpoint({**synced, provider: told}), call_as_of=call.updated_at)
        except NotReady as changed:
            failures[provider] = changed
            continue
        synced[provider] = told
    _raise_first(failures)
    completed = _completed(context, tuple(synced[provider] for provider in providers), call)
    return replace(completed, received_at=_measured_from(context, call))


def _measured_from(context: StageContext, call: CallRecord) -> datetime | None:
    """When the call arrived, on its first way through the pipeline; a later request of the same call says nothing of
    how long the caller's record was waited for."""
    is_first = context.request_id == first_request_id(context.tenant.tenant_id, context.call_id)
    return call.received_at if is_first else None


def _gather(context: StageContext, deps: CrmSyncDeps) -> CallRecord:
    call = deps.calls.get(context.tenant.tenant_id, context.call_id)
    if call is None:
        raise PermanentFailure(
            "call_not_found", f"the tenant has no call {context.call_id}", fix="it may be past its retention"
        )
    if call.analysis is None and not isinstance(context.event, CallLeftIncomplete):
        raise PermanentFailure(
            "analysis_missing", f"call {context.call_id} has no analysis", fix="run it again from the analyze stage"
        )
    return _redacted(call, context.tenant.config.privacy.redact)


def _redacted(call: CallRecord, kinds: tuple[RedactionKind, ...]) -> CallRecord:
    """Transcripts are stored redacted; older ones, what the model made of one, and people's notes may not be."""
    marks = redact_fields(call.details.marks, kinds, only=("note",))
    return call.model_copy(
        update={
            "details": call.details.model_copy(update={"marks": marks}),
            "transcript": call.transcript and redact_transcript(call.transcript, kinds),
            "analysis": call.analysis and redact_fields(call.analysis, kinds, only=ANALYSIS_TEXTS),
        }
    )


def _synced_before(checkpoint: Mapping[str, Any], providers: tuple[Provider, ...]) -> dict[Provider, CrmRecord]:
    """What earlier attempts finished, for the CRMs that the tenant still has."""
    return {
        provider: CrmRecord.model_validate(checkpoint[provider]) for provider in providers if provider in checkpoint
    }


def _checkpoint(synced: Mapping[Provider, CrmRecord]) -> dict[str, Any]:
    return {provider: record.model_dump(mode="json") for provider, record in synced.items()}


def _raise_first(failures: Mapping[Provider, PipelineError]) -> None:
    """Raise the failure that comes first in `_RAISED_FIRST`; the others are logged, because nobody else sees them."""
    if not failures:
        return
    raised, *others = sorted(failures.items(), key=lambda item: _rank(item[1]))
    for provider, failure in others:
        _log.warning("crm_sync_failed_too", provider=provider, code=failure.code, detail=failure.detail)
    raise raised[1]


def _rank(failure: PipelineError) -> int:
    ranks = (rank for rank, kind in enumerate(_RAISED_FIRST) if isinstance(failure, kind))
    return next(ranks, len(_RAISED_FIRST))


def _completed(context: StageContext, records: tuple[CrmRecord, ...], call: CallRecord | None) -> Completed:
    if isinstance(context.event, CallLeftIncomplete):
        # Nobody downstream should take an unfinished call for a finished one: no `CallSynced`.
        is_finished = call is not None and call.analysis is not None
        failed = context.event.failed_stage == "analyze" and not is_finished  # a replay was faster
        changes = CallChanges(crm=records, analysis_failed=failed)
        as_of = call.updated_at if call and failed else None  # or it is just now
        return Completed(next_event=None, changes=changes, request_state="done", call_as_of=as_of)
    event = CallSynced(tenant_id=context.tenant.tenant_id, request_id=context.request_id, call_id=context.call_id)
    return Completed(next_event=event, changes=CallChanges(crm=records), request_state="done")
