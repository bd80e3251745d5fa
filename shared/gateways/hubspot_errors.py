"""HubSpot's errors as ours: one table by status, one by throttling policy (reference: HubSpot §1.7).

| answer | kind |
| --- | --- |
| 401 | `TenantBlocked`, after the secret was read again once (hubspot_api.py) |
| 403 | `TenantBlocked`: a scope is missing |
| 400 naming a property that does not exist or is not unique | `TenantBlocked`: run `pipeline tenant check` |
| 409, 400 `CONFLICTING_UNIQUE_VALUE` | `RecordConflict`: a race, or a final no |
| 404 | `RecordMissing` |
| 400, 422 and every other 4xx | `PermanentFailure` |
| 423 | `TransientFailure`, not before 2 s |
| 429 `DAILY` | `Deferred`; any other policy `Throttled` with a delay |
| 477, 408, 5xx, anything unheard of | `TransientFailure` |

Details never carry HubSpot's `message`: it quotes values, and values are personal data.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from shared.errors import Deferred, PermanentFailure, PipelineError, TenantBlocked, Throttled, TransientFailure

CHECK_COMMAND = "pipeline tenant check TENANT"
LOCKED_WAIT_S = 2.0
_POLICY_WAIT_S = {"SECONDLY": 1.0, "TEN_SECONDLY_ROLLING": 10.0}
_DAILY_RECHECK_H = 4
_DAILY_MARGIN = timedelta(minutes=10)

_SAFE_WORD = re.compile(r"^[A-Za-z0-9_.-]{1,80}$")
_PROBLEM = re.compile(r'"error"\s*:\s*"(?P<error>[A-Z_]{1,60})"\s*,\s*"name"\s*:\s*"(?P<name>[a-z0-9_]{1,100})"')

TOKEN_FIX = "put a valid HubSpot token into the tenant's token secret"  # noqa: S105  # a sentence, no secret
_BLOCKED_FIX = {
    401: TOKEN_FIX,
    403: "grant the HubSpot token the contacts read and write and the contact schema scopes",
}
_STATUS_OF_CATEGORY = {
    "VALIDATION_ERROR": 400,
    "INVALID_AUTHENTICATION": 401,
    "MISSING_SCOPES": 403,
    "OBJECT_NOT_FOUND": 404,
    "CONFLICT": 409,
    "RATE_LIMITS": 429,
}


class RecordMissing(PermanentFailure):
    """The object addressed by its id is not there (deleted, or never was)."""


class RecordConflict(PermanentFailure):
    """A unique value is taken; whoever wrote it first may have been another worker of ours."""


def failure(
    status: int, document: Any, *, action: str, now: datetime, retry_after_s: float | None = None, unique: str = ""
) -> PipelineError:
    """The error that an answer stands for.

    `action` says what was tried on which kind of object, `unique` names the property used as key, if any.
    """
    body = document if isinstance(document, Mapping) else {}
    text = json.dumps(body, default=str).replace('\\"', '"')
    detail = _detail(status, body, text, action=action)
    if status == 429:
        return _throttled(body, detail, now=now, retry_after_s=retry_after_s)
    if status in _BLOCKED_FIX:
        return TenantBlocked(f"hubspot_{status}", detail, fix=_BLOCKED_FIX[status])
    if status == 423:
        return TransientFailure("hubspot_locked", detail, retry_after_s=max(LOCKED_WAIT_S, retry_after_s or 0.0))
    if status == 409 or "CONFLICTING_UNIQUE_VALUE" in text:
        return RecordConflict("hubspot_conflict", detail)
    if status == 400 and _schema_is_wrong(text, unique):
        return TenantBlocked("hubspot_property_missing", detail, fix=f"run `{CHECK_COMMAND}` to create our properties")
    if status == 404:
        return RecordMissing("hubspot_not_found", detail)
    if 400 <= status < 500 and status not in {408, 477}:
        return PermanentFailure("hubspot_refused", detail)
    return TransientFailure(f"hubspot_{status}", detail, retry_after_s=retry_after_s)


def item_failure(error: Any, *, action: str, now: datetime, unique: str = "") -> PipelineError:
    """The error that one item of a 207 answer stands for; items have a category but no status of their own."""
    category = error.get("category") if isinstance(error, Mapping) else None
    status = _STATUS_OF_CATEGORY.get(str(category), 500)
    return failure(status, error, action=action, now=now, unique=unique)


def unreadable(action: str) -> TransientFailure:
    """A success without the expected document: a proxy's page, a half answer. Asking again is safe."""
    return TransientFailure("hubspot_unreadable", f"HubSpot's answer to {action} could not be understood")


def _schema_is_wrong(text: str, unique: str) -> bool:
    """Our own keys are digests and ids that no rule can dislike: a 400 about one means the property is not as
    `prepare` leaves it."""
    return "PROPERTY_DOESNT_EXIST" in text or (bool(unique) and unique in text)


def _throttled(
    body: Mapping[str, Any], detail: str, *, now: datetime, retry_after_s: float | None
) -> Deferred | Throttled:
    policy = str(body.get("policyName", ""))
    if policy == "DAILY":
        return Deferred("hubspot_daily_quota", detail, until=next_daily_look(now))
    wait_s = _POLICY_WAIT_S.get(policy, 1.0) if retry_after_s is None else retry_after_s
    return Throttled("hubspot_throttled", detail, retry_after_s=wait_s)


def next_daily_look(now: datetime) -> datetime:
    """When to try again after the quota of the day ran out: midnight UTC or the next mark of four hours.

    The counter restarts at midnight in the account's own zone, which the answer does not tell. Waiting for
    midnight UTC alone would miss an American account's midnight by hours and then wait another day.
    """
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    marks = (now - midnight) // timedelta(hours=_DAILY_RECHECK_H) + 1
    return midnight + marks * timedelta(hours=_DAILY_RECHECK_H) + _DAILY_MARGIN


def _detail(status: int, body: Mapping[str, Any], text: str, *, action: str) -> str:
    """What an operator needs to find the case at HubSpot, made of fixed words and identifiers only."""
    facts = {name: body.get(name) for name in ("category", "subCategory", "policyName", "correlationId")}
    known = [f"{name} {value}" for name, value in facts.items() if isinstance(value, str) and _SAFE_WORD.match(value)]
    known += [f"scope {scope} is needed" for scope in _wanted_scopes(body)]
    problems = {f"{match['name']} {match['error']}" for match in _PROBLEM.finditer(text)}
    return ", ".join([f"HubSpot answered {status} to {action}", *known, *sorted(problems | _coded_problems(body))])


def _wanted_scopes(body: Mapping[str, Any]) -> list[str]:
    """A 403 lists them under `errors[].context.requiredGranularScopes`."""
    errors = body.get("errors")
    contexts = (
        [error.get("context") for error in errors if isinstance(error, Mapping)] if isinstance(errors, list) else []
    )
    listed = [context.get("requiredGranularScopes") for context in contexts if isinstance(context, Mapping)]
    scopes = [scope for scopes in listed if isinstance(scopes, list) for scope in scopes]
    return sorted({scope for scope in scopes if isinstance(scope, str) and _SAFE_WORD.match(scope)})


def _coded_problems(body: Mapping[str, Any]) -> set[str]:
    """`errors[]` names the property under `context.propertyName` and the reason under `code`; all are optional."""
    problems = set()
    errors = body.get("errors")
    for error in errors if isinstance(errors, list) else []:
        words = [_first_property(error), error.get("code")] if isinstance(error, Mapping) else []
        if words and all(isinstance(word, str) and _SAFE_WORD.match(word) for word in words):
            problems.add(" ".join(map(str, words)))
    return problems


def _first_property(error: Mapping[str, Any]) -> Any:
    context = error.get("context")
    names = context.get("propertyName") if isinstance(context, Mapping) else None
    return names[0] if isinstance(names, list) and names else None
