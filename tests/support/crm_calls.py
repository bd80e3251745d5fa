"""Calls as the CRM stage hands them to a gateway, and a secret store as a gateway sees one."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

from schemas.analysis import CallAnalysis
from schemas.calls import CallDetails, Marketing
from schemas.crm import CrmCall, CrmSection
from shared.errors import TenantBlocked

CALLER = "+12025550143"
CALL_ID = "CAL0000000000000000000000000000a1"
STARTED_AT = datetime(2026, 11, 20, 15, 4, 5, tzinfo=UTC)
SECTIONS = (
    CrmSection(heading="Summary", lines=("Wants a quote for a water heater.",)),
    CrmSection(heading="Next step", lines=("Call back before noon.",)),
)


def call_details(**changes: object) -> CallDetails:
    """An answered inbound call of a minute and a half; `changes` replace fields of `CallDetails`."""
    details = CallDetails(
        call_id=CALL_ID,
        direction="inbound",
        answered=True,
        started_at=STARTED_AT,
        duration_s=92,
        caller_number=CALLER,
        caller_name="Dana Example",
        tracking_number="+12025550100",
        business_number="+12025550101",
        city="Washington",
        state="DC",
        country="US",
        marketing=Marketing(source="Google Ads", medium="cpc", campaign="heaters"),
    )
    return details.model_copy(update=changes)


def call_analysis(**changes: object) -> CallAnalysis:
    """A good lead with a score of 82; `changes` replace fields of `CallAnalysis`."""
    analysis = CallAnalysis(
        basis="transcript",
        summary="Wants a quote for a water heater.",
        sentiment="positive",
        intent="new_lead",
        topics=("water heater",),
        lead_score=82,
        lead_score_reasons=("asked for a price",),
        next_step="Call back before noon.",
        qualified=True,
        model="rules",
        prompt_version="1",
    )
    return analysis.model_copy(update=changes)


def crm_call(call_id: str = CALL_ID, *, details: CallDetails | None = None, **changes: object) -> CrmCall:
    """A call ready to be logged; `changes` replace fields of `CrmCall`."""
    call = CrmCall(
        tenant_id="acme-plumbing",
        call_id=call_id,
        details=(details or call_details()).model_copy(update={"call_id": call_id}),
        analysis=call_analysis(),
        title="Inbound call: new lead, score 82",
        sections=SECTIONS,
    )
    return call.model_copy(update=changes)


class HeldSecrets:
    """The `Secrets` port over a dict, caching as the production gateway does: only `reread` sees a new version."""

    def __init__(self, **versions: str) -> None:
        self._lock = threading.Lock()
        self._latest = dict(versions)
        self._cached: dict[str, str] = {}

    def read(self, name: str) -> str:
        with self._lock:
            if name not in self._cached:
                self._cached[name] = self._load(name)
            return self._cached[name]

    def reread(self, name: str) -> str:
        with self._lock:
            self._cached.pop(name, None)
        return self.read(name)

    def write(self, name: str, value: str) -> None:
        with self._lock:
            self._latest[name] = value

    def _load(self, name: str) -> str:
        if name not in self._latest:
            raise TenantBlocked("secret_missing", f"secret {name} does not exist", fix="create it")
        return self._latest[name]
