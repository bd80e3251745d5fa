"""The first stage's claim: request, call and run come into the database together."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from google.cloud.spanner_v1 import COMMIT_TIMESTAMP, param_types

from shared.call_merge import Merged, merge
from shared.claims import Admission, NewRun
from shared.gateways.call_merger import stored_merge
from shared.gateways.database import READ_TIMEOUT_S, OpenDatabase, transact
from shared.gateways.queries import query
from shared.gateways.sealed_events import event_field, seal_event
from shared.gateways.spanner_errors import read_retry
from shared.gateways.vault import TenantVault

_CALL_TYPES = {"tenant_id": param_types.STRING, "call_id": param_types.STRING}


def put(mutation: Callable[..., None], table: str, **row: Any) -> None:
    """Buffer one row by column names (`insert`, `update` or `insert_or_update` of a batch or a transaction)."""
    mutation(table=table, columns=tuple(row), values=[tuple(row.values())])


def insert_run(writer: Any, run: NewRun, vault: TenantVault) -> None:
    """The claim itself."""
    field = event_field(run.key.request_id, run.key.stage)
    put(
        writer.insert,
        "stage_runs",
        **run.key._asdict(),
        call_id=run.call_id,
        state="running",
        attempt=1,
        claim_token=run.claim_token,
        worker=run.worker,
        lease_until=run.lease_until,
        event=seal_event(vault, run.call_id, field, run.event),
        created_at=COMMIT_TIMESTAMP,
        updated_at=COMMIT_TIMESTAMP,
    )


def admit(writer: Any, run: NewRun, admission: Admission, vault: TenantVault) -> None:
    """The request, and the call where the webhook says something of it."""
    put(
        writer.insert,
        "processing_requests",
        tenant_id=run.key.tenant_id,
        request_id=run.key.request_id,
        call_id=run.call_id,
        kind=admission.kind,
        origin=admission.origin,
        state="active",
        stage=run.key.stage,
        received_at=admission.received_at,
        expires_at=run.expires_at,
        created_at=COMMIT_TIMESTAMP,
        updated_at=COMMIT_TIMESTAMP,
    )
    if admission.said:
        _put_call(writer.insert, run, admission.said, vault, expires_at=run.expires_at, created_at=COMMIT_TIMESTAMP)


def admit_to_known_call(
    open_database: OpenDatabase, run: NewRun, admission: Admission, said: Merged, vault: TenantVault
) -> None:
    """The same where the call is known already: merge, in one transaction. Raises `AlreadyThere` as the insert does."""
    key = {"tenant_id": run.key.tenant_id, "call_id": run.call_id}
    vault.warm()

    def work(transaction: Any) -> None:
        rows = transaction.execute_sql(
            query("calls", "read_merge"),
            params=key,
            param_types=_CALL_TYPES,
            timeout=READ_TIMEOUT_S,
            retry=read_retry(READ_TIMEOUT_S),
        )
        known = [stored_merge(vault.open(run.call_id, "details", details), ranks) for details, ranks, _ in rows]
        merged = merge(known[0], said) if known else said
        admit(transaction, run, Admission(admission.kind, admission.origin, admission.received_at, said=None), vault)
        created = {} if known else {"expires_at": run.expires_at, "created_at": COMMIT_TIMESTAMP}
        if not any(erased for _, _, erased in rows):
            _put_call(transaction.update if known else transaction.insert, run, merged, vault, **created)
        insert_run(transaction, run, vault)

    transact(open_database, work, what=f"claim {run.key.stage}", tag="admit")


def _put_call(mutation: Callable[..., None], run: NewRun, merged: Merged, vault: TenantVault, **created: Any) -> None:
    put(
        mutation,
        "call_records",
        tenant_id=run.key.tenant_id,
        call_id=run.call_id,
        details=vault.seal(run.call_id, "details", merged.details.model_dump_json()),
        caller_hash=vault.phone_hash(merged.details.caller_number),
        details_ranks=json.dumps(merged.ranks),
        started_at=merged.details.started_at,
        **created,
        updated_at=COMMIT_TIMESTAMP,
    )
