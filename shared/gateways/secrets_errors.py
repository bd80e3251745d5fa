"""Secret Manager's gRPC errors as ours. Names of secrets may appear; values never do, nor Google's own text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from shared.errors import PipelineError, TenantBlocked, TransientFailure

_REFUSALS = {
    "NOT_FOUND": ("secret_missing", "does not exist or has no version", "create the secret or correct its name"),
    "PERMISSION_DENIED": (
        "secret_forbidden",
        "may not be read by this service",
        "grant roles/secretmanager.secretAccessor on it to the service's account",
    ),
    "FAILED_PRECONDITION": (
        "secret_disabled",
        "has a newest version that is disabled or destroyed",
        "enable that version or add a new one",
    ),
    "INVALID_ARGUMENT": ("secret_name_invalid", "is refused by Secret Manager", "correct the name or the value"),
}


@contextmanager
def refusal_of(name: str) -> Iterator[None]:
    """Turn what Google's client raises inside the block into `TenantBlocked` or `TransientFailure`."""
    from google.api_core.exceptions import GoogleAPICallError
    from google.auth.exceptions import GoogleAuthError

    try:
        yield
    except GoogleAPICallError as error:
        raise _failure(error, name=name) from error
    except GoogleAuthError as error:
        raise TransientFailure(
            "secret_manager_no_credentials",
            "no credentials for Secret Manager could be had",
            fix="attach a service account to the service, or log in with application-default credentials",
        ) from error


def _failure(error: Any, *, name: str) -> PipelineError:
    code = error.grpc_status_code.name if error.grpc_status_code is not None else "UNKNOWN"
    if code in _REFUSALS:
        kind, complaint, fix = _REFUSALS[code]
        return TenantBlocked(kind, f"secret {name} {complaint}", fix=fix)
    return TransientFailure(f"secret_manager_{code.lower()}", f"secret {name} could not be asked for")
