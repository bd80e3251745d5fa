"""Events: the messages that start a stage. Named in the past tense, ids not contents.

`CallReceived` alone carries what CallRail sent, because the receiver has no database to put it in;
from the first stage on, events carry ids only.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AwareDatetime, Field, StringConstraints

from schemas.base import Contract
from schemas.tenant import TenantId

WebhookKind = Literal[
    "pre_call",
    "routing_complete",
    "post_call",
    "call_modified",
    "text_message",
    "form_submission",
    "unknown",
]
Origin = Literal["webhook", "backfill", "rerun"]


class Event(Contract):
    """What every event carries. `version` grows when a field changes its meaning."""

    topic: ClassVar[str]
    type: str
    version: int = 1
    tenant_id: TenantId
    request_id: str = Field(pattern=r"^[a-z0-9-]{8,64}$")
    call_id: str = Field(pattern=r"^[A-Za-z0-9_.:-]{1,64}$")

    def attributes(self) -> dict[str, str]:
        """Message attributes: what a subscription or an operator may look at without the body."""
        return {
            "type": self.type,
            "version": str(self.version),
            "tenant_id": self.tenant_id,
            "request_id": self.request_id,
            "call_id": self.call_id,
        }


class CallReceived(Event):
    """A signed webhook arrived. `payload` is the parsed body, names and values as sent."""

    topic: ClassVar[str] = "call-received"
    type: Literal["call_received"] = "call_received"
    kind: WebhookKind
    origin: Origin = "webhook"
    received_at: AwareDatetime
    # Names are kept to the space: stripped, " tenant_id" would take the place of the one that was checked.
    payload: dict[Annotated[str, StringConstraints(strip_whitespace=False)], Any]


class RecordingStored(Event):
    """The audio lies in the audio bucket and its facts in `call_records`."""

    topic: ClassVar[str] = "recording-stored"
    type: Literal["recording_stored"] = "recording_stored"


class CallTranscribed(Event):
    """The transcript lies in `call_records`."""

    topic: ClassVar[str] = "call-transcribed"
    type: Literal["call_transcribed"] = "call_transcribed"


class CallAnalyzed(Event):
    """The analysis lies in `call_records`."""

    topic: ClassVar[str] = "call-analyzed"
    type: Literal["call_analyzed"] = "call_analyzed"


class CallLeftIncomplete(Event):
    """A stage before the CRM gave up (a dead letter says why): what is known so far goes to the CRM, marked.

    Its request is its own, derived from the one that failed, so that a replay can still complete that one.
    """

    topic: ClassVar[str] = "call-analyzed"
    type: Literal["call_left_incomplete"] = "call_left_incomplete"
    failed_stage: str
    received_at: AwareDatetime


class CallSynced(Event):
    """Every CRM of the tenant holds the call."""

    topic: ClassVar[str] = "call-synced"
    type: Literal["call_synced"] = "call_synced"


class TranscriptionOutput(Contract):
    """Cloud Storage's notice that Speech wrote an output object; the owner is read from the object's name."""

    tenant_id: TenantId
    request_id: str
    object_name: str


EVENT_TYPES: dict[str, type[Event]] = {
    "call_received": CallReceived,
    "recording_stored": RecordingStored,
    "call_transcribed": CallTranscribed,
    "call_analyzed": CallAnalyzed,
    "call_left_incomplete": CallLeftIncomplete,
    "call_synced": CallSynced,
}
