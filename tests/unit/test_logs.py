"""A line as Cloud Logging and Error Reporting read it."""

from __future__ import annotations

import json
from typing import Any

import pytest
import structlog

from shared.logs import configure_logging
from shared.traces import trace_of_request

TRACE = trace_of_request("acme-plumbing", "r-0123456789abcdef")


@pytest.fixture
def log() -> Any:
    configure_logging(service="analyze", project_id="my-project", level="INFO", version="analyze-00042")
    structlog.configure(cache_logger_on_first_use=False)
    return structlog.get_logger()


def line_of(capfd: pytest.CaptureFixture[str]) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(capfd.readouterr().out)
    return document


def test_a_line_leads_to_its_trace_and_carries_labels(log: Any, capfd: pytest.CaptureFixture[str]) -> None:
    ids = {"tenant_id": "acme-plumbing", "stage": "analyze", "request_id": "r-0123456789abcdef", "call_id": "CAL1"}
    log.warning("stage_stopped", code="vertex_429", traceparent=TRACE.header, **ids)
    line = line_of(capfd)

    assert (line["severity"], line["message"], line["code"]) == ("WARNING", "stage_stopped", "vertex_429")
    assert line["logging.googleapis.com/trace"] == f"projects/my-project/traces/{TRACE.trace_id:032x}"
    assert line["logging.googleapis.com/spanId"] == f"{TRACE.span_id:016x}"
    assert line["logging.googleapis.com/trace_sampled"] is True
    assert line["logging.googleapis.com/labels"] == {
        "service": "analyze",
        "stage": "analyze",
        "tenant_id": "acme-plumbing",
    }
    assert "@type" not in line


def test_a_line_without_a_trace_names_none(log: Any, capfd: pytest.CaptureFixture[str]) -> None:
    log.info("swept", traceparent="rubbish")

    assert [name for name in line_of(capfd) if "trace" in name] == []


def test_a_traceback_is_an_event_of_error_reporting(log: Any, capfd: pytest.CaptureFixture[str]) -> None:
    said = "303 555 0142 called"
    try:
        raise ValueError(said)
    except ValueError as error:
        log.error("stage_failed_unexpectedly", digest="abc", exc_info=error)
    line = line_of(capfd)

    assert line["@type"].endswith("ReportedErrorEvent")
    assert line["serviceContext"] == {"service": "analyze", "version": "analyze-00042"}
    assert "Traceback" in line["exception"]
    assert "555" not in line["exception"]


def test_an_error_of_our_own_classes_is_none(log: Any, capfd: pytest.CaptureFixture[str]) -> None:
    log.error("dead_letter", reason="event_not_json")

    assert "@type" not in line_of(capfd)
