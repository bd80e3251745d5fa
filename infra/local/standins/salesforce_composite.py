"""Composite requests of the Salesforce stand-in: what a body must look like, references, results, rollback."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.local.standins.salesforce_checks import ApiError

MAX_SUBREQUESTS = 25
_REFERENCE = re.compile(r"@\{(\w+)\.(\w+)\}")
_ROLLED_BACK = "The transaction was rolled back since another operation in the same transaction failed."


@dataclass(frozen=True)
class Answer:
    """Status and JSON body (None means no body at all), and headers that a fault rule adds."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


def check_composite(body: Any) -> list[dict[str, Any]]:
    """The subrequests. Raises `ApiError` for a body that Salesforce would not begin with."""
    subrequests = body.get("compositeRequest") if isinstance(body, dict) else None
    if not isinstance(subrequests, list) or not subrequests:
        raise ApiError("JSON_PARSER_ERROR", "compositeRequest is required")
    if len(subrequests) > MAX_SUBREQUESTS:
        raise ApiError("LIMIT_EXCEEDED", f"The limit of {MAX_SUBREQUESTS} subrequests was exceeded.")
    references = [subrequest.get("referenceId", "") for subrequest in subrequests]
    if len(set(references)) != len(references) or not all(re.fullmatch(r"[A-Za-z]\w*", name) for name in references):
        raise ApiError("JSON_PARSER_ERROR", "referenceId must be unique and alphanumeric")
    inherited = {"accept", "authorization", "content-type"}
    for subrequest in subrequests:
        if inherited & {name.lower() for name in subrequest.get("httpHeaders") or {}}:
            raise ApiError("INVALID_HEADER", "Accept, Authorization and Content-Type are inherited")
    return subrequests


def resolve(value: Any, known: Mapping[str, Any]) -> Any:
    """Put earlier answers in place of `@{reference.field}`."""
    if isinstance(value, dict):
        return {name: resolve(item, known) for name, item in value.items()}
    if isinstance(value, str):
        return _REFERENCE.sub(lambda match: _lookup(match[1], match[2], known), value)
    return value


def _lookup(reference: str, name: str, known: Mapping[str, Any]) -> str:
    body = known.get(reference)
    if not isinstance(body, dict) or name not in body:
        raise ApiError(
            "PROCESSING_HALTED", f"Invalid reference specified. No value for {reference}.{name} found in {reference}"
        )
    return str(body[name])


def result_of(subrequest: Mapping[str, Any], answer: Answer) -> dict[str, Any]:
    """One entry of `compositeResponse`."""
    return {
        "body": answer.body,
        "httpHeaders": {},
        "httpStatusCode": answer.status,
        "referenceId": subrequest["referenceId"],
    }


def rolled_back(subrequests: list[dict[str, Any]], results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The failed subrequest keeps its error; every other one is reported as halted."""
    halted = Answer(400, [{"errorCode": "PROCESSING_HALTED", "message": _ROLLED_BACK}])
    failed = results[-1]
    return [
        failed if subrequest["referenceId"] == failed["referenceId"] else result_of(subrequest, halted)
        for subrequest in subrequests
    ]
