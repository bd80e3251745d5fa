"""A service that has no capacity for anybody is no fault of a call: the call sleeps instead of coming again and again.

Redeliveries would burn the call's attempts, and each 503 slows the subscription for every tenant.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from shared.errors import Deferred, OutOfCapacity
from shared.ports import CallReader
from shared.stage import Completed, StageContext

Run = Callable[[StageContext], Completed]

PATIENCE = timedelta(hours=2)
"""Longer than a peak lasts. After it the attempts count again, so that a call whose model stays away goes to the CRM
unfinished within the day instead of never."""


def patient(run: Run, calls: CallReader, *, pause: timedelta) -> Run:
    """The same stage; where its service is out of capacity it raises `Deferred` by `pause` (the service's own hint when
    that is longer), as long as the call has waited for less than `PATIENCE` since it last changed."""

    def patient_run(context: StageContext) -> Completed:
        try:
            return run(context)
        except OutOfCapacity as error:
            now = context.now()
            call = calls.get(context.tenant.tenant_id, context.call_id)
            waiting_since = (call and call.updated_at) or now
            if now - waiting_since >= PATIENCE:
                raise
            raise asleep(error, now=now, pause=pause) from error

    return patient_run


def asleep(error: OutOfCapacity, *, now: datetime, pause: timedelta) -> Deferred:
    """The deferral that stands for the error."""
    hinted = timedelta(seconds=min(error.retry_after_s or 0.0, PATIENCE.total_seconds()))
    return Deferred(error.code, error.detail, until=now + max(pause, hinted), fix=error.fix)
