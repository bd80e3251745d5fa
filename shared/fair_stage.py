"""Keeps one tenant's wave of calls from using up what Speech and the model give to all tenants together."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from shared.errors import Deferred
from shared.stage import Completed, StageContext
from shared.tenant_limits import TenantLimits

Run = Callable[[StageContext], Completed]


def within_share(run: Run, limits: TenantLimits, *, vendor: str) -> Run:
    """The same stage, put to sleep while its tenant is over its share of the vendor.

    Sleeping costs no attempt and answers the push at once, so that the subscription goes on with other tenants' calls.
    A run with a checkpoint goes on: what it needs was asked for before.
    """

    def fair_run(context: StageContext) -> Completed:
        wait_s = 0.0 if context.checkpoint else limits.wait_s(context.tenant.tenant_id)
        if wait_s:
            raise over_share(vendor, wait_s=wait_s, now=context.now())
        return run(context)

    return fair_run


def over_share(vendor: str, *, wait_s: float, now: datetime) -> Deferred:
    """Sleep until there is a share again."""
    return Deferred(
        "over_share",
        f"the tenant asks more of {vendor} than its share; others come first",
        until=now + timedelta(seconds=wait_s),
        fix="nothing: it goes on by itself. PIPELINE_STAGE_TENANT_RATE sets the share",
    )
