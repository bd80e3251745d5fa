"""Stage runs in Spanner: the claim as a blind insert, every later change conditional on the claim token.

Happy path: `insert` and `finish` are blind mutations (one commit each, no read, no lock). `finish` inserts the run's
ledger row, and that insert decides between two workers that finish the same run. Everything off the happy path
is a read of what is expected and an update in one transaction, and so is a result that holds only for the call as read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from google.cloud.spanner_v1 import COMMIT_TIMESTAMP

from schemas.calls import CrmRecord
from shared.claims import Admission, CallVersion, ClaimLost, NewRun, RunKey, Sleep, StageRun, attempt_after
from shared.errors import AlreadyThere, NotReady
from shared.gateways.admission import admit, admit_to_known_call, insert_run
from shared.gateways.database import OpenDatabase, blind_commit, transact
from shared.gateways.keyed_rows import ConditionalUpdate, ExpectedRow, RowUpdate, put, read_row, update_if
from shared.gateways.sealed_events import event_field, next_event_field, open_event, seal_event
from shared.gateways.vault import TenantVault, Vault
from shared.stage import CallChanges, Completed

_RUN_COLUMNS = (
    "call_id",
    "state",
    "attempt",
    "claim_token",
    "lease_until",
    "due_at",
    "event",
    "checkpoint",
    "next_event",
    "error_code",
    "error_detail",
    "error_fix",
)
_MAX_DETAIL = 1000  # columns error_detail and error_fix
_MAX_CODE = 64

_REQUEST_OF_STATE = {"failed": "failed", "blocked": "blocked"}
"""Run states that stop the whole request."""


class SpannerRunStore:
    """Implements `shared.claims.RunStore`."""

    def __init__(self, open_database: OpenDatabase, vault: Vault) -> None:
        self._open = open_database
        self._vault = vault

    def insert(self, run: NewRun, admission: Admission | None) -> None:
        vault = self._vault.of(run.key.tenant_id)
        try:
            with blind_commit(self._open, what=f"claim {run.key.stage}") as batch:
                if admission:
                    admit(batch, run, admission, vault)
                insert_run(batch, run, vault)
        except AlreadyThere:
            # Either this run was claimed before, or only its call was made known before (by a pre-call webhook, say).
            if admission is None or admission.said is None or self.read(run.key) is not None:
                raise
            admit_to_known_call(self._open, run, admission, admission.said, vault)

    def read(self, key: RunKey) -> StageRun | None:
        row = read_row(self._open, "stage_runs", _RUN_COLUMNS, key._asdict(), what=f"read {key.stage} run")
        return _run_of(key, row, self._vault.of(key.tenant_id)) if row else None

    def take_over(self, run: StageRun, *, claim_token: str, worker: str, lease_until: Any) -> None:
        also = [_request_state(run.key, "active")] if run.state == "blocked" else []
        self._conditional(
            run.key,
            "take_over",
            {
                "state": "running",
                "attempt": attempt_after(run),
                "claim_token": claim_token,
                "worker": worker,
                "lease_until": lease_until,
                "due_at": None,
            },
            expected={"claim_token": run.claim_token, "state": run.state},
            also=also,
        )

    def save_checkpoint(
        self, key: RunKey, claim_token: str, checkpoint: Mapping[str, Any], *, call: CallVersion | None = None
    ) -> None:
        saved = {"checkpoint": json.dumps(dict(checkpoint))}
        only = _unchanged(key.tenant_id, call) if call else None
        self._conditional(key, "save_checkpoint", saved, expected=_running(claim_token), only=only)

    def sleep(self, key: RunKey, claim_token: str, sleep: Sleep) -> None:
        values = {
            "state": sleep.state,
            "due_at": sleep.due_at,
            "error_code": sleep.error_code[:_MAX_CODE],
            "error_detail": sleep.error_detail[:_MAX_DETAIL],
            "error_fix": sleep.error_fix[:_MAX_DETAIL],
            "vendor": sleep.vendor or None,
        }
        if sleep.checkpoint is not None:
            values["checkpoint"] = json.dumps(dict(sleep.checkpoint))
        request_state = _REQUEST_OF_STATE.get(sleep.state)
        also = [_request_state(key, request_state)] if request_state else []
        self._conditional(key, "sleep", values, expected=_running(claim_token), also=also)

    def finish(self, run: StageRun, completed: Completed) -> None:
        vault, what = self._vault.of(run.key.tenant_id), f"finish {run.key.stage}"
        if completed.call_as_of is None:
            with blind_commit(self._open, what=what) as batch:
                _write_results(batch, run, completed, vault)
            return
        only = _unchanged(run.key.tenant_id, CallVersion(run.call_id, completed.call_as_of))
        vault.warm()

        def work(transaction: Any) -> None:
            only.check(transaction)
            _write_results(transaction, run, completed, vault)

        transact(self._open, work, what=what, tag="run_finish")

    def end_request(self, key: RunKey) -> None:
        ended = {"state": "done", "updated_at": COMMIT_TIMESTAMP, "finished_at": COMMIT_TIMESTAMP}
        request = {"tenant_id": key.tenant_id, "request_id": key.request_id}
        change = ConditionalUpdate("processing_requests", request, ended, {"state": "active", "stage": key.stage})
        update_if(self._open, change, what="end request", tag="request_end")

    def _conditional(
        self,
        key: RunKey,
        name: str,
        values: Mapping[str, Any],
        *,
        expected: Mapping[str, Any],
        also: Sequence[RowUpdate] = (),
        only: ExpectedRow | None = None,
    ) -> None:
        """Change the run; raise `ClaimLost` when it is not as expected."""
        stamped = {**values, "updated_at": COMMIT_TIMESTAMP}
        change = ConditionalUpdate("stage_runs", key._asdict(), stamped, expected)
        if not update_if(self._open, change, also=also, only=only, what=f"{name} {key.stage} run", tag=f"run_{name}"):
            raise ClaimLost


def _unchanged(tenant_id: str, call: CallVersion) -> ExpectedRow:
    """What was concluded from the call, or told to somebody, is out of date when the call has changed."""
    return ExpectedRow(
        "call_records",
        {"tenant_id": tenant_id, "call_id": call.call_id},
        {"updated_at": call.updated_at},
        NotReady("call_changed", "the call changed while this stage worked on it; it runs again"),
    )


def _running(claim_token: str) -> dict[str, str]:
    return {"claim_token": claim_token, "state": "running"}


def _request_state(key: RunKey, state: str) -> RowUpdate:
    request = {"tenant_id": key.tenant_id, "request_id": key.request_id}
    return RowUpdate(
        "processing_requests", request, {"state": state, "stage": key.stage, "updated_at": COMMIT_TIMESTAMP}
    )


def _run_of(key: RunKey, row: list[Any], vault: TenantVault) -> StageRun:
    (call_id, state, attempt, token, lease_until, due_at, event, checkpoint, next_event, code, detail, fix) = row
    return StageRun(
        key=key,
        call_id=call_id,
        state=state,
        attempt=attempt,
        claim_token=token,
        lease_until=lease_until,
        due_at=due_at,
        event=open_event(vault, call_id, event_field(key.request_id, key.stage), event),
        checkpoint=json.loads(checkpoint) if checkpoint else None,
        next_event=open_event(vault, call_id, next_event_field(key.request_id, key.stage), next_event or ""),
        error_code=code or "",
        error_detail=detail or "",
        error_fix=fix or "",
    )


def _write_results(writer: Any, run: StageRun, completed: Completed, vault: TenantVault) -> None:
    """`writer` is a batch or a transaction."""
    _write_ledger(writer, run, completed)
    _write_run_done(writer, run, completed, vault)
    _write_request(writer, run, completed)
    _write_call(writer, run, completed.changes, vault)
    _write_crm(writer, run, completed.changes.crm)


def _write_ledger(batch: Any, run: StageRun, completed: Completed) -> None:
    usage = completed.usage
    put(
        batch.insert,
        "usage_ledger",
        **run.key._asdict(),
        call_id=run.call_id,
        claim_token=run.claim_token,
        model=usage.model,
        audio_s=usage.audio_s,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        recorded_at=COMMIT_TIMESTAMP,
    )


def _write_run_done(batch: Any, run: StageRun, completed: Completed, vault: TenantVault) -> None:
    field = next_event_field(run.key.request_id, run.key.stage)
    following = completed.next_event.model_dump_json() if completed.next_event else None
    put(
        batch.update,
        "stage_runs",
        **run.key._asdict(),
        state="done",
        next_event=seal_event(vault, run.call_id, field, following) if following else None,
        due_at=None,
        error_code=None,
        error_detail=None,
        error_fix=None,
        updated_at=COMMIT_TIMESTAMP,
        finished_at=COMMIT_TIMESTAMP,
    )


def _write_request(batch: Any, run: StageRun, completed: Completed) -> None:
    put(
        batch.update,
        "processing_requests",
        tenant_id=run.key.tenant_id,
        request_id=run.key.request_id,
        state=completed.request_state,
        stage=run.key.stage,
        updated_at=COMMIT_TIMESTAMP,
        finished_at=None if completed.request_state == "active" else COMMIT_TIMESTAMP,
    )


def _write_call(batch: Any, run: StageRun, changes: CallChanges, vault: TenantVault) -> None:
    written: dict[str, Any] = {}
    if changes.recording:
        written["recording"] = changes.recording.model_dump_json()
        written["audio_s"] = changes.recording.duration_s
    if changes.no_audio_reason is not None:
        written["no_audio_reason"] = changes.no_audio_reason or None
    if changes.analysis_failed:
        written["analysis_state"] = "failed"
    if changes.transcript:
        written["transcript"] = vault.seal(run.call_id, "transcript", changes.transcript.model_dump_json())
    if changes.analysis:
        written["analysis_state"] = "done"
        written["analysis"] = vault.seal(run.call_id, "analysis", changes.analysis.model_dump_json())
        written["intent"] = changes.analysis.intent
        written["lead_score"] = changes.analysis.lead_score
    if written:
        put(
            batch.update,
            "call_records",
            tenant_id=run.key.tenant_id,
            call_id=run.call_id,
            **written,
            updated_at=COMMIT_TIMESTAMP,
        )


def _write_crm(batch: Any, run: StageRun, records: tuple[CrmRecord, ...]) -> None:
    for record in records:
        put(
            batch.insert_or_update,
            "crm_syncs",
            tenant_id=run.key.tenant_id,
            call_id=run.call_id,
            **record.model_dump(),
            updated_at=COMMIT_TIMESTAMP,
        )
