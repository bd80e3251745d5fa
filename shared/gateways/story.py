"""Reads calls' stories from Spanner: one read each, whatever happened to the call; every method takes the tenant."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from google.cloud.spanner_v1 import param_types

from schemas.calls import PROVIDERS
from shared.circuits import Circuit
from shared.errors import TenantBlocked
from shared.gateways.database import OpenDatabase, read_rows
from shared.gateways.queries import query
from shared.gateways.tenant_rows import tenant_of
from shared.story import CallFacts, CallLine, CallStory, LetterFacts, NextEvent, RequestFacts, RunFacts, SyncFacts

_CALL_TYPES = {"tenant_id": param_types.STRING, "call_id": param_types.STRING}
_REQUEST_TYPES = {"tenant_id": param_types.STRING, "request_id": param_types.STRING}
_LIST_TYPES = {"tenant_id": param_types.STRING, "row_limit": param_types.INT64}


class SpannerStories:
    """What `pipeline why` and `pipeline calls` ask."""

    def __init__(self, open_database: OpenDatabase) -> None:
        self._open = open_database

    def tell(self, tenant_id: str, call_id: str) -> CallStory:
        """Everything known of the call's way; a story without requests when there is nothing. One read."""
        params = {"tenant_id": tenant_id, "call_id": call_id}
        rows = read_rows(self._open, query("story", "tell"), params, _CALL_TYPES, what="read a call's story")
        if not rows:
            return CallStory(tenant_id, call_id, tenant_status="")
        *tenant, calls, requests, runs, letters, circuits, syncs = rows[0]
        return CallStory(
            tenant_id=tenant_id,
            call_id=call_id,
            tenant_status=tenant[2],
            tenant_problem=_problem(tenant),
            call=_call(calls[0]) if calls else None,
            requests=_requests(requests, runs),
            letters=tuple(_letter(row) for row in letters or ()),
            circuits=tuple(_circuit(tenant_id, row) for row in circuits or ()),
            syncs=tuple(SyncFacts(*row) for row in syncs or ()),
        )

    def call_of_request(self, tenant_id: str, request_id: str) -> str:
        """Whose request it is; empty when the tenant has no such request. One read."""
        params = {"tenant_id": tenant_id, "request_id": request_id}
        statement = query("story", "call_of_request")
        rows = read_rows(self._open, statement, params, _REQUEST_TYPES, what="find a request")
        return str(rows[0][0]) if rows else ""

    def tenants_of(self, some_id: str) -> list[tuple[str, str]]:
        """Tenant and call id of everything that has this call or request id, at most 20. One read."""
        types = {"id": param_types.STRING}
        rows = read_rows(self._open, query("story", "tenants_of"), {"id": some_id}, types, what="find a call")
        return [(tenant_id, call_id) for tenant_id, call_id in rows]

    def recent(self, tenant_id: str, *, limit: int) -> list[CallLine]:
        """The tenant's latest calls, newest first; their stories without circuits and syncs. Two reads."""
        params = {"tenant_id": tenant_id, "row_limit": limit}
        rows = read_rows(self._open, query("story", "recent"), params, _LIST_TYPES, what="list calls")
        letters = self._letters_of(tenant_id, [row[0] for row in rows])
        return [_line(tenant_id, row, letters[row[0]]) for row in rows]

    def _letters_of(self, tenant_id: str, call_ids: list[str]) -> Mapping[str, list[LetterFacts]]:
        params = {"tenant_id": tenant_id, "call_ids": call_ids}
        types = {"tenant_id": param_types.STRING, "call_ids": param_types.Array(param_types.STRING)}
        rows = read_rows(self._open, query("story", "letters_of"), params, types, what="list calls' dead letters")
        letters: dict[str, list[LetterFacts]] = defaultdict(list)
        for call_id, *row in rows:
            letters[call_id].append(_letter(row))
        return letters


def _line(tenant_id: str, row: list[Any], letters: list[LetterFacts]) -> CallLine:
    call_id, *facts, requests, runs = row
    call, all_requests = _call(facts), _requests(requests, runs)
    story = CallStory(tenant_id, call_id, "active", call=call, requests=all_requests, letters=tuple(letters))
    return CallLine(call, story)


def _problem(tenant: list[Any]) -> str:
    """What keeps this release from reading the tenant's configuration; messages of such a tenant are put back."""
    if tenant[2] == "system":
        return ""
    try:
        tenant_of(tenant)
    except TenantBlocked as error:
        return error.detail
    return ""


def _call(row: list[Any]) -> CallFacts:
    started_at, recorded, transcribed, analyzed, analysis_state, no_audio, intent, score, created_at = row
    return CallFacts(
        started_at=started_at,
        recorded=recorded,
        transcribed=transcribed,
        analyzed=analyzed,
        analysis_failed=analysis_state == "failed",
        no_audio_reason=no_audio or "",
        intent=intent or "",
        lead_score=score,
        created_at=created_at,
    )


def _requests(rows: Iterable[list[Any]] | None, run_rows: Iterable[list[Any]] | None) -> tuple[RequestFacts, ...]:
    runs: dict[str, list[RunFacts]] = defaultdict(list)
    for row in run_rows or ():
        run = _run(row)
        runs[run.request_id].append(run)
    return tuple(_request(row, runs[row[0]]) for row in rows or ())


def _request(row: list[Any], runs: list[RunFacts]) -> RequestFacts:
    request_id, kind, origin, state, stage, received_at, updated_at, finished_at = row
    return RequestFacts(
        request_id=request_id,
        kind=kind,
        origin=origin,
        state=state,
        stage=stage,
        received_at=received_at,
        updated_at=updated_at,
        finished_at=finished_at,
        runs=tuple(runs),
    )


def _run(row: list[Any]) -> RunFacts:
    (request_id, stage, state, attempt, worker, lease_until, created_at, updated_at, due_at, finished_at) = row[:10]
    vendor, code, detail, fix, checkpoint, next_event = row[10:]
    saved = _document(checkpoint)
    return RunFacts(
        request_id=request_id,
        stage=stage,
        state=state,
        attempt=attempt,
        worker=worker,
        lease_until=lease_until,
        created_at=created_at,
        updated_at=updated_at,
        due_at=due_at,
        finished_at=finished_at,
        vendor=vendor or "",
        code=code or "",
        detail=detail or "",
        fix=fix or "",
        operation=str(saved.get("operation", "")),
        crms_done=tuple(name for name in PROVIDERS if name in saved),
        next_event=_next_event(next_event),
    )


def _next_event(stored: str | None) -> NextEvent | None:
    if not stored:
        return None
    document = _document(stored)
    version = document.get("version")
    return NextEvent(
        type=str(document.get("type", "")),
        request_id=str(document.get("request_id", "")),
        version=version if isinstance(version, int) else 1,
    )


def _document(text: str | None) -> dict[str, Any]:
    """A stored JSON document; a release that writes something else must not keep a person from looking."""
    try:
        document = json.loads(text or "{}")
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _letter(row: list[Any]) -> LetterFacts:
    letter_id, first_request_id, request_id, stage, state, reason, detail, fix, attempts, occurrences, *rest = row
    replays, created_at, updated_at, note, kept_until = rest
    return LetterFacts(
        dead_letter_id=letter_id,
        first_request_id=first_request_id,
        request_id=request_id,
        stage=stage,
        state=state,
        reason=reason,
        detail=detail,
        fix=fix,
        attempts=attempts,
        occurrences=occurrences,
        replays=replays,
        created_at=created_at,
        updated_at=updated_at,
        note=note or "",
        kept_until=kept_until,
    )


def _circuit(tenant_id: str, row: list[Any]) -> Circuit:
    vendor, state, failures, probe_at, reason, detail, fix = row
    return Circuit(tenant_id, vendor, state, failures, probe_at, reason or "", detail or "", fix or "")
