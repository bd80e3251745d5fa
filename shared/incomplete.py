"""A stage that gives up does not keep the call from the CRM: what is known so far goes there, marked as incomplete."""

from __future__ import annotations

from schemas.events import CallLeftIncomplete, Event
from shared.claims import Admission, StageRun
from shared.names import incomplete_request_id
from shared.ports import Clock


def left_incomplete(run: StageRun, *, now: Clock) -> CallLeftIncomplete:
    """The event that takes an unfinished call to the CRM. Derived from the failed request: repeating it is harmless."""
    return CallLeftIncomplete(
        tenant_id=run.key.tenant_id,
        request_id=incomplete_request_id(run.key.tenant_id, run.key.request_id),
        call_id=run.call_id,
        failed_stage=run.key.stage,
        received_at=now(),
    )


def admit_incomplete(event: Event) -> Admission | None:
    """The request of an unfinished call begins at the CRM stage; every other event there has its request already."""
    if not isinstance(event, CallLeftIncomplete):
        return None
    return Admission(kind="incomplete", origin="webhook", received_at=event.received_at, said=None)
