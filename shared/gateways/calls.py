"""Reads calls and their stories from Spanner; every method takes the tenant first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from google.cloud.spanner_v1 import param_types

from schemas.analysis import CallAnalysis
from schemas.calls import CallDetails, CallRecord, CrmRecord, RecordingFacts
from schemas.transcript import Transcript
from shared.gateways.database import OpenDatabase, read_rows
from shared.gateways.keyed_rows import read_row
from shared.gateways.queries import query
from shared.gateways.vault import TenantVault, Vault
from shared.names import first_request_id

_ROW = ("details", "recording", "audio_s", "no_audio_reason", "transcript", "analysis", "updated_at")
"""What a row of the queries below begins with; the CRMs' records follow."""
_CALL_TYPES = {"tenant_id": param_types.STRING, "call_id": param_types.STRING}


@dataclass(frozen=True)
class CallLine:
    """One line of a list of calls."""

    call_id: str
    started_at: datetime | None
    intent: str | None
    lead_score: int | None


@dataclass(frozen=True)
class StoryLine:
    """One stage of one request of a call; the stage's fields are None when the request has no stage yet."""

    request_id: str
    kind: str
    origin: str
    request_state: str
    received_at: datetime
    request_finished_at: datetime | None
    stage: str | None
    state: str | None
    attempt: int | None
    error_code: str | None
    error_detail: str | None
    error_fix: str | None
    due_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None


class SpannerCalls:
    """Implements `shared.ports.CallReader`, and what the command line asks beyond it."""

    def __init__(self, open_database: OpenDatabase, vault: Vault) -> None:
        self._open = open_database
        self._vault = vault

    def get(self, tenant_id: str, call_id: str) -> CallRecord | None:
        params = {"tenant_id": tenant_id, "call_id": call_id}
        rows = read_rows(self._open, query("calls", "read_call"), params, _CALL_TYPES, what="read call")
        return _call_of(call_id, rows[0], self._vault.of(tenant_id)) if rows else None

    def list_recent(self, tenant_id: str, *, limit: int) -> list[CallLine]:
        """The tenant's latest calls, newest first."""
        rows = read_rows(
            self._open,
            query("calls", "list_calls"),
            {"tenant_id": tenant_id, "row_limit": limit},
            {"tenant_id": param_types.STRING, "row_limit": param_types.INT64},
            what="list calls",
        )
        return [CallLine(*row) for row in rows]

    def story(self, tenant_id: str, call_id: str) -> list[StoryLine]:
        """Every request of a call with its stages, oldest first."""
        params = {"tenant_id": tenant_id, "call_id": call_id}
        rows = read_rows(self._open, query("calls", "call_story"), params, _CALL_TYPES, what="read story")
        return [StoryLine(*row) for row in rows]


class SpannerRecordedCalls:
    """Implements `shared.ports.CallReader` for the stages that deal with audio: the call's own row, by its key."""

    _COLUMNS: tuple[str, ...] = _ROW

    def __init__(self, open_database: OpenDatabase, vault: Vault) -> None:
        self._open = open_database
        self._vault = vault

    def get(self, tenant_id: str, call_id: str) -> CallRecord | None:
        """The call with `crm` left out: no stage but the last one asks for it."""
        key = {"tenant_id": tenant_id, "call_id": call_id}
        found = read_row(self._open, "call_records", (*self._COLUMNS, "erased_at"), key, what="read call")
        if found is None or found[-1] is not None:
            return None
        row = dict(zip(self._COLUMNS, found[:-1], strict=True))
        return _call_of(call_id, [*(row.get(name) for name in _ROW), None], self._vault.of(tenant_id))


class SpannerConversations(SpannerRecordedCalls):
    """The same for the stage that need not know where audio lies, and may not read it: `recording` is left out too."""

    _COLUMNS = ("details", "audio_s", "no_audio_reason", "transcript", "analysis", "updated_at")


class SpannerCrmCalls:
    """Implements `shared.ports.CallReader` for the last stage: no recording, what CRMs know, when the webhook came."""

    def __init__(self, open_database: OpenDatabase, vault: Vault) -> None:
        self._open = open_database
        self._vault = vault

    def get(self, tenant_id: str, call_id: str) -> CallRecord | None:
        """The call with `recording` left out and `received_at` said; still one read."""
        params = {"tenant_id": tenant_id, "call_id": call_id, "first_request_id": first_request_id(tenant_id, call_id)}
        types = {**_CALL_TYPES, "first_request_id": param_types.STRING}
        rows = read_rows(self._open, query("calls", "read_for_crm"), params, types, what="read call")
        if not rows:
            return None
        *row, received_at = rows[0]
        call = _call_of(call_id, row, self._vault.of(tenant_id))
        return call.model_copy(update={"received_at": received_at})


def _call_of(call_id: str, row: list[Any], vault: TenantVault) -> CallRecord:
    details, recording, audio_s, no_audio_reason, transcript, analysis, updated_at, crm = row

    def opened(field: str, stored: str) -> str:
        return vault.open(call_id, field, stored)

    return CallRecord(
        tenant_id=vault.tenant_id,
        details=CallDetails.model_validate_json(opened("details", details)),
        recording=RecordingFacts.model_validate_json(recording) if recording else None,
        audio_s=audio_s,
        no_audio_reason=no_audio_reason or "",
        transcript=Transcript.model_validate_json(opened("transcript", transcript)) if transcript else None,
        analysis=CallAnalysis.model_validate_json(opened("analysis", analysis)) if analysis else None,
        crm=tuple(_crm_record(item) for item in crm or ()),
        updated_at=updated_at,
    )


def _crm_record(item: list[Any]) -> CrmRecord:
    provider, person_id, person_type, person_created, activity_id, activity_type, synced_at = item
    return CrmRecord(
        provider=provider,
        person_id=person_id,
        person_type=person_type,
        person_created=person_created,
        activity_id=activity_id,
        activity_type=activity_type,
        synced_at=synced_at,
    )
