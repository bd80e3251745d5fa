"""Merges webhooks into `call_records`, in one transaction that also says what the call's requests stand for now."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from google.cloud.spanner_v1 import COMMIT_TIMESTAMP, param_types

from schemas.calls import CallDetails
from schemas.tenant import RETENTION_DAYS
from shared.call_merge import Merged, Ranks, merge
from shared.gateways.database import READ_TIMEOUT_S, OpenDatabase, transact
from shared.gateways.keyed_rows import put
from shared.gateways.queries import query
from shared.gateways.spanner_errors import read_retry
from shared.gateways.vault import TenantVault, Vault
from shared.names import first_request_id
from shared.ports import KnownCall

_KEY_TYPES = {"tenant_id": param_types.STRING, "call_id": param_types.STRING}
_FIRST_TYPES = {"tenant_id": param_types.STRING, "first_request_id": param_types.STRING}
_READ_TYPES = {**_KEY_TYPES, "first_request_id": param_types.STRING}


class SpannerCallMerger:
    """Implements `shared.ports.CallMerger`."""

    def __init__(self, open_database: OpenDatabase, vault: Vault) -> None:
        self._open = open_database
        self._vault = vault

    def merge(self, tenant_id: str, said: Merged, *, now: datetime) -> KnownCall:
        key = {"tenant_id": tenant_id, "call_id": said.details.call_id}
        first = {"tenant_id": tenant_id, "first_request_id": first_request_id(tenant_id, said.details.call_id)}
        vault = self._vault.of(tenant_id)
        vault.warm()

        def work(transaction: Any) -> KnownCall:
            rows = _rows(transaction, {**key, **first})
            if not rows:
                _insert(transaction, key, said, vault, expires_at=now + _retention(transaction, tenant_id))
                return KnownCall(details=said.details, started=False, analyzed=False, recorded=False, no_audio=False)
            details, ranks, analyzed, recorded, no_audio, erased, started = rows[0]
            if erased:
                return _forgotten(said.details)
            known = stored_merge(vault.open(key["call_id"], "details", details), ranks)
            merged = merge(known, said)
            is_news = merged.details.recording_url != known.details.recording_url
            if merged.details == known.details:
                # Nothing new but how old it is: `updated_at` stays, or a CRM would be told again for nothing.
                put(transaction.update, "call_records", **key, details_ranks=json.dumps(merged.ranks))
            else:
                put_said(transaction.update, key, merged, vault)
            if is_news and not recorded:
                wake = {**first, "now": now}
                types = {**_FIRST_TYPES, "now": param_types.TIMESTAMP}
                transaction.execute_update(query("calls", "wake_download"), params=wake, param_types=types)
            return KnownCall(
                details=merged.details,
                started=started,
                analyzed=analyzed,
                recorded=recorded,
                no_audio=no_audio,
                recording_is_news=is_news,
            )

        return transact(self._open, work, what="merge call", tag="merge_call")


def _forgotten(details: CallDetails) -> KnownCall:
    """A call whose person asked to be erased: nothing is written and nothing follows."""
    return KnownCall(details=details, started=True, analyzed=False, recorded=True, no_audio=False)


def stored_merge(details: str, ranks: str | None) -> Merged:
    """The columns as a merge result; a row from before ranks were kept is worth less than anything new."""
    parsed = CallDetails.model_validate_json(details)
    known: Ranks = {name: (int(rank), str(at)) for name, (rank, at) in json.loads(ranks or "{}").items()}
    return Merged(parsed, known)


def _rows(transaction: Any, params: dict[str, Any]) -> list[list[Any]]:
    rows = transaction.execute_sql(
        query("calls", "read_details"),
        params=params,
        param_types=_READ_TYPES,
        timeout=READ_TIMEOUT_S,
        retry=read_retry(READ_TIMEOUT_S),  # without it, the client spins for ever while Spanner is away
    )
    return list(rows)


def _retention(transaction: Any, tenant_id: str) -> timedelta:
    """How long the tenant keeps calls; asked for once in a call's life."""
    sql, params = query("tenants", "retention_of"), {"tenant_id": tenant_id}
    rows = transaction.execute_sql(sql, params=params, param_types={"tenant_id": param_types.STRING})
    return timedelta(days=next((days for (days,) in rows), RETENTION_DAYS))


def _insert(transaction: Any, key: dict[str, str], said: Merged, vault: TenantVault, *, expires_at: datetime) -> None:
    created = {"expires_at": expires_at, "created_at": COMMIT_TIMESTAMP}
    put_said(transaction.insert, key, said, vault, **created)


def put_said(
    mutation: Callable[..., None], key: dict[str, str], merged: Merged, vault: TenantVault, **row: Any
) -> None:
    """Buffer what webhooks said of a call; `row` has columns beside."""
    put(
        mutation,
        "call_records",
        **key,
        details=vault.seal(key["call_id"], "details", merged.details.model_dump_json()),
        caller_hash=vault.phone_hash(merged.details.caller_number),
        details_ranks=json.dumps(merged.ranks),
        started_at=merged.details.started_at,
        **row,
        updated_at=COMMIT_TIMESTAMP,
    )
