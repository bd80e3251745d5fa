"""Merges webhooks into `call_records`; the merge itself is a pure function."""

from __future__ import annotations

from typing import Any

from google.cloud.spanner_v1 import param_types

from schemas.calls import CallDetails
from shared.gateways.database import READ_TIMEOUT_S, TRANSACTION_TIMEOUT_S, OpenDatabase, translated
from shared.gateways.queries import query
from shared.gateways.spanner_errors import read_retry
from shared.names import first_request_id
from shared.ports import KnownCall

_KEY_TYPES = {"tenant_id": param_types.STRING, "call_id": param_types.STRING}
_READ_TYPES = {**_KEY_TYPES, "first_request_id": param_types.STRING}
_ROW_TYPES = {**_KEY_TYPES, "details": param_types.STRING, "started_at": param_types.TIMESTAMP}


def merged_details(known: CallDetails, new: CallDetails) -> CallDetails:
    """The newer webhook wins, except where it is silent: an empty value means "not known" in CallRail's bodies.

    People's marks are taken as they are: an emptied note or a removed tag is a change.
    """
    spoken = {
        name: value
        for name, value in new.model_dump().items()
        if value not in (None, "", {}) and name not in {"marketing", "marks"}
    }
    marketing = {name: value for name, value in new.marketing.model_dump().items() if value}
    return known.model_copy(
        update={
            **spoken,
            "marketing": known.marketing.model_copy(update=marketing),
            "marks": new.marks,
        }
    )


class SpannerCallMerger:
    """Implements `shared.ports.CallMerger`."""

    def __init__(self, open_database: OpenDatabase) -> None:
        self._open = open_database

    def remember(self, tenant_id: str, details: CallDetails) -> None:
        self._in_transaction(tenant_id, details, overwrite=False)

    def merge(self, tenant_id: str, details: CallDetails) -> KnownCall:
        return self._in_transaction(tenant_id, details, overwrite=True)

    def _in_transaction(self, tenant_id: str, details: CallDetails, *, overwrite: bool) -> KnownCall:
        key = {"tenant_id": tenant_id, "call_id": details.call_id}
        params = {**key, "first_request_id": first_request_id(tenant_id, details.call_id)}

        def work(transaction: Any) -> KnownCall:
            rows = _read(transaction, params)
            if not rows:
                _write(transaction, "insert_details", key, details)
                return KnownCall(started=False, analyzed=False)
            stored, analyzed, started = rows[0]
            if overwrite:
                known = CallDetails.model_validate_json(stored)
                _write(transaction, "update_details", key, merged_details(known, details))
            return KnownCall(started=started, analyzed=analyzed)

        with translated("merge call"):
            result: KnownCall = self._open().run_in_transaction(
                work, timeout_secs=TRANSACTION_TIMEOUT_S, transaction_tag="merge_call"
            )
        return result


def _read(transaction: Any, params: dict[str, Any]) -> list[list[Any]]:
    rows = transaction.execute_sql(
        query("calls", "read_details"),
        params=params,
        param_types=_READ_TYPES,
        timeout=READ_TIMEOUT_S,
        retry=read_retry(READ_TIMEOUT_S),  # without it, the client spins for ever while Spanner is away
    )
    return list(rows)


def _write(transaction: Any, name: str, key: dict[str, str], details: CallDetails) -> None:
    params = {**key, "details": details.model_dump_json(), "started_at": details.started_at}
    transaction.execute_update(query("calls", name), params=params, param_types=_ROW_TYPES)
