"""Everything that one call left behind, with all that differs by nature (ids, times, tokens of claims) taken out."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from infra.local.standins.hubspot_hub import portal_name
from schemas.events import CallReceived
from tests.support.flaky import Chain, secret_values
from tests.support.ports import MemoryPublisher

Outcome = dict[str, Any]

_TABLES = {
    "processing_requests": "kind, origin, state, stage",
    "stage_runs": "stage, state, next_event, error_code",
    "call_records": "details, recording, no_audio_reason, transcript, analysis, intent, lead_score",
    "crm_syncs": "provider, person_id, person_type, person_created, activity_id, activity_type",
    "usage_ledger": "stage, model, audio_s, input_tokens, output_tokens",
}
_OF_THE_MOMENT = frozenset({"createdate", "lastmodifieddate", "CreatedDate", "LastModifiedDate", "SystemModstamp"})


def outcome_of(chain: Chain, event: CallReceived, publisher: MemoryPublisher) -> Outcome:
    """Rows, objects, messages, what the CRMs hold and what vendors would bill, comparable between calls."""
    hubspot, salesforce = _hubspot(chain, event.tenant_id), _salesforce(chain, event.tenant_id)
    found: Outcome = {
        "rows": _rows(chain, event),
        "objects": _objects(chain, event.tenant_id),
        "messages": sorted({f"{message.topic} {message.data.decode()}" for message in publisher.messages}),
        "hubspot": hubspot,
        "salesforce": salesforce,
        "speech operations": _speech_operations(chain, event.tenant_id),
        "vertex": chain.neighbours.state("vertex")["tenants"][event.tenant_id],
    }
    names = {event.tenant_id: "TENANT", event.request_id: "REQUEST", str(event.received_at.timestamp()): "NOW"}
    names |= _ids_of(hubspot, "id") | _ids_of(salesforce, "Id")
    text = json.dumps(found, default=str, sort_keys=True)
    for name, placeholder in names.items():
        text = text.replace(name, placeholder)
    anonymous: Outcome = json.loads(text)
    return anonymous


def _rows(chain: Chain, event: CallReceived) -> dict[str, list[dict[str, Any]]]:
    """Personal data opened: a sealed value differs each time."""
    tenant_id = event.tenant_id
    vault = chain.database.vault.of(tenant_id)
    rows = _stored_rows(chain, tenant_id)
    for call in rows["call_records"]:
        for field in ("details", "transcript", "analysis"):
            call[field] = call[field] and vault.open(event.call_id, field, call[field])
    return rows


def _stored_rows(chain: Chain, tenant_id: str) -> dict[str, list[dict[str, Any]]]:
    return {
        table: [
            dict(zip(columns.split(", "), row, strict=True))
            for row in chain.database.rows(
                f"SELECT {columns} FROM {table} WHERE tenant_id = '{tenant_id}' ORDER BY {columns.split(', ')[0]}"
            )
        ]
        for table, columns in _TABLES.items()
    }


def _objects(chain: Chain, tenant_id: str) -> dict[str, str]:
    """Recordings by their content's digest, and how much is left of Speech's raw output."""
    recordings = chain.objects.list_names(f"recordings/{tenant_id}/")
    transcripts = chain.objects.list_names(f"transcripts/{tenant_id}/")
    digests = {name: hashlib.sha256(chain.objects.read(name, max_bytes=10_000_000)).hexdigest() for name in recordings}
    return {**digests, "raw transcripts": str(len(transcripts))}


def _speech_operations(chain: Chain, tenant_id: str) -> int:
    """How many recognitions were started, and would be paid."""
    started = chain.neighbours.speech.book.state()["started"]
    return sum(count for uri, count in started.items() if f"/{tenant_id}/" in uri)


def _hubspot(chain: Chain, tenant_id: str) -> dict[str, list[dict[str, Any]]]:
    state = chain.neighbours.state("hubspot")
    portal = portal_name(secret_values(tenant_id)[f"{tenant_id}-hubspot"])
    return {
        kind: [
            {**item, "portal": "PORTAL", "properties": _lasting(item["properties"])}
            for item in state[kind]
            if item["portal"] == portal
        ]
        for kind in ("contacts", "calls")
    }


def _salesforce(chain: Chain, tenant_id: str) -> dict[str, list[dict[str, Any]]]:
    org = chain.neighbours.state("salesforce")["orgs"][f"{tenant_id}-consumer"]
    return {kind: [_lasting(item) for item in org[kind]] for kind in ("leads", "contacts", "tasks")}


def _lasting(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in _OF_THE_MOMENT}


def _ids_of(records: dict[str, list[dict[str, Any]]], key: str) -> dict[str, str]:
    """Record ids, as JSON writes them, to names that say which record is meant."""
    return {
        f'"{item[key]}"': f'"{kind} {number}"'
        for kind, items in records.items()
        for number, item in enumerate(items, 1)
    }
