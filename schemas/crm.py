"""A call as a CRM adapter receives it: neutral words, ready to be written into any CRM."""

from __future__ import annotations

from schemas.analysis import CallAnalysis
from schemas.base import Contract
from schemas.calls import CallDetails, CrmRecord


class CrmSection(Contract):
    """A heading with plain-text lines; the adapter escapes them for its CRM (HTML, plain text)."""

    heading: str
    lines: tuple[str, ...]


class CrmCall(Contract):
    """One call to be logged.

    `title` (at most 255 characters) and `sections` are what a sales person reads, most important first;
    adapters cut from the end when their CRM's field is shorter. `previous` is what an earlier sync of this
    call left in this CRM; its ids save the look-ups.
    """

    tenant_id: str
    call_id: str
    details: CallDetails
    analysis: CallAnalysis | None
    """None while no model has judged the call: adapters leave score and intent fields as they are."""
    title: str
    sections: tuple[CrmSection, ...]
    previous: CrmRecord | None = None
