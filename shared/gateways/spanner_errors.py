"""Spanner's errors in our words, and the bound that every query needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from google.api_core import exceptions
from google.api_core.retry import Retry, if_exception_type
from google.auth.exceptions import GoogleAuthError

from shared.errors import ConfigurationError, PipelineError, TransientFailure

_TRANSIENT = (
    exceptions.ServiceUnavailable,
    exceptions.DeadlineExceeded,
    exceptions.ResourceExhausted,
    exceptions.Aborted,
    exceptions.InternalServerError,
    exceptions.Unknown,
    exceptions.Cancelled,
    exceptions.RetryError,
)


def read_retry(timeout_s: float) -> Retry:
    """The retry that every `execute_sql` must be given.

    Without one the client (3.71) starts again on UNAVAILABLE in a loop that has neither pause nor end, whatever
    `timeout` says: measured, a query against a stopped emulator was still spinning after 8 s with `timeout=2`.
    """
    return Retry(
        predicate=if_exception_type(exceptions.ServiceUnavailable),
        initial=0.1,
        maximum=1.0,
        timeout=timeout_s,
    )


def is_transient(error: Exception) -> bool:
    """Whether the same call may succeed later, and whether it may already have happened."""
    return isinstance(error, _TRANSIENT)


def explain(error: Exception, *, doing: str) -> PipelineError:
    """What an operator should read and do when Spanner refused `doing`. For the command line: it quotes Spanner."""
    said = _first_line(error)
    if isinstance(error, GoogleAuthError | exceptions.Unauthenticated):
        return ConfigurationError(
            "spanner_no_credentials",
            f"{doing}: no valid Google credentials ({said})",
            fix="run `gcloud auth application-default login`, or set SPANNER_EMULATOR_HOST for the emulator",
        )
    if isinstance(error, exceptions.PermissionDenied):
        return ConfigurationError(
            "spanner_forbidden",
            f"{doing}: Spanner refused permission ({said})",
            fix="grant roles/spanner.databaseAdmin for migrations, roles/spanner.databaseUser for anything else",
        )
    if isinstance(error, exceptions.NotFound) and said.startswith(("Database not found", "Instance not found")):
        return ConfigurationError(
            "spanner_database_missing",
            f"{doing}: {said}",
            fix="check PIPELINE_SPANNER_INSTANCE and PIPELINE_SPANNER_DATABASE, or create it with Terraform",
        )
    if is_transient(error):
        return TransientFailure(
            "spanner_unavailable",
            f"{doing}: Spanner gave no answer or asked to wait ({said})",
            fix="run the command again; it continues where it stopped",
        )
    return ConfigurationError("spanner_refused", f"{doing}: {said}")


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Google's errors inside the block come out as ours, saying what was being done."""
    try:
        yield
    except (exceptions.GoogleAPIError, GoogleAuthError) as error:
        raise explain(error, doing=doing) from error


def _first_line(error: Exception) -> str:
    message = error.message if isinstance(error, exceptions.GoogleAPICallError) else str(error)
    lines = message.splitlines()
    return lines[0] if lines else type(error).__name__
