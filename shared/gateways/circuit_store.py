"""Circuits in Spanner."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from google.cloud.spanner_v1 import COMMIT_TIMESTAMP, param_types

from shared.circuits import Circuit
from shared.gateways.database import OpenDatabase, blind_commit, read_rows, update_rows
from shared.gateways.queries import query

_KEY_TYPES = {"tenant_id": param_types.STRING, "vendor": param_types.STRING}


class SpannerCircuits:
    """Implements `shared.circuits.CircuitStore`."""

    def __init__(self, open_database: OpenDatabase) -> None:
        self._open = open_database

    def read(self, tenant_id: str, vendor: str) -> Circuit | None:
        params = {"tenant_id": tenant_id, "vendor": vendor}
        rows = read_rows(self._open, query("circuits", "read_circuit"), params, _KEY_TYPES, what="read circuit")
        return _circuit(rows[0]) if rows else None

    def read_all(self, tenant_id: str) -> list[Circuit]:
        types = {"tenant_id": param_types.STRING}
        statement = query("circuits", "read_circuits")
        rows = read_rows(self._open, statement, {"tenant_id": tenant_id}, types, what="read circuits")
        return [_circuit(row) for row in rows]

    def write(self, circuit: Circuit) -> None:
        row = {
            "tenant_id": circuit.tenant_id,
            "vendor": circuit.vendor,
            "state": circuit.state,
            "failures": circuit.failures,
            "reason": circuit.reason[:64],
            "detail": circuit.detail[:1000],
            "fix": circuit.fix[:1000],
            "probe_at": circuit.probe_at,
            "updated_at": COMMIT_TIMESTAMP,
        }
        with blind_commit(self._open, what="write circuit") as batch:
            batch.insert_or_update(table="vendor_circuits", columns=tuple(row), values=[tuple(row.values())])

    def claim_probe(self, circuit: Circuit, *, next_probe_at: datetime) -> bool:
        params: dict[str, Any] = {
            "tenant_id": circuit.tenant_id,
            "vendor": circuit.vendor,
            "probe_at": circuit.probe_at,
            "next_probe_at": next_probe_at,
        }
        types = {**_KEY_TYPES, "probe_at": param_types.TIMESTAMP, "next_probe_at": param_types.TIMESTAMP}
        statement = (query("circuits", "claim_probe"), params, types)
        return update_rows(self._open, [statement], what="claim probe", tag="circuit_probe")[0] == 1

    def close(self, tenant_id: str, vendor: str, *, now: datetime) -> None:
        key: dict[str, Any] = {"tenant_id": tenant_id, "vendor": vendor}
        wake_types = {**_KEY_TYPES, "now": param_types.TIMESTAMP}
        statements = [
            (query("circuits", "close_circuit"), key, _KEY_TYPES),
            (query("circuits", "wake_runs"), {**key, "now": now}, wake_types),
        ]
        update_rows(self._open, statements, what="close circuit", tag="circuit_close")


def _circuit(row: list[object]) -> Circuit:
    tenant_id, vendor, state, failures, probe_at, reason, detail, fix = row
    return Circuit(
        tenant_id=str(tenant_id),
        vendor=str(vendor),
        state=state,  # type: ignore[arg-type] # the column's CHECK allows nothing else
        failures=failures,  # type: ignore[arg-type] # INT64 NOT NULL
        probe_at=probe_at,  # type: ignore[arg-type] # TIMESTAMP NOT NULL
        reason=str(reason or ""),
        detail=str(detail or ""),
        fix=str(fix or ""),
    )
