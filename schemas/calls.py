"""One phone call in our own words, whatever generation of CallRail names it came in."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, get_args

from pydantic import AwareDatetime, Field

from schemas.analysis import CallAnalysis
from schemas.base import Contract
from schemas.transcript import Transcript

Direction = Literal["inbound", "outbound"]
Provider = Literal["hubspot", "salesforce"]
PROVIDERS: tuple[Provider, ...] = get_args(Provider)


LONGEST_S = 31_536_000
"""A year: nothing that lasts longer is a call, and sums of time stay dates."""


class Marketing(Contract):
    """What made the phone ring; passed on to the CRM because it is what makes a lead worth money."""

    source: str = ""
    medium: str = ""
    campaign: str = ""
    keywords: str = ""
    gclid: str = ""
    landing_page_url: str = ""
    referring_url: str = ""
    utm_source: str = ""
    utm_medium: str = ""
    utm_campaign: str = ""


class Marks(Contract):
    """What people at CallRail's screen said of the call."""

    tags: tuple[str, ...] = ()
    note: str = ""
    value: str = ""
    lead_status: str = ""


class CallDetails(Contract):
    """The metadata of a call. Numbers are E.164 where they could be parsed, empty when withheld."""

    call_id: str = Field(pattern=r"^[A-Za-z0-9_.:-]{1,64}$")
    company_id: str = ""
    direction: Direction = "inbound"
    answered: bool | None = None
    voicemail: bool = False
    call_type: str = ""
    started_at: AwareDatetime | None = None
    duration_s: int | None = Field(default=None, ge=0, le=LONGEST_S)
    caller_number: str = ""
    caller_name: str = ""
    tracking_number: str = ""
    business_number: str = ""
    agent_email: str = ""
    city: str = ""
    state: str = ""
    country: str = ""
    first_call: bool | None = None
    recording_url: str = ""
    recording_duration_s: int | None = Field(default=None, le=LONGEST_S)
    marketing: Marketing = Marketing()
    marks: Marks = Marks()


class RecordingFacts(Contract):
    """The stored audio. `object_name` is relative to the audio bucket."""

    object_name: str
    content_type: str
    size_bytes: int = Field(ge=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    duration_s: float = Field(ge=0)
    channels: int = Field(ge=1, le=8)


class CrmRecord(Contract):
    """What one CRM holds for one call after a sync."""

    provider: Provider
    person_id: str = ""
    person_type: Literal["contact", "lead", ""] = ""
    person_created: bool = False
    activity_id: str
    activity_type: Literal["call", "task"]
    synced_at: AwareDatetime


class CallRecord(Contract):
    """Everything known of a call, as one read returns it."""

    tenant_id: str
    details: CallDetails
    recording: RecordingFacts | None = None
    """None too for stages that may not know where audio lies."""
    audio_s: float | None = None
    """How long the audio is; unknown for calls stored before this was kept by itself."""
    no_audio_reason: str = ""
    transcript: Transcript | None = None
    analysis: CallAnalysis | None = None
    crm: tuple[CrmRecord, ...] = ()
    received_at: datetime | None = None
    """When the call's post-call webhook arrived; said to the last stage only, which measures with it."""
    updated_at: datetime | None = None
