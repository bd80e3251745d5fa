"""Reads everything that Spanner holds about a tenant, page by page; what is sealed is opened call by call."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from google.cloud.spanner_v1 import param_types

from shared.gateways.database import OpenDatabase, read_rows
from shared.gateways.privacy_store import SpannerPrivacy
from shared.gateways.queries import query
from shared.gateways.vault import Vault

PAGE_SIZE = 200
_TYPES = {"tenant_id": param_types.STRING, "after": param_types.STRING, "page_size": param_types.INT64}
_REQUEST = ("request_id", "call_id", "kind", "origin", "state", "stage", "received_at", "finished_at")
_STAGE = ("stage", "state", "attempt", "error_code")
_USAGE = ("stage", "model", "audio_s", "input_tokens", "output_tokens", "recorded_at")
_AUDIT = ("audit_id", "actor", "action", "target", "detail", "outcome", "occurred_at")


class SpannerExport:
    """Implements `shared.tenant_export.ExportStore`."""

    def __init__(self, open_database: OpenDatabase, vault: Vault) -> None:
        self._open = open_database
        self._vault = vault
        self._privacy = SpannerPrivacy(open_database, vault)

    def check_readable(self, tenant_id: str) -> None:
        """Raises `TenantBlocked` when the tenant has no keys (any more): then nothing could be opened."""
        self._vault.forget(tenant_id)  # a customer who was offboarded a minute ago must not be exported from a cache
        self._vault.of(tenant_id).warm()

    def subjects(self, tenant_id: str) -> Iterator[str]:
        """Ids of calls, texts and forms, in order."""
        for row in self._pages("subjects", tenant_id, key=lambda row: str(row[0])):
            yield row[0]

    def subject(self, tenant_id: str, subject_id: str) -> dict[str, Any]:
        """The call, its events and its dead letters, opened. Raises `PermanentFailure` for a value that is damaged."""
        return self._privacy.export(tenant_id, subject_id)

    def requests_of(self, tenant_id: str, subject_id: str) -> list[str]:
        """Ids of the call's requests: Speech's output lies under them."""
        return self._privacy.requests_of(tenant_id, subject_id)

    def requests(self, tenant_id: str) -> Iterator[dict[str, Any]]:
        """Every request with its stages and what they cost."""
        for row in self._pages("requests", tenant_id, key=lambda row: str(row[0])):
            *facts, stages, usage = row
            yield {
                **dict(zip(_REQUEST, facts, strict=True)),
                "stages": [dict(zip(_STAGE, stage, strict=True)) for stage in stages or ()],
                "usage": [dict(zip(_USAGE, line, strict=True)) for line in usage or ()],
            }

    def audit_lines(self, tenant_id: str) -> Iterator[dict[str, Any]]:
        """Who did what with the tenant."""
        for row in self._pages("audit_lines", tenant_id, key=lambda row: str(row[0])):
            line = dict(zip(_AUDIT, row, strict=True))
            yield {**line, "detail": json.loads(line["detail"]) if line["detail"] else None}

    def _pages(self, name: str, tenant_id: str, *, key: Callable[[list[Any]], str]) -> Iterator[list[Any]]:
        after = ""
        while True:
            params = {"tenant_id": tenant_id, "after": after, "page_size": PAGE_SIZE}
            rows = read_rows(self._open, query("export", name), params, _TYPES, what=f"export {name}")
            yield from rows
            if len(rows) < PAGE_SIZE:
                return
            after = key(rows[-1])
