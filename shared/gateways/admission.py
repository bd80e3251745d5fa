"""The first stage's claim: request, call and run come into the database together."""

from __future__ import annotations

from typing import Any

from google.cloud.spanner_v1 import COMMIT_TIMESTAMP

from shared.call_merge import Merged, merge
from shared.claims import Admission, NewRun
from shared.gateways.call_merger import put_said, stored_merge
from shared.gateways.database import OpenDatabase, transact
from shared.gateways.keyed_rows import put, row_of
from shared.gateways.sealed_events import event_field, seal_event
from shared.gateways.vault import TenantVault


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
        put_said(writer.insert, _call_key(run), admission.said, vault, **_created(run))


def admit_to_known_call(
    open_database: OpenDatabase, run: NewRun, admission: Admission, said: Merged, vault: TenantVault
) -> None:
    """The same where the call is known already: merge, in one transaction. Raises `AlreadyThere` as the insert does."""
    key = _call_key(run)
    vault.warm()

    def work(transaction: Any) -> None:
        row = row_of(transaction, "call_records", ("details", "details_ranks", "erased_at"), key)
        admit(transaction, run, Admission(admission.kind, admission.origin, admission.received_at, said=None), vault)
        if row is None:
            put_said(transaction.insert, key, said, vault, **_created(run))
        elif row[2] is None:
            details, ranks, _ = row
            known = stored_merge(vault.open(run.call_id, "details", details), ranks)
            put_said(transaction.update, key, merge(known, said), vault)
        insert_run(transaction, run, vault)

    transact(open_database, work, what=f"claim {run.key.stage}", tag="admit")


def _call_key(run: NewRun) -> dict[str, str]:
    return {"tenant_id": run.key.tenant_id, "call_id": run.call_id}


def _created(run: NewRun) -> dict[str, Any]:
    return {"expires_at": run.expires_at, "created_at": COMMIT_TIMESTAMP}
