"""A call as a CRM adapter receives it: neutral words, ready to be written into any CRM."""

from __future__ import annotations

from schemas.analysis import CallAnalysis
from schemas.base import Contract
from schemas.calls import CallDetails, CrmRecord
from schemas.transcript import Transcript


class CrmCall(Contract):
    """One call to be logged; `previous` is what an earlier sync of this call left in this CRM."""

    tenant_id: str
    call_id: str
    details: CallDetails
    analysis: CallAnalysis
    transcript: Transcript | None = None
    previous: CrmRecord | None = None
