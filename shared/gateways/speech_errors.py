"""Speech's gRPC errors in our words, and whether a submission may have been accepted in spite of one."""

from __future__ import annotations

import re

from google.api_core.exceptions import GoogleAPICallError

from shared.errors import OutOfCapacity, PermanentFailure, PipelineError, TransientFailure

_TRANSIENT = {
    "RESOURCE_EXHAUSTED": "speech_throttled",
    "UNAVAILABLE": "speech_unavailable",
    "DEADLINE_EXCEEDED": "speech_timeout",
    "INTERNAL": "speech_internal_error",
    "UNKNOWN": "speech_internal_error",
    "ABORTED": "speech_internal_error",
    "CANCELLED": "speech_internal_error",
    "DATA_LOSS": "speech_internal_error",
}
_FORBIDDEN = frozenset({"PERMISSION_DENIED", "UNAUTHENTICATED"})
_FORBIDDEN_FIX = (
    "grant the worker roles/speech.client, and Speech's service agent read on recordings/ and create on transcripts/; "
    "then replay"
)
_NEVER_ACCEPTED = frozenset({"RESOURCE_EXHAUSTED"})
"""Quota is checked before any work is taken on."""
_NO_CONNECTION = re.compile(r"failed to connect to all addresses|errors resolving|name resolution", re.IGNORECASE)
"""gRPC core's words for an UNAVAILABLE of which not one byte of the request left this machine."""
_VENDOR_TEXT_LIMIT = 300


def code_of(error: GoogleAPICallError) -> str:
    """The gRPC code's name, `UNKNOWN` when the error has none."""
    code = error.grpc_status_code
    return str(code.name) if code is not None else "UNKNOWN"


def in_our_words(code: str, message: str, *, tried: str, retry_after_s: float | None = None) -> PipelineError:
    """The error of `shared.errors` for a gRPC code.

    A missing permission is the deployment's fault, not the tenant's: it is final, says how to mend it, and a replay
    completes the call.
    """
    detail = f"{tried}: {code} {shortened(message)}".rstrip()
    if code in _TRANSIENT:
        kind = OutOfCapacity if code == "RESOURCE_EXHAUSTED" else TransientFailure
        return kind(_TRANSIENT[code], detail, retry_after_s=retry_after_s)
    if code in _FORBIDDEN:
        return PermanentFailure("speech_forbidden", detail, fix=_FORBIDDEN_FIX)
    if code == "NOT_FOUND":
        return PermanentFailure("speech_not_found", detail)
    return PermanentFailure("speech_refused", detail)


def translated(error: GoogleAPICallError, *, tried: str) -> PipelineError:
    """The same for an exception of the client library; keeps the service's own retry hint."""
    return in_our_words(code_of(error), error.message or "", tried=tried, retry_after_s=_retry_hint_s(error))


def may_have_been_accepted(error: GoogleAPICallError) -> bool:
    """Whether a BatchRecognize that ended like this may be running, and be billed, all the same.

    Refusals say no. So do a quota error and a connection that was never made. A time-out, a broken connection or an
    internal error leave it open.
    """
    code = code_of(error)
    if code not in _TRANSIENT or code in _NEVER_ACCEPTED:
        return False
    return not (code == "UNAVAILABLE" and _NO_CONNECTION.search(error.message or ""))


def shortened(message: str) -> str:
    """A vendor's text in one line, short enough for a log."""
    return " ".join(message.split())[:_VENDOR_TEXT_LIMIT]


def _retry_hint_s(error: GoogleAPICallError) -> float | None:
    """google.rpc.RetryInfo, when it came along."""
    for detail in error.details or ():
        delay = getattr(detail, "retry_delay", None)
        if delay is not None:
            return float(delay.ToTimedelta().total_seconds())
    return None
