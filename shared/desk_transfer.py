"""Letters as JSON lines: taken along, kept elsewhere, brought back. Importing the same file twice changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from typing import Literal

from pydantic import AwareDatetime, Field, ValidationError

from schemas.base import Contract
from shared.dead_letters import (
    UNASSIGNED_TENANT,
    AuditEntry,
    DeadLetter,
    DeadLetterBody,
    LetterFilter,
    LetterState,
)
from shared.deliveries import Delivery, decode_event
from shared.desk import Desk
from shared.errors import ConfigurationError, InvalidEvent, NotReady

_MAX_LINE_BYTES = 20_000_000
"""A Pub/Sub message is at most 10 MB, and JSON escapes can double it."""


class LetterLine(Contract):
    """One line of an export. It may hold personal data: the event of a first stage is the webhook itself."""

    format: Literal[1] = 1
    tenant_id: str = Field(min_length=3, max_length=40)
    dead_letter_id: str = Field(pattern=r"^[de]-[0-9a-f]{32}$")
    request_id: str = Field(max_length=64)
    current_request_id: str = Field(max_length=64)
    call_id: str = Field(max_length=64)
    stage: str = Field(max_length=16)
    state: LetterState
    reason: str = Field(max_length=64)
    detail: str = Field(max_length=1000)
    fix: str = Field(max_length=1000)
    attempts: int = Field(ge=0)
    occurrences: int = Field(ge=1)
    replays: int = Field(ge=0)
    created_at: AwareDatetime
    failed_at: AwareDatetime | None = None
    replayed_at: AwareDatetime | None = None
    replayed_by: str | None = Field(default=None, max_length=200)
    closed_at: AwareDatetime | None = None
    note: str | None = Field(default=None, max_length=1000)
    discard_reason: str | None = Field(default=None, max_length=1000)
    copy_of: str | None = Field(default=None, max_length=64)
    kept_until: AwareDatetime | None = None
    topic: str = Field(max_length=255)
    event: str
    attributes: dict[str, str]


@dataclass(frozen=True)
class ImportReport:
    """What an import did. `refused` says, by line number, why a line was not taken."""

    inserted: int
    known: int
    refused: dict[int, str]

    def document(self) -> dict[str, object]:
        """For `--json`."""
        return {"inserted": self.inserted, "known": self.known, "refused": self.refused}


def export_letters(desk: Desk, wanted: LetterFilter) -> Iterator[str]:
    """Each letter found as one line of JSON, newline included."""
    for letter in desk.find(wanted):
        body = desk.body(letter.tenant_id, letter.dead_letter_id)
        yield _line_of(body).model_dump_json() + "\n"


def import_letters(desk: Desk, lines: Iterable[bytes], *, tenant_id: str | None, actor: str) -> ImportReport:
    """Insert the letters that the desk does not have; those it has stay as they are.

    `tenant_id` limits the import to one tenant. A line whose event belongs to another tenant than the line says is
    refused: otherwise an import could send one tenant's call into another's account. A replay in progress elsewhere
    comes back as open.
    """
    inserted = known = 0
    refused: dict[int, str] = {}
    for number, raw in enumerate(lines, start=1):
        if not raw.strip():
            continue
        try:
            body = _body_of(raw, tenant_id)
            audit = AuditEntry(actor, "dead_letter.import", body.letter.dead_letter_id, {})
            if body.letter.tenant_id == UNASSIGNED_TENANT:
                desk.store.ensure_unassigned_tenant()
            if desk.store.insert_copy(body, audit):
                inserted += 1
            else:
                known += 1
        except (ConfigurationError, InvalidEvent) as error:
            refused[number] = error.detail
    return ImportReport(inserted, known, refused)


def _line_of(body: DeadLetterBody) -> LetterLine:
    values = {name: value for name, value in asdict(body.letter).items() if name in LetterLine.model_fields}
    return LetterLine(**values, topic=body.topic, event=body.event, attributes=dict(body.attributes))


def _body_of(raw: bytes, tenant_id: str | None) -> DeadLetterBody:
    if len(raw) > _MAX_LINE_BYTES:
        raise ConfigurationError("line_too_long", "the line is longer than any letter")
    try:
        line = LetterLine.model_validate_json(raw)
    except ValidationError as error:
        names = sorted({".".join(str(part) for part in item["loc"]) or "the line" for item in error.errors()})
        raise ConfigurationError("bad_line", f"wrong or missing: {', '.join(names)}") from error
    if tenant_id is not None and line.tenant_id != tenant_id:
        raise ConfigurationError("another_tenant", "the line belongs to another tenant")
    _check_owner(line)
    values = {field.name: getattr(line, field.name) for field in fields(DeadLetter) if field.name in _LINE_FIELDS}
    state: LetterState = "open" if line.state == "replaying" else line.state
    letter = DeadLetter(**{**values, "state": state}, updated_at=line.created_at)
    return DeadLetterBody(letter, line.topic, line.event, line.attributes)


_LINE_FIELDS = frozenset(LetterLine.model_fields)


def _check_owner(line: LetterLine) -> None:
    """What the event says must be what the line says."""
    attributes = {name: value for name, value in line.attributes.items() if isinstance(value, str)}
    try:
        event = decode_event(Delivery("", line.event.encode(), attributes, ""))
    except (InvalidEvent, NotReady) as error:
        if line.tenant_id == UNASSIGNED_TENANT:
            return
        raise ConfigurationError("event_unreadable", "the event cannot be read, so nobody knows whose it is") from error
    if line.tenant_id != UNASSIGNED_TENANT and (event.tenant_id, event.call_id) != (line.tenant_id, line.call_id):
        raise ConfigurationError("another_tenants_event", "the event belongs to another tenant or call")


def to_json(value: object) -> str:
    """Dates as ISO 8601: for the command line's documents."""
    return json.dumps(value, indent=2, default=str)
