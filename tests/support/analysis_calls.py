"""Calls, transcripts and stage contexts for the tests of the analyze and CRM stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from schemas.calls import CallDetails, CallRecord
from schemas.events import CallAnalyzed, CallTranscribed
from schemas.tenant import AiConfig, CrmConfig, Tenant, TenantConfig
from schemas.transcript import Transcript, Turn
from shared.errors import NotReady
from shared.stage import StageContext

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
TENANT_ID = "acme-plumbing"
CALL_ID = "CAL0000000000000000000000000000b1"
REQUEST_ID = "r-0123456789abcdef"

HOT_LEAD = (
    ("agent", "Thank you for calling Acme Plumbing, we offer free estimates, how can I help you?"),
    ("caller", "Hi, my water heater burst and there is water everywhere. I need somebody today."),
    ("agent", "I am sorry to hear that. Can I have the address?"),
    ("caller", "Yes. How much does it cost to replace it?"),
    ("agent", "About twelve hundred dollars, we can come at three."),
    ("caller", "Sounds good, please book it."),
)


def transcript_of(*turns: tuple[str, str], language: str = "en-US") -> Transcript:
    """One turn every five seconds."""
    return Transcript(
        language=language,
        model="chirp_3",
        turns=tuple(
            Turn.model_validate({"speaker": speaker, "start_s": 5.0 * at, "end_s": 5.0 * at + 4, "text": text})
            for at, (speaker, text) in enumerate(turns)
        ),
    )


def details(**changes: Any) -> CallDetails:
    known: dict[str, Any] = {
        "call_id": CALL_ID,
        "answered": True,
        "started_at": NOW,
        "duration_s": 62,
        "caller_number": "+13035550123",
        "first_call": True,
    }
    return CallDetails(**(known | changes))


def call_record(**changes: Any) -> CallRecord:
    return CallRecord(**({"tenant_id": TENANT_ID, "details": details()} | changes))


def tenant(*, ai: AiConfig | None = None, crm: CrmConfig | None = None) -> Tenant:
    config = TenantConfig(
        callrail_company_ids=("COM1",),
        webhook_secret_names=("callrail-signing-acme",),
        ai_config=ai or AiConfig(),
        crm_config=crm or CrmConfig(),
    )
    return Tenant(tenant_id=TENANT_ID, name="Acme Plumbing", config=config)


@dataclass
class Calls:
    """An in-memory `CallReader`."""

    held: dict[tuple[str, str], CallRecord] = field(default_factory=dict)

    @classmethod
    def of(cls, *records: CallRecord) -> Calls:
        return cls({(record.tenant_id, record.details.call_id): record for record in records})

    def get(self, tenant_id: str, call_id: str) -> CallRecord | None:
        return self.held.get((tenant_id, call_id))


@dataclass
class Attempt:
    """Contexts of one request; the checkpoint lives on between attempts, as the runner keeps it."""

    tenant: Tenant
    event_type: type[CallTranscribed | CallAnalyzed]
    checkpoint: dict[str, Any] = field(default_factory=dict)
    number: int = 0
    changes: list[NotReady] = field(default_factory=list)
    """What the next checkpoints about a call are refused with: it was changed since it was read."""

    def next(self) -> StageContext:
        self.number += 1
        return StageContext(
            tenant=self.tenant,
            request_id=REQUEST_ID,
            call_id=CALL_ID,
            event=self.event_type(tenant_id=self.tenant.tenant_id, request_id=REQUEST_ID, call_id=CALL_ID),
            attempt=self.number,
            checkpoint=dict(self.checkpoint),
            save_checkpoint=self._save,
            now=lambda: NOW,
        )

    def _save(self, checkpoint: Mapping[str, Any], /, *, call_as_of: datetime | None = None) -> None:
        if call_as_of is not None and self.changes:
            raise self.changes.pop()
        self.checkpoint = dict(checkpoint)
