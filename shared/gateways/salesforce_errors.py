"""Salesforce's error codes in our vocabulary: one table, keyed by `errorCode`, because the HTTP status misleads.

`UNABLE_TO_LOCK_ROW` comes as 400 and passes by itself; `DUPLICATES_DETECTED` comes as 400 and never does
(reference: apis.md §2.5). Messages can quote field values, so none of them ever leaves this module: errors carry
the code and the names of fields that we write.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from shared.errors import Deferred, PermanentFailure, PipelineError, TenantBlocked, Throttled, TransientFailure

_CODE = re.compile(r"[A-Z][A-Z0-9_]{1,79}")
"""What is none is not repeated: a proxy's page may hold anything under that name."""
QUOTA_PAUSE = timedelta(hours=1)
"""The daily allowance is a rolling 24 hours: some of it is back within the hour."""

MULTIPLE_CHOICES = "MULTIPLE_CHOICES"
"""Our name for HTTP 300, whose body has no error code."""

CHECK = "run `pipeline tenant check TENANT`; docs/api/salesforce-setup.md lists fields and permissions"
_GRANT = f"give the integration user's permission set access to the object and its fields; {CHECK}"
_WORD = re.compile(r"[A-Za-z]\w*")
_EXTERNAL_ID_MISSING = "external id field does not exist"


@dataclass(frozen=True)
class Meaning:
    """What a code makes of the call: which of our errors, and what a person can do."""

    error: type[TransientFailure] | type[PermanentFailure] | type[TenantBlocked] | type[Deferred]
    fix: str = ""


_SOON = Meaning(TransientFailure)
_THROTTLED = Meaning(Throttled)
_REFUSED = Meaning(PermanentFailure)

ERROR_TABLE: dict[str, Meaning] = {
    # passes by itself
    "UNABLE_TO_LOCK_ROW": _SOON,
    "SERVER_UNAVAILABLE": _SOON,
    "UNKNOWN_EXCEPTION": _SOON,
    "QUERY_TIMEOUT": _SOON,
    "REQUEST_RUNNING_TOO_LONG": _SOON,
    "API_CURRENTLY_DISABLED": _SOON,
    "PROCESSING_HALTED": _SOON,  # only when no subrequest owns up to the error
    # passes within hours
    "REQUEST_LIMIT_EXCEEDED": Meaning(Deferred, "raise the org's daily API request limit or spare it elsewhere"),
    # a setting of the org, the same for every call of the tenant
    "INVALID_FIELD": Meaning(TenantBlocked, f"create the field or make it visible; {CHECK}"),
    "INVALID_FIELD_FOR_INSERT_UPDATE": Meaning(TenantBlocked, f"make the field editable; {CHECK}"),
    "INVALID_TYPE": Meaning(TenantBlocked, _GRANT),
    "REQUIRED_FIELD_MISSING": Meaning(TenantBlocked, "the org demands a field that we do not fill: make it optional"),
    "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST": Meaning(
        TenantBlocked, f"add the value to the picklist or lift its restriction; {CHECK}"
    ),
    "INSUFFICIENT_ACCESS": Meaning(TenantBlocked, _GRANT),
    "INSUFFICIENT_ACCESS_OR_READONLY": Meaning(TenantBlocked, _GRANT),
    "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY": Meaning(TenantBlocked, _GRANT),
    "INVALID_SESSION_ID": Meaning(TenantBlocked, "check the integration user's login restrictions (IP ranges, hours)"),
    "API_DISABLED_FOR_ORG": Meaning(TenantBlocked, "the org's edition or the user's profile has no API access"),
    "STORAGE_LIMIT_EXCEEDED": Meaning(TenantBlocked, "the org's data storage is full: make room"),
    # this record, and no other
    "DUPLICATES_DETECTED": Meaning(
        PermanentFailure, "a duplicate rule blocks the record: merge the duplicates or let the rule allow with an alert"
    ),
    "FIELD_CUSTOM_VALIDATION_EXCEPTION": Meaning(PermanentFailure, "a validation rule of the org refused the record"),
    "STRING_TOO_LONG": Meaning(PermanentFailure, "give the field the length in docs/api/salesforce-setup.md"),
    "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY": Meaning(PermanentFailure, "an Apex trigger of the org refused the record"),
    "ENTITY_IS_LOCKED": Meaning(PermanentFailure, "an approval process holds the record"),
    "NOT_FOUND": _REFUSED,
    "ENTITY_IS_DELETED": _REFUSED,
    "CANNOT_UPDATE_CONVERTED_LEAD": _REFUSED,
    "INVALID_CROSS_REFERENCE_KEY": _REFUSED,
    "MALFORMED_SEARCH": _REFUSED,
    "MALFORMED_QUERY": _REFUSED,
    "JSON_PARSER_ERROR": _REFUSED,
    "DUPLICATE_VALUE": Meaning(PermanentFailure, "a unique field of the org already holds the value"),
}


@dataclass(frozen=True)
class Problem:
    """One entry of an error body. `fields` holds only names that we write; nothing of the message is kept."""

    code: str
    fields: tuple[str, ...] = ()
    names_missing_key: bool = False
    """NOT_FOUND meant the external id field, not the record."""
    is_concurrency: bool = False
    """REQUEST_LIMIT_EXCEEDED meant requests at the same time, not requests of the day."""


def read_problem(body: Any, our_fields: Collection[str]) -> Problem | None:
    """The first entry of an error body that says something; None when it is not an error body."""
    entries = body if isinstance(body, list) else [body]
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("errorCode"), str):
            continue
        message = str(entry.get("message", ""))
        fields = entry.get("fields")
        listed = [str(name) for name in fields] if isinstance(fields, list) else []
        named = {*listed, *_WORD.findall(message)} & set(our_fields)
        return Problem(
            code=entry["errorCode"] if _CODE.fullmatch(entry["errorCode"]) else "",
            fields=tuple(sorted(named)),
            names_missing_key=_EXTERNAL_ID_MISSING in message.lower() and bool(named),
            is_concurrency=message.startswith("Concurrent"),
        )
    return None


class Refusal(Exception):
    """Salesforce answered an operation with an error; the gateway mends it or hands it on as `as_error` says."""

    def __init__(
        self,
        problem: Problem | None,
        *,
        operation: str,
        status: int,
        part: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(f"{operation}: HTTP {status} {problem.code if problem else ''}".rstrip())
        self.problem = problem
        self.operation = operation
        self.status = status
        self.part = part
        """In a composite request: the reference id of the subrequest that failed."""
        self.retry_after_s = retry_after_s

    @property
    def code(self) -> str:
        return self.problem.code if self.problem else ""

    @property
    def fields(self) -> tuple[str, ...]:
        return self.problem.fields if self.problem else ()

    def as_error(self, now: datetime) -> PipelineError:
        """Our error for it: by the table, and by the HTTP status for codes that the table does not have."""
        if self.problem is None or self.problem.code not in ERROR_TABLE:
            return self._by_status()
        meaning = _meaning(self.problem)
        if meaning.error is Deferred:
            return Deferred(self._our_code, self._detail, until=now + QUOTA_PAUSE, fix=meaning.fix)
        if issubclass(meaning.error, TransientFailure):
            return meaning.error(self._our_code, self._detail, retry_after_s=self.retry_after_s)
        if meaning.error is TenantBlocked:
            return TenantBlocked(self._our_code, self._detail, fix=meaning.fix)
        return PermanentFailure(self._our_code, self._detail, fix=meaning.fix)

    @property
    def _our_code(self) -> str:
        return f"salesforce_{self.code.lower() or self.status}"

    @property
    def _detail(self) -> str:
        on = f" on {', '.join(self.fields)}" if self.fields else ""
        return f"Salesforce answered {self.operation} with {self.code or f'HTTP {self.status}'}{on}"

    def _by_status(self) -> PipelineError:
        if self.status == 429:
            return Throttled(self._our_code, self._detail, retry_after_s=self.retry_after_s)
        if self.status >= 500 or self.status < 400:
            return TransientFailure(self._our_code, self._detail, retry_after_s=self.retry_after_s)
        if self.status in {401, 403}:
            return TenantBlocked(self._our_code, self._detail, fix=_GRANT)
        return PermanentFailure(self._our_code, self._detail)


def _meaning(problem: Problem) -> Meaning:
    """The table's row, except where one code stands for two things."""
    if problem.code == "REQUEST_LIMIT_EXCEEDED" and problem.is_concurrency:
        return _THROTTLED
    if problem.code == "NOT_FOUND" and problem.names_missing_key:
        return ERROR_TABLE["INVALID_FIELD"]
    if problem.code == "DUPLICATE_VALUE" and any(name.startswith("Ext_") for name in problem.fields):
        return _SOON  # somebody else was faster with our own key: the next attempt updates
    return ERROR_TABLE[problem.code]
