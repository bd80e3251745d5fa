"""Everything the pipeline holds about a tenant, as a bundle of files for a customer who leaves or asks for it.

The bundle is no snapshot of one moment: calls that arrive meanwhile may be in it or not. Suspend the tenant first when
that matters.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import IO, Any, Protocol

from schemas.calls import CallDetails, CallRecord
from schemas.plain_text import FORMULA_STARTS
from schemas.tenant import Tenant
from shared.errors import PermanentFailure
from shared.names import recording_object, transcript_prefix
from shared.ports import Clock, ObjectStore

FORMAT = 1
LEFT_OUT = (
    "secrets: signing keys, API keys, tokens and the secret part of the webhook address",
    "the tenant's encryption keys",
    "marks of the pipeline's own work: leases, circuits, reconciliation reports, replay jobs",
    "what the CRMs and CallRail hold themselves",
)
NO_AUDIO = "recordings and Speech's raw output (names only; --with-audio brings them)"
SHEET_COLUMNS = (
    *("call_id", "started_at", "direction", "answered", "duration_s", "caller_number", "caller_name"),
    *("tracking_number", "source", "campaign", "intent", "lead_score", "summary", "next_step", "crm_records"),
)
_BLOCK = 1024 * 1024


@dataclass(frozen=True)
class BundleFile:
    """One file of the bundle: how many records, bytes before compression, and the sum over them."""

    name: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What lies in a bundle. `unreadable`: ids whose stored values could not be opened."""

    format: int
    tenant_id: str
    tenant_name: str
    actor: str
    begun_at: datetime
    finished_at: datetime
    files: tuple[BundleFile, ...]
    unreadable: tuple[str, ...]
    left_out: tuple[str, ...]

    @property
    def counts(self) -> dict[str, int]:
        return {file.name: file.rows for file in self.files}


class Writer(Protocol):
    """One file of a bundle while it is written."""

    rows: int

    def row(self, data: bytes) -> None:
        """One record, with its line end."""
        ...

    def block(self, data: bytes) -> None:
        """Bytes that are no record of their own."""
        ...


class Bundle(Protocol):
    """Where the files go, one after the other."""

    def file(self, name: str) -> AbstractContextManager[Writer]: ...

    def files(self) -> tuple[BundleFile, ...]: ...

    def aside(self) -> IO[bytes]:
        """A nameless file beside the bundle, gone when it is closed."""
        ...


class ExportStore(Protocol):
    """What is asked of the database; every method takes the tenant first."""

    def check_readable(self, tenant_id: str) -> None: ...

    def subjects(self, tenant_id: str) -> Iterator[str]: ...

    def subject(self, tenant_id: str, subject_id: str) -> dict[str, Any]: ...

    def requests_of(self, tenant_id: str, subject_id: str) -> list[str]: ...

    def requests(self, tenant_id: str) -> Iterator[dict[str, Any]]: ...

    def audit_lines(self, tenant_id: str) -> Iterator[dict[str, Any]]: ...


class AuditLog(Protocol):
    """Writes a line of the audit log."""

    def record(self, tenant_id: str, *, actor: str, action: str, detail: Mapping[str, str]) -> None: ...


@dataclass(frozen=True)
class TenantExport:
    """Writes one tenant's bundle."""

    store: ExportStore
    objects: ObjectStore
    audit: AuditLog
    now: Clock

    def write(self, tenant: Tenant, facts: Mapping[str, Any], bundle: Bundle, *, actor: str, audio: bool) -> Manifest:
        """`facts` is what `tenant.json` says beside the configuration. The audit log hears of it before a value is
        opened, and again at the end. Raises `TenantBlocked` (no keys), `TransientFailure`."""
        tenant_id, begun_at = tenant.tenant_id, self.now()
        self.store.check_readable(tenant_id)
        self.audit.record(tenant_id, actor=actor, action="tenant.export", detail={"audio": str(audio).lower()})
        with bundle.file("tenant.json") as writer:
            writer.row(_pretty(_description(tenant, facts)))
        names, unreadable = self._write_calls(tenant_id, bundle)
        self._write_lines(bundle, "requests.jsonl", self.store.requests(tenant_id))
        if audio:
            for name in names:
                self._write_object(bundle, name)
        self._write_lines(bundle, "audit.jsonl", self.store.audit_lines(tenant_id))
        manifest = Manifest(
            FORMAT,
            tenant_id,
            tenant.name,
            actor,
            begun_at,
            self.now(),
            bundle.files(),
            tuple(unreadable),
            LEFT_OUT if audio else (*LEFT_OUT, NO_AUDIO),
        )
        with bundle.file("manifest.json") as writer:
            writer.row(_pretty(asdict(manifest)))
        counts = {name: str(count) for name, count in manifest.counts.items() if not name.startswith("objects/")}
        self.audit.record(tenant_id, actor=actor, action="tenant.exported", detail=counts)
        return manifest

    def _write_calls(self, tenant_id: str, bundle: Bundle) -> tuple[list[str], list[str]]:
        """`calls.jsonl` exactly, `calls.csv` for a spreadsheet; names of all objects, ids of what did not open."""
        names: list[str] = []
        unreadable: list[str] = []
        with bundle.aside() as sheet:
            sheet.write(sheet_line(dict(zip(SHEET_COLUMNS, SHEET_COLUMNS, strict=True))))
            rows = 0
            with bundle.file("calls.jsonl") as writer:
                for subject_id in self.store.subjects(tenant_id):
                    found = self._objects(tenant_id, subject_id)
                    names += found
                    try:
                        subject = self.store.subject(tenant_id, subject_id)
                    except PermanentFailure as error:
                        unreadable.append(subject_id)
                        subject = {"call_id": subject_id, "unreadable": error.code}
                    writer.row(_line({**subject, "objects": found}))
                    if subject.get("call"):
                        sheet.write(sheet_line(sheet_row(CallRecord.model_validate(subject["call"]))))
                        rows += 1
            _copy(sheet, bundle, "calls.csv", rows=rows)
        return names, unreadable

    def _objects(self, tenant_id: str, subject_id: str) -> list[str]:
        prefixes = [
            recording_object(tenant_id, subject_id, ""),
            *(transcript_prefix(tenant_id, request_id) for request_id in self.store.requests_of(tenant_id, subject_id)),
        ]
        return [name for prefix in prefixes for name in self.objects.list_names(prefix)]

    def _write_object(self, bundle: Bundle, name: str) -> None:
        with self.objects.open(name) as source, bundle.file(f"objects/{name}") as writer:
            while block := source.read(_BLOCK):
                writer.block(block)

    def _write_lines(self, bundle: Bundle, name: str, lines: Iterator[dict[str, Any]]) -> None:
        with bundle.file(name) as writer:
            for line in lines:
                writer.row(_line(line))


# --- pure ---------------------------------------------------------------------------------------------


def sheet_row(call: CallRecord) -> dict[str, Any]:
    """A call as one row of `calls.csv`: what a sales person sorts by. The exact values are in `calls.jsonl`."""
    details: CallDetails = call.details
    analysis = call.analysis
    return {
        "call_id": details.call_id,
        "started_at": details.started_at.isoformat() if details.started_at else "",
        "direction": details.direction,
        "answered": "" if details.answered is None else str(details.answered).lower(),
        "duration_s": details.duration_s,
        "caller_number": details.caller_number,
        "caller_name": details.caller_name,
        "tracking_number": details.tracking_number,
        "source": details.marketing.source,
        "campaign": details.marketing.campaign,
        "intent": analysis.intent if analysis else "",
        "lead_score": analysis.lead_score if analysis else "",
        "summary": analysis.summary if analysis else "",
        "next_step": analysis.next_step if analysis else "",
        "crm_records": " ".join(f"{record.provider}:{record.activity_id}" for record in call.crm),
    }


def sheet_line(row: Mapping[str, Any]) -> bytes:
    """One line of CSV that no spreadsheet takes for a formula."""
    out = io.StringIO()
    csv.writer(out).writerow([cell(row[column]) for column in SHEET_COLUMNS])
    return out.getvalue().encode()


def cell(value: Any) -> str:
    """The value as text; an apostrophe before what a spreadsheet would run. Numbers stay as they are."""
    if value is None or isinstance(value, int | float):
        return "" if value is None else str(value)
    text = str(value)
    # A cell's later lines count too: some programs take each line of a pasted cell by itself.
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "\n".join(f"'{line}" if line.startswith(tuple(FORMULA_STARTS.strip(" "))) else line for line in lines)


def _description(tenant: Tenant, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The tenant as `tenant.json` holds it: secrets by name, and no part of the address that must stay unknown."""
    config = tenant.config.model_dump(mode="json")
    config["webhook_token"] = "left out" if config["webhook_token"] else ""
    return {**facts, "tenant_id": tenant.tenant_id, "name": tenant.name, "status": tenant.status, "config": config}


def _copy(source: IO[bytes], bundle: Bundle, name: str, *, rows: int) -> None:
    source.seek(0)
    with bundle.file(name) as writer:
        writer.rows = rows
        while block := source.read(_BLOCK):
            writer.block(block)


def _line(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, default=_text).encode() + b"\n"


def _pretty(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, indent=2, default=_text).encode() + b"\n"


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
