"""Logging: one JSON object a line, as Cloud Logging reads it; the standard library's loggers go the same way."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sys
from typing import Any

import structlog

from shared.log_hygiene import keep_personal_data_out

_NOISY = ("urllib3", "httpx", "httpcore", "google", "werkzeug", "grpc", "opentelemetry")
_TRACEPARENT = re.compile(r"^[0-9a-f]{2}-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})$")
_ENCODER = json.JSONEncoder(default=repr)


def configure_logging(*, service: str, project_id: str, level: str, version: str = "") -> None:
    """Set up structlog and the root logger; called once at start-up. `version` is for Error Reporting."""
    shared_steps: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
        _severity,
        _with_trace(project_id),
        _constant("service", service),
        # Not dict_tracebacks: its default writes every frame's local variables into the log.
        structlog.processors.format_exc_info,
        _for_error_reporting(service=service, version=version),
        keep_personal_data_out,
        _labels,  # ids only, which need no cleaning
    ]
    rendering: list[structlog.typing.Processor] = [structlog.processors.EventRenamer("message"), _as_json]
    structlog.configure(
        processors=[*shared_steps, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        # Not by way of the standard library, where a line costs twice as much.
        logger_factory=lambda *_: _StandardOutput(),
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared_steps,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(formatter)
    logging.root.handlers = [handler]
    logging.root.setLevel(level)
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)


class _StandardOutput:
    """Writes each line with one system call and no lock of ours.

    A lock around a write is taken by threads that hold the interpreter's lock and wait for the one that waits for it:
    with 80 threads, that convoy halved the receiver's throughput (docs/operations/bench.md).
    """

    def msg(self, line: str) -> None:
        rest = f"{line}\n".encode()
        with contextlib.suppress(OSError):  # nobody reads any more: no reason to fail a request
            while rest:
                rest = rest[os.write(1, rest) :]

    debug = info = warning = error = critical = exception = msg


def _as_json(_logger: Any, _method: str, event: structlog.typing.EventDict) -> str:
    return _ENCODER.encode(event)


def _severity(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    event["severity"] = str(event.pop("level", "info")).upper()
    return event


def _constant(name: str, value: str) -> structlog.typing.Processor:
    def add(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event.setdefault(name, value)
        return event

    return add


_LABELS = ("service", "stage", "tenant_id")
"""What one filters by. A call's and a request's ids are fields of the line: a label would say them twice."""


def _labels(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    event["logging.googleapis.com/labels"] = {name: event[name] for name in _LABELS if event.get(name)}
    return event


def _for_error_reporting(*, service: str, version: str) -> structlog.typing.Processor:
    """Have Error Reporting take up lines with a traceback, which it groups by; our own classified errors are none."""

    def add(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        if "exception" in event and event["severity"] in {"ERROR", "CRITICAL"}:
            event["@type"] = "type.googleapis.com/google.devtools.clouderrorreporting.v1beta1.ReportedErrorEvent"
            event["serviceContext"] = {"service": service, "version": version}
        return event

    return add


def _with_trace(project_id: str) -> structlog.typing.Processor:
    """Turn a bound `traceparent` into the fields that link a line to its trace in Cloud Logging."""

    def add(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        match = _TRACEPARENT.match(str(event.pop("traceparent", "")))
        if match:
            event["logging.googleapis.com/trace"] = f"projects/{project_id}/traces/{match['trace']}"
            event["logging.googleapis.com/spanId"] = match["span"]
            event["logging.googleapis.com/trace_sampled"] = bool(int(match["flags"], 16) & 1)
        return event

    return add
