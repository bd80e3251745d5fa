"""Finds, exports and erases what Spanner holds about a caller; an erased call is one commit with its audit line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from google.cloud.spanner_v1 import COMMIT_TIMESTAMP, param_types

from schemas.calls import CallDetails
from shared.claims import RunKey
from shared.crm_erasure import CrmErased, CrmPointer
from shared.gateways.calls import SpannerCalls
from shared.gateways.database import OpenDatabase, read_rows, transact
from shared.gateways.keyed_rows import put
from shared.gateways.queries import query
from shared.gateways.sealed_events import event_field, open_event
from shared.gateways.tenant_rows import audit
from shared.gateways.vault import TenantVault, Vault
from shared.privacy import ErasedCall

_TENANT = {"tenant_id": param_types.STRING}
_CALL = {**_TENANT, "call_id": param_types.STRING}
_ERASED = "an erased call"


class SpannerPrivacy:
    """Implements `shared.privacy.PrivacyStore`."""

    def __init__(self, open_database: OpenDatabase, vault: Vault) -> None:
        self._open = open_database
        self._vault = vault

    def calls_of(self, tenant_id: str, number: str) -> list[str]:
        """Calls from a number (E.164), texts and letters that name it: by hash, and by opening what has none."""
        vault = self._vault.of(tenant_id)
        types = {**_TENANT, "hashes": param_types.Array(param_types.STRING)}
        found = {row[0] for row in self._rows("calls_by_hash", types, tenant_id, hashes=vault.phone_hashes(number))}
        for call_id, details in self._rows("calls_without_hash", _TENANT, tenant_id):
            if _names(vault.open(call_id, "details", details), number):
                found.add(call_id)
        for call_id, request_id, stage, event in self._rows("events_without_call", _TENANT, tenant_id):
            if _names(open_event(vault, call_id, event_field(request_id, stage), event), number):
                found.add(call_id)
        for call_id, letter_id, event in self._rows("letters", _TENANT, tenant_id):
            if _names(vault.open(call_id, f"letter/{letter_id}", event), number):
                found.add(call_id)
        return sorted(found)

    def requests_of(self, tenant_id: str, call_id: str) -> list[str]:
        return [row[0] for row in self._rows("requests_of_call", _CALL, tenant_id, call_id=call_id)]

    def crm_records(self, tenant_id: str, call_id: str) -> list[CrmPointer]:
        return [CrmPointer(*row) for row in self._rows("crm_of_call", _CALL, tenant_id, call_id=call_id)]

    def record_crm_erasure(self, tenant_id: str, erased: CrmErased, *, actor: str) -> None:
        detail = {
            "provider": erased.provider,
            "activities": " ".join(erased.activity_ids),
            "people": " ".join(erased.person_ids),
        }

        def work(transaction: Any) -> None:
            audit(transaction, tenant_id, actor=actor, action="privacy.erase_in_crm", detail=detail)

        transact(self._open, work, what="write the audit log", tag="privacy_erase_crm")

    def export(self, tenant_id: str, call_id: str) -> dict[str, Any]:
        """The call, its events and its dead letters, opened."""
        vault = self._vault.of(tenant_id)
        record = SpannerCalls(self._open, self._vault).get(tenant_id, call_id)
        return {
            "call_id": call_id,
            "call": record.model_dump(mode="json") if record else None,
            "events": [
                json.loads(open_event(vault, call_id, event_field(request_id, stage), event))
                for request_id, stage, event, *_ in self._rows("runs_of_call", _CALL, tenant_id, call_id=call_id)
            ],
            "dead_letters": [
                {"id": letter_id, "stage": stage, "reason": why, "event": vault.open(call_id, f"letter/{letter_id}", e)}
                for letter_id, stage, why, e in self._rows("letters_of_call", _CALL, tenant_id, call_id=call_id)
            ],
        }

    def erase(self, tenant_id: str, call_id: str, *, objects: Sequence[str], actor: str) -> ErasedCall:
        """Empty the call's row and events, remove its letters; a worker that holds the call cannot record any more."""
        vault = self._vault.of(tenant_id)
        vault.warm()
        params = {"tenant_id": tenant_id, "call_id": call_id}

        def work(transaction: Any) -> ErasedCall:
            syncs = transaction.execute_sql(query("privacy", "crm_of_call"), params=params, param_types=_CALL)
            pointers = tuple(CrmPointer(*row) for row in syncs)
            runs = list(transaction.execute_sql(query("privacy", "runs_of_call"), params=params, param_types=_CALL))
            letters = transaction.execute_update(query("privacy", "erase_letters"), params=params, param_types=_CALL)
            transaction.execute_update(query("privacy", "erase_syncs"), params=params, param_types=_CALL)
            blank = CallDetails(call_id=call_id, call_type=_ERASED).model_dump_json()
            erasing = {**params, "details": vault.seal(call_id, "details", blank)}
            types = {**_CALL, "details": param_types.STRING}
            rows = transaction.execute_update(query("privacy", "erase_call"), params=erasing, param_types=types)
            transaction.execute_update(query("privacy", "close_requests"), params=params, param_types=_CALL)
            events = sum(_erase_run(transaction, tenant_id, row) for row in runs)
            for request_id, stage, _event, claim_token, has_ledger in runs:
                if not has_ledger:
                    key = RunKey(tenant_id, request_id, stage)
                    _shut_out(transaction, key, call_id=call_id, claim_token=claim_token)
            counts = {"rows": rows, "events": events, "letters": letters, "objects": len(objects)}
            detail = {"call": call_id, **{name: str(count) for name, count in counts.items()}}
            audit(transaction, tenant_id, actor=actor, action="privacy.erase", detail=detail)
            return ErasedCall(call_id, rows, events, letters, tuple(objects), pointers)

        return transact(self._open, work, what="erase a call", tag="privacy_erase")

    def rows_of(self, tenant_id: str) -> dict[str, int]:
        return {kind: int(count) for kind, count in self._rows("rows_of_tenant", _TENANT, tenant_id)}

    def _rows(self, name: str, types: dict[str, Any], tenant_id: str, **more: Any) -> list[list[Any]]:
        params = {"tenant_id": tenant_id, **more}
        return read_rows(self._open, query("privacy", name), params, types, what=name.replace("_", " "))


def _erase_run(transaction: Any, tenant_id: str, row: list[Any]) -> int:
    """1 when there was a payload to remove."""
    request_id, stage, event, _token, _has_ledger = row
    document = json.loads(event)
    had = bool(document.get("payload"))
    if "payload" in document:
        document["payload"] = {}
    put(
        transaction.update,
        "stage_runs",
        tenant_id=tenant_id,
        request_id=request_id,
        stage=stage,
        event=json.dumps(document),
        next_event=None,
        checkpoint=None,
        state="done",
        due_at=None,
        error_code=None,
        error_detail=None,
        error_fix=None,
        updated_at=COMMIT_TIMESTAMP,
    )
    return int(had)


def _shut_out(transaction: Any, key: RunKey, *, call_id: str, claim_token: str) -> None:
    """The ledger decides who finished (decision 0003): a worker in the middle of the stage meets this row."""
    put(
        transaction.insert,
        "usage_ledger",
        **key._asdict(),
        call_id=call_id,
        claim_token=claim_token,
        model=_ERASED,
        audio_s=0.0,
        input_tokens=0,
        output_tokens=0,
        recorded_at=COMMIT_TIMESTAMP,
    )


def _names(text: str, number: str) -> bool:
    """Whether a stored text has the number in any usual spelling: its last ten digits, whatever stands between."""
    digits = "".join(character for character in text if character.isdigit() or character in '"{},:')
    return number.lstrip("+")[-10:] in digits


def subject_of(vault: TenantVault, number: str) -> str:
    """How a certificate names a number: by the tenant's keyed hash."""
    return f"caller {vault.phone_hash(number)}"
