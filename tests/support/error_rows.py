"""What each neighbour can answer and what we make of it: the rows behind docs/api/error-tables.md.

`tests/contract/test_error_tables.py` plays every row with the real gateway and compares the document, which
`python -m tests.support.error_rows > docs/api/error-tables.md` writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shared.errors import (
    Deferred,
    InvalidEvent,
    NotReady,
    OutOfCapacity,
    PermanentFailure,
    PipelineError,
    StoreConflict,
    TenantBlocked,
    Throttled,
    TransientFailure,
)
from shared.gateways.salesforce_errors import ERROR_TABLE

Kind = type[PipelineError] | type[StoreConflict]


@dataclass(frozen=True)
class Row:
    """One answer. `fault` is how the stand-in gives it."""

    answer: str
    ours: Kind
    code: str
    fault: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """All answers of one neighbour to one kind of request."""

    name: str
    title: str
    about: str
    rows: tuple[Row, ...]


def http(status: int, ours: Kind, code: str, note: str = "", **fault: Any) -> Row:
    answer = f"{status} {note}".strip()
    return Row(answer, ours, code, {"kind": "status", "status": status, **fault})


def grpc(name: str, ours: Kind, code: str, note: str = "") -> Row:
    return Row(f"{name} {note}".strip(), ours, code, {"kind": "status", "grpc_code": name})


def _ended_with(reason: str) -> dict[str, Any]:
    return {"kind": "rubbish", "body": {"finish_reason": reason, "text": '{"summary": "half'}}


DROPPED = {"kind": "drop"}

HUBSPOT = Table(
    "hubspot",
    "HubSpot",
    "Answers to the upsert of a call. The secret is read again once after a 401.",
    (
        http(400, PermanentFailure, "hubspot_refused", body={"category": "VALIDATION_ERROR"}),
        http(
            400,
            TenantBlocked,
            "hubspot_property_missing",
            "`PROPERTY_DOESNT_EXIST`",
            body={"category": "VALIDATION_ERROR", "errors": [{"code": "PROPERTY_DOESNT_EXIST"}]},
        ),
        http(
            400,
            PermanentFailure,
            "hubspot_conflict",
            "`CONFLICTING_UNIQUE_VALUE`",
            body={"x": "CONFLICTING_UNIQUE_VALUE"},
        ),
        http(401, TenantBlocked, "hubspot_401", body={"category": "INVALID_AUTHENTICATION"}),
        http(403, TenantBlocked, "hubspot_403", body={"category": "MISSING_SCOPES"}),
        http(404, TransientFailure, "hubspot_record_vanished", body={"category": "OBJECT_NOT_FOUND"}),
        http(408, TransientFailure, "hubspot_408", body={}),
        http(409, PermanentFailure, "hubspot_conflict", "(a race that is lost again)", body={"category": "CONFLICT"}),
        http(422, PermanentFailure, "hubspot_refused", body={}),
        http(423, TransientFailure, "hubspot_locked", body={}),
        http(429, Throttled, "hubspot_throttled", "`SECONDLY`", body={"policyName": "SECONDLY"}),
        http(
            429,
            Throttled,
            "hubspot_throttled",
            "`TEN_SECONDLY_ROLLING`",
            body={"policyName": "TEN_SECONDLY_ROLLING"},
        ),
        http(429, Throttled, "hubspot_throttled", "without a policy", body={}),
        http(429, Deferred, "hubspot_daily_quota", "`DAILY`", body={"policyName": "DAILY"}),
        http(477, TransientFailure, "hubspot_477", "(the portal is being moved)", body={}),
        http(500, TransientFailure, "hubspot_500", body={}),
        http(502, TransientFailure, "hubspot_502", body="<html>bad gateway</html>"),
        http(503, TransientFailure, "hubspot_503", body={}),
        http(524, TransientFailure, "hubspot_524", body={}),
        Row("200 that is no document", TransientFailure, "hubspot_unreadable", {"kind": "rubbish", "body": "<html>"}),
        Row("connection lost", TransientFailure, "hubspot_unreachable", DROPPED),
    ),
)

SALESFORCE = Table(
    "salesforce",
    "Salesforce",
    "By `errorCode`, because the HTTP status misleads; inside a composite answer as well. "
    "`INVALID_SESSION_ID` comes to this only after one new login. "
    "Played by `tests/contract/test_salesforce_gateway.py`.",
    tuple(
        Row(f"`{code}`", meaning.error, f"salesforce_{code.lower()}")
        for code, meaning in ERROR_TABLE.items()
        if code != "MULTIPLE_CHOICES"
    ),
)

SPEECH = Table(
    "speech_submit",
    "Speech-to-Text: a submission",
    "After an answer that leaves open whether the work was accepted, the running operations are searched for our "
    "output prefix and a match is adopted; these rows are what remains when there is none.",
    (
        grpc("RESOURCE_EXHAUSTED", OutOfCapacity, "speech_throttled"),
        grpc("UNAVAILABLE", TransientFailure, "speech_submit_unanswered"),
        grpc("DEADLINE_EXCEEDED", TransientFailure, "speech_submit_unanswered"),
        grpc("INTERNAL", TransientFailure, "speech_submit_unanswered"),
        grpc("UNKNOWN", TransientFailure, "speech_submit_unanswered"),
        grpc("ABORTED", TransientFailure, "speech_submit_unanswered"),
        grpc("CANCELLED", TransientFailure, "speech_submit_unanswered"),
        grpc("DATA_LOSS", TransientFailure, "speech_submit_unanswered"),
        grpc("PERMISSION_DENIED", PermanentFailure, "speech_forbidden"),
        grpc("UNAUTHENTICATED", PermanentFailure, "speech_forbidden"),
        grpc("NOT_FOUND", PermanentFailure, "speech_not_found"),
        grpc("INVALID_ARGUMENT", PermanentFailure, "speech_refused"),
        grpc("FAILED_PRECONDITION", PermanentFailure, "speech_refused"),
        grpc("OUT_OF_RANGE", PermanentFailure, "speech_refused"),
    ),
)

SPEECH_POLL = Table(
    "speech_poll",
    "Speech-to-Text: a look at an operation",
    "An error inside a finished operation, or of its one file, is no error of the request: "
    "`stages/transcribe/logic.py` judges it.",
    (
        grpc("UNAVAILABLE", TransientFailure, "speech_unavailable"),
        grpc("DEADLINE_EXCEEDED", TransientFailure, "speech_timeout"),
        grpc("RESOURCE_EXHAUSTED", OutOfCapacity, "speech_throttled"),
        grpc("INTERNAL", TransientFailure, "speech_internal_error"),
        grpc("PERMISSION_DENIED", PermanentFailure, "speech_forbidden"),
        grpc("NOT_FOUND", PermanentFailure, "speech_operation_unknown"),
        grpc("INVALID_ARGUMENT", PermanentFailure, "speech_refused"),
    ),
)

GEMINI = Table(
    "gemini",
    "Vertex AI Gemini",
    "A reply that breaks our schema is asked for once more by the stage; then `model_reply_invalid`.",
    (
        grpc("RESOURCE_EXHAUSTED", OutOfCapacity, "vertex_resource_exhausted"),
        grpc("UNAVAILABLE", TransientFailure, "vertex_unavailable"),
        grpc("DEADLINE_EXCEEDED", TransientFailure, "vertex_deadline_exceeded"),
        grpc("INTERNAL", TransientFailure, "vertex_internal"),
        grpc("ABORTED", TransientFailure, "vertex_aborted"),
        grpc("CANCELLED", TransientFailure, "vertex_cancelled"),
        grpc("UNKNOWN", TransientFailure, "vertex_unknown"),
        grpc("UNAUTHENTICATED", TransientFailure, "vertex_unauthenticated", "(our own token, fetched again)"),
        grpc("NOT_FOUND", PermanentFailure, "model_not_found"),
        grpc("PERMISSION_DENIED", PermanentFailure, "vertex_forbidden"),
        grpc("INVALID_ARGUMENT", PermanentFailure, "model_request_invalid"),
        grpc("FAILED_PRECONDITION", PermanentFailure, "vertex_failed_precondition"),
        *(
            Row(f"a reply that ends with `{reason}`", PermanentFailure, "model_refused", _ended_with(reason))
            for reason in (
                "SAFETY",
                "RECITATION",
                "BLOCKLIST",
                "PROHIBITED_CONTENT",
                "SPII",
                "MODEL_ARMOR",
                "MALFORMED_FUNCTION_CALL",
                "OTHER",
            )
        ),
        Row(
            "a prompt that was blocked",
            PermanentFailure,
            "prompt_blocked",
            {"kind": "rubbish", "body": {"block_reason": "PROHIBITED_CONTENT"}},
        ),
    ),
)

SECRETS = Table(
    "secrets",
    "Secret Manager",
    "A value that was read before serves through an outage for a while; these rows are for one that was not.",
    (
        grpc("NOT_FOUND", TenantBlocked, "secret_missing"),
        grpc("PERMISSION_DENIED", TenantBlocked, "secret_forbidden"),
        grpc("FAILED_PRECONDITION", TenantBlocked, "secret_disabled"),
        grpc("INVALID_ARGUMENT", TenantBlocked, "secret_name_invalid"),
        grpc("UNAVAILABLE", TransientFailure, "secret_manager_unavailable"),
        grpc("DEADLINE_EXCEEDED", TransientFailure, "secret_manager_deadline_exceeded"),
        grpc("RESOURCE_EXHAUSTED", TransientFailure, "secret_manager_resource_exhausted"),
        grpc("INTERNAL", TransientFailure, "secret_manager_internal"),
        grpc("UNAUTHENTICATED", TransientFailure, "secret_manager_unauthenticated"),
        grpc("ABORTED", TransientFailure, "secret_manager_aborted"),
    ),
)

RECORDINGS = Table(
    "recordings",
    "CallRail's recordings",
    "Answers to the webhook's link, for a tenant without an API key. With a key the API is asked for a fresh link "
    "first, and its answers are judged alike.",
    (
        http(202, NotReady, "recording_not_ready", body=""),
        http(204, NotReady, "recording_not_ready", body=""),
        Row("200 without a body", NotReady, "recording_empty", {"kind": "status", "status": 200, "body": ""}),
        Row(
            "200 with a page that says so",
            NotReady,
            "recording_not_ready",
            {"kind": "status", "status": 200, "body": "<html>Your recording is still processing.</html>"},
        ),
        Row(
            "200 with any other page",
            PermanentFailure,
            "recording_not_audio",
            {"kind": "status", "status": 200, "body": "<html>Log in</html>"},
        ),
        http(400, PermanentFailure, "recording_refused", body=""),
        http(401, TenantBlocked, "recording_link_refused", body=""),
        http(403, TenantBlocked, "recording_link_refused", body=""),
        http(404, NotReady, "recording_not_ready", body=""),
        http(408, TransientFailure, "recording_unavailable", body=""),
        http(410, NotReady, "recording_not_ready", "(gone: the call goes on without audio)", body=""),
        http(429, Throttled, "recording_throttled", body=""),
        http(500, TransientFailure, "recording_unavailable", body=""),
        http(503, TransientFailure, "recording_unavailable", body=""),
        Row("connection lost", TransientFailure, "recording_interrupted", DROPPED),
    ),
)

STORAGE_READ = Table(
    "storage_read",
    "Cloud Storage: reading",
    "404 and 412 when an object is opened mean that it is not there, or not any more.",
    (
        http(400, PermanentFailure, "storage_rejected"),
        http(403, TransientFailure, "storage_refused"),
        http(404, NotReady, "object_missing"),
        http(408, TransientFailure, "storage_unavailable"),
        http(412, NotReady, "object_missing"),
        http(429, TransientFailure, "storage_unavailable"),
        http(500, TransientFailure, "storage_unavailable"),
        http(503, TransientFailure, "storage_unavailable"),
        Row("connection lost", TransientFailure, "storage_unreachable", DROPPED),
    ),
)

STORAGE_WRITE = Table(
    "storage_write",
    "Cloud Storage: writing",
    "A missing bucket or grant is ours to mend and mends itself while it spreads, so the message survives it. "
    "412 means that the object is there already, which is a success.",
    (
        http(404, TransientFailure, "storage_refused", "(no bucket)"),
        *(row for row in STORAGE_READ.rows if row.ours is not NotReady),
    ),
)

SPANNER = Table(
    "spanner",
    "Spanner",
    "Answers to a commit. `AlreadyThere` and a missing parent row are part of the claim's protocol.",
    (
        grpc("ALREADY_EXISTS", StoreConflict, "AlreadyThere"),
        Row(
            "NOT_FOUND of a parent row",
            InvalidEvent,
            "row_missing",
            {"grpc_code": "NOT_FOUND", "message": "Parent row for row [x] in table runs is missing"},
        ),
        grpc("NOT_FOUND", TransientFailure, "spanner_not_found", "of anything else (session, table, column)"),
        grpc("INVALID_ARGUMENT", TransientFailure, "spanner_refused"),
        grpc("FAILED_PRECONDITION", TransientFailure, "spanner_refused"),
        grpc("OUT_OF_RANGE", TransientFailure, "spanner_refused"),
        grpc("PERMISSION_DENIED", TransientFailure, "spanner_refused"),
        grpc("ABORTED", TransientFailure, "spanner_unavailable", "(for longer than a commit may take)"),
        grpc("UNAVAILABLE", TransientFailure, "spanner_timeout"),
        grpc("RESOURCE_EXHAUSTED", TransientFailure, "spanner_timeout"),
        grpc("DEADLINE_EXCEEDED", TransientFailure, "spanner_unavailable"),
        grpc("INTERNAL", TransientFailure, "spanner_unavailable"),
        grpc("CANCELLED", TransientFailure, "spanner_unavailable"),
        grpc("UNAUTHENTICATED", TransientFailure, "spanner_unavailable"),
        grpc("UNKNOWN", TransientFailure, "spanner_unavailable"),
    ),
)

PUBSUB = Table(
    "pubsub",
    "Pub/Sub: publishing",
    "Whatever it is, the sender must come again: nothing is acknowledged that was not confirmed.",
    tuple(
        grpc(name, TransientFailure, "publish_failed")
        for name in (
            "NOT_FOUND",
            "PERMISSION_DENIED",
            "INVALID_ARGUMENT",
            "FAILED_PRECONDITION",
            "UNAUTHENTICATED",
            "UNAVAILABLE",
            "INTERNAL",
            "ABORTED",
            "RESOURCE_EXHAUSTED",
            "DEADLINE_EXCEEDED",
            "CANCELLED",
            "UNKNOWN",
        )
    ),
)

TABLES = (
    RECORDINGS,
    STORAGE_WRITE,
    STORAGE_READ,
    SPEECH,
    SPEECH_POLL,
    GEMINI,
    HUBSPOT,
    SALESFORCE,
    SECRETS,
    SPANNER,
    PUBSUB,
)

_HEAD = """# Error tables

What each neighbour can answer, and which of our errors (`shared/errors.py`) a gateway makes of it. Every row is played
with the real gateway by `tests/contract/test_error_tables.py`, from which this page is generated
(`python -m tests.support.error_rows > docs/api/error-tables.md`).

What follows from an error is the runner's affair ([architecture](../architecture.md)): `TransientFailure` and
`NotReady` come again, `Deferred` sleeps until its time, `OutOfCapacity` sleeps for some minutes (after two hours it
comes again instead), `TenantBlocked` sleeps until a person of the tenant has mended it, `PermanentFailure` and
`InvalidEvent` are dead letters. `Throttled` is a `TransientFailure` that opens the tenant's circuit when it comes three
times in a row. Short retries inside a gateway come before all of that.
"""


def page() -> str:
    """The whole document."""
    return "\n".join([_HEAD, *(_section(table) for table in TABLES)])


def _section(table: Table) -> str:
    lines = [f"## {table.title}", "", table.about, "", "| answer | ours | code |", "| --- | --- | --- |"]
    lines += [f"| {row.answer} | {_name(row.ours)} | {_code(row)} |" for row in table.rows]
    return "\n".join([*lines, ""])


def _name(kind: Kind) -> str:
    return "`AlreadyThere`" if kind is StoreConflict else f"`{kind.__name__}`"


def _code(row: Row) -> str:
    return "" if row.ours is StoreConflict else f"`{row.code}`"


if __name__ == "__main__":
    print(page(), end="")  # noqa: T201 - a generator of a file
