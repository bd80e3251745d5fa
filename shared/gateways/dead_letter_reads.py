"""What is read of dead letters in Spanner, one tenant at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from google.cloud.spanner_v1 import param_types

from shared.dead_letters import (
    DeadLetter,
    DeadLetterBody,
    Failure,
    HistoryLine,
    LetterFilter,
    LetterGroup,
    LetterState,
    ReplayLine,
    RequestLine,
    RunLine,
    StateCount,
    UsageAverage,
)
from shared.gateways.database import OpenDatabase, read_rows
from shared.gateways.keyed_rows import read_row
from shared.gateways.queries import query
from shared.gateways.sealed_events import event_field, open_event
from shared.gateways.vault import Vault

_STRINGS = param_types.Array(param_types.STRING)
_TENANT = {"tenant_id": param_types.STRING}
_LETTER = {**_TENANT, "dead_letter_id": param_types.STRING}
_REQUESTS = {**_TENANT, "request_ids": _STRINGS}
_SINCE = {**_TENANT, "since": param_types.TIMESTAMP}
_FILTER = {
    **dict.fromkeys(("tenant_id", "stage", "reason", "error_code", "text", "sort"), param_types.STRING),
    **dict.fromkeys(("created_after", "created_before"), param_types.TIMESTAMP),
    "states": _STRINGS,
    "ids": _STRINGS,
    "row_limit": param_types.INT64,
}


_LETTER_COLUMNS = (
    *("request_id", "call_id", "stage", "state", "reason", "detail", "fix", "attempts", "occurrences", "replays"),
    *("created_at", "updated_at", "current_request_id", "failed_at", "replayed_at", "replayed_by", "closed_at"),
    *("note", "discard_reason", "copy_of", "kept_until", "topic", "event", "attributes"),
)


class LetterReads:
    """Implements `shared.desk_ports.LetterReads`."""

    def __init__(self, open_database: OpenDatabase, vault: Vault) -> None:
        self._open = open_database
        self._vault = vault

    def tenants_with_letters(self, states: Sequence[LetterState]) -> list[str]:
        rows = self._read("tenants_with_letters", {"states": list(states)}, {"states": _STRINGS})
        return [row[0] for row in rows]

    def list_letters(self, tenant_id: str, wanted: LetterFilter) -> list[DeadLetter]:
        params = _filter_params(tenant_id, wanted) | {"sort": wanted.sort, "row_limit": wanted.limit}
        return [DeadLetter(*row) for row in self._read("list_letters", params, _FILTER)]

    def group_letters(self, tenant_id: str, wanted: LetterFilter) -> list[LetterGroup]:
        types = {name: kind for name, kind in _FILTER.items() if name not in {"sort", "row_limit"}}
        return [LetterGroup(*row) for row in self._read("group_letters", _filter_params(tenant_id, wanted), types)]

    def read(self, tenant_id: str, dead_letter_id: str) -> DeadLetterBody | None:
        """By key, as a replay reads letters one by one (see `keyed_rows`)."""
        key = {"tenant_id": tenant_id, "dead_letter_id": dead_letter_id}
        row = read_row(self._open, "dead_letters", _LETTER_COLUMNS, key, what="read a dead letter")
        if row is None:
            return None
        stored = dict(zip(_LETTER_COLUMNS, row, strict=True))
        topic, event, attributes = (stored.pop(name) for name in ("topic", "event", "attributes"))
        current = stored.pop("current_request_id") or stored["request_id"]
        run_key = {"tenant_id": tenant_id, "request_id": current, "stage": stored["stage"]}
        run = read_row(self._open, "stage_runs", ("error_code", "state"), run_key, what="read a dead letter's run")
        error_code, run_state = run or (None, None)
        letter = DeadLetter(
            tenant_id=tenant_id,
            dead_letter_id=dead_letter_id,
            **stored,
            current_request_id=current,
            error_code=error_code,
            run_state=run_state,
            has_topic=bool(topic),
        )
        opened = self._vault.of(tenant_id).open(letter.call_id, f"letter/{dead_letter_id}", event)
        return DeadLetterBody(letter, topic, opened, dict(attributes))

    def failures(self, tenant_id: str, dead_letter_id: str) -> list[Failure]:
        rows = self._read("failures_of", {"tenant_id": tenant_id, "dead_letter_id": dead_letter_id}, _LETTER)
        return [Failure(*row) for row in rows]

    def requests(self, tenant_id: str, request_ids: Sequence[str]) -> list[RequestLine]:
        rows = self._read("requests_of", {"tenant_id": tenant_id, "request_ids": list(request_ids)}, _REQUESTS)
        return [RequestLine(*row) for row in rows]

    def runs(self, tenant_id: str, request_ids: Sequence[str]) -> list[RunLine]:
        rows = self._read("runs_of", {"tenant_id": tenant_id, "request_ids": list(request_ids)}, _REQUESTS)
        return [_run_of(row) for row in rows]

    def history(self, tenant_id: str, target: str) -> list[HistoryLine]:
        types = {**_TENANT, "target": param_types.STRING}
        rows = self._read("history_of", {"tenant_id": tenant_id, "target": target}, types)
        return [_history_of(row) for row in rows]

    def replays_of(self, tenant_id: str, dead_letter_id: str) -> list[ReplayLine]:
        params = {"tenant_id": tenant_id, "dead_letter_id": dead_letter_id}
        return [ReplayLine(*row) for row in self._read("replays_of_letter", params, _LETTER, file_name="replays")]

    def event_of_stage(self, tenant_id: str, request_id: str, stage: str) -> str | None:
        key = {"tenant_id": tenant_id, "request_id": request_id, "stage": stage}
        row = read_row(self._open, "stage_runs", ("event", "call_id"), key, what="read a stage's event")
        if row is None:
            return None
        event, call_id = row
        return open_event(self._vault.of(tenant_id), call_id, event_field(request_id, stage), event)

    def counts(self, tenant_id: str, *, since: datetime) -> list[StateCount]:
        rows = self._read("counts_by_state", {"tenant_id": tenant_id, "since": since}, _SINCE)
        return [StateCount(*row) for row in rows]

    def replay_outcomes(self, tenant_id: str) -> Mapping[str, int]:
        rows = self._read("outcomes_of_replays", {"tenant_id": tenant_id}, _TENANT, file_name="replays")
        return dict(rows)

    def usage_averages(self, tenant_id: str, *, since: datetime) -> list[UsageAverage]:
        rows = self._read("usage_averages", {"tenant_id": tenant_id, "since": since}, _SINCE)
        return [UsageAverage(*row) for row in rows]

    def _read(
        self, name: str, params: dict[str, Any], types: dict[str, Any], *, file_name: str = "dead_letters"
    ) -> list[list[Any]]:
        return read_rows(self._open, query(file_name, name), params, types, what=name.replace("_", " "))


def _filter_params(tenant_id: str, wanted: LetterFilter) -> dict[str, Any]:
    return {
        "tenant_id": tenant_id,
        "states": list(wanted.states),
        "stage": wanted.stage,
        "reason": wanted.reason,
        "error_code": wanted.error_code,
        "created_after": wanted.created_after,
        "created_before": wanted.created_before,
        "text": wanted.text,
        "ids": list(wanted.ids),
    }


def _run_of(row: list[Any]) -> RunLine:
    request_id, stage, state, attempt, worker, code, detail, fix, due_at, checkpoint, started, updated, finished = row
    saved = json.loads(checkpoint) if checkpoint else {}
    return RunLine(
        request_id, stage, state, attempt, worker, code, detail, fix, due_at, saved, started, updated, finished
    )


def _history_of(row: list[Any]) -> HistoryLine:
    at, actor, action, note, outcome, detail = row
    return HistoryLine(at, actor, action, note, outcome, json.loads(detail or "{}"))
