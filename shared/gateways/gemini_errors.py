"""Vertex's gRPC errors as ours: what time mends, what a person mends, what nothing mends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from shared.errors import OutOfCapacity, PermanentFailure, PipelineError, TransientFailure

_MENDED_BY_TIME = frozenset(
    {
        "RESOURCE_EXHAUSTED",  # shared capacity: normal under load
        "UNAVAILABLE",
        "DEADLINE_EXCEEDED",
        "INTERNAL",
        "ABORTED",
        "CANCELLED",
        "UNKNOWN",
        "UNAUTHENTICATED",  # the instance's own token, fetched again by the next attempt
    }
)
_FINAL = {
    "NOT_FOUND": (
        "model_not_found",
        "set PIPELINE_ANALYSIS_MODEL (or the tenant's ai_config.analysis_model) to a current model "
        "and PIPELINE_VERTEX_LOCATION to a location that serves it",
    ),
    "PERMISSION_DENIED": ("vertex_forbidden", "grant roles/aiplatform.user to the analyze service account"),
    "INVALID_ARGUMENT": ("model_request_invalid", ""),
}
_LONGEST_MESSAGE = 200


@contextmanager
def translated(*, model: str, location: str) -> Iterator[None]:
    """Turn what Google's client raises inside the block into `TransientFailure` or `PermanentFailure`."""
    from google.api_core.exceptions import GoogleAPICallError
    from google.auth.exceptions import GoogleAuthError

    try:
        yield
    except GoogleAPICallError as error:
        raise _failure(error, model=model, location=location) from error
    except GoogleAuthError as error:
        raise TransientFailure(
            "vertex_no_credentials",
            "no credentials for Vertex AI could be had",
            fix="attach a service account to the service, or log in with application-default credentials",
        ) from error


def _failure(error: Any, *, model: str, location: str) -> PipelineError:
    """`error` is a GoogleAPICallError. Google's message names fields and settings, never contents; it is cut short."""
    code = error.grpc_status_code.name if error.grpc_status_code is not None else "UNKNOWN"
    asked = f"{code} from {model} at {location}"
    if code in _MENDED_BY_TIME:
        kind = OutOfCapacity if code == "RESOURCE_EXHAUSTED" else TransientFailure
        return kind(f"vertex_{code.lower()}", asked, retry_after_s=_retry_delay_s(error))
    name, fix = _FINAL.get(code, (f"vertex_{code.lower()}", ""))
    return PermanentFailure(name, f"{asked}: {error.message[:_LONGEST_MESSAGE]}", fix=fix)


def _retry_delay_s(error: Any) -> float | None:
    """Google's own hint (RetryInfo), in seconds."""
    from google.rpc.error_details_pb2 import RetryInfo

    for detail in error.details:
        if isinstance(detail, RetryInfo):
            return float(detail.retry_delay.seconds + detail.retry_delay.nanos / 1e9)
    return None
