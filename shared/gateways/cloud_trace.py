"""Reads one trace from Cloud Trace (v1 REST, `projects.traces.get`): no client library is worth one GET."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import requests

from shared.errors import ConfigurationError, TransientFailure
from shared.trace_tree import SeenSpan

ADDRESS = "https://cloudtrace.googleapis.com"
_TIMEOUT_S = 10.0
_STATUS_LABELS = ("otel.status_description", "/error/message", "error")
"""Where a span's error may stand, by the way it came in."""


class CloudTrace:
    """One project's traces. `session` carries the caller's credentials."""

    def __init__(self, project_id: str, session: requests.Session, *, address: str = ADDRESS) -> None:
        self._project_id = project_id
        self._session = session
        self._address = address

    def spans_of(self, trace_id: str) -> list[SeenSpan]:
        """Every span that is stored of a trace; none when there is no such trace.

        Raises `ConfigurationError` when the caller may not look, `TransientFailure` when Cloud Trace does not answer.
        """
        try:
            answer = self._session.get(
                f"{self._address}/v1/projects/{self._project_id}/traces/{trace_id}", timeout=_TIMEOUT_S
            )
        except requests.RequestException as error:
            raise TransientFailure("cloud_trace_unreachable", f"trace {trace_id}: no answer") from error
        if answer.status_code == 404:
            return []
        if answer.status_code in {401, 403}:
            raise ConfigurationError(
                "cloud_trace_forbidden",
                f"Cloud Trace refused the caller (status {answer.status_code})",
                fix="ask for roles/cloudtrace.user on the project",
            )
        if answer.status_code != 200:
            raise TransientFailure("cloud_trace_unavailable", f"trace {trace_id}: status {answer.status_code}")
        return [_span_of(trace_id, span) for span in answer.json().get("spans", [])]


def google_session() -> requests.Session:
    """With the credentials of whoever runs the command. Raises `ConfigurationError` without any."""
    import google.auth
    from google.auth.exceptions import GoogleAuthError
    from google.auth.transport.requests import AuthorizedSession

    try:
        credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    except GoogleAuthError as error:
        raise ConfigurationError(
            "no_telemetry_credentials",
            "no credentials of Google to ask Cloud Trace with",
            fix="gcloud auth application-default login",
        ) from error
    return AuthorizedSession(credentials)


def _span_of(trace_id: str, span: dict[str, Any]) -> SeenSpan:
    """v1 writes span ids as decimal numbers, and an absent parent as none or 0."""
    labels = {str(name): str(value) for name, value in span.get("labels", {}).items()}
    return SeenSpan(
        trace_id=trace_id,
        span_id=f"{int(span['spanId']):016x}",
        parent_id=f"{parent:016x}" if (parent := int(span.get("parentSpanId", 0))) else "",
        name=span.get("name", ""),
        service=labels.get("service.name", labels.get("g.co/r/cloud_run_revision/service_name", "")),
        begun=datetime.fromisoformat(span["startTime"]),
        ended=datetime.fromisoformat(span["endTime"]),
        attributes=labels,
        error=next((labels[name] for name in _STATUS_LABELS if labels.get(name)), ""),
    )
