"""One trace from the webhook to the CRM, through every process of the local stack."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from shared.gateways.span_files import SpanFiles
from shared.trace_tree import SeenSpan
from shared.traces import trace_of_request
from tests.e2e.calls import PostedCall, accepted, missed_call, sample, sample_payload
from tests.e2e.command_line import pipeline
from tests.support.stack import LocalStack, wait_for

pytestmark = pytest.mark.emulators

IN_ORDER = ["webhook", "download", "transcribe", "transcribe", "analyze", "crm_sync"]
ASKED = {
    "callrail open_recording": "download",
    "speech submit": "transcribe",
    "vertex generate": "analyze",
    "hubspot sync_call": "crm_sync",
    "salesforce sync_call": "crm_sync",
}
CALLER, NUMBER = "Marjorie Quillfeather", "+13035550177"


@pytest.fixture
def stack(local_stack: LocalStack) -> Iterator[LocalStack]:
    """Whatever HubSpot's stand-in was told ends with the test."""
    yield local_stack
    local_stack.heal("hubspot")


def spans_of(stack: LocalStack, call: PostedCall) -> list[SeenSpan]:
    trace = trace_of_request(stack.tenant_id, call.request_id)
    return SpanFiles(stack.telemetry_dir).spans_of(f"{trace.trace_id:032x}")


def finished(stack: LocalStack, call: PostedCall) -> list[SeenSpan]:
    """The call's spans, once its last stage has said that it is done."""
    assert stack.end_of(call.request_id, call_id=call.call_id) == "done"
    return wait_for(
        lambda: spans_of(stack, call),
        lambda spans: any(one.name == "crm_sync" and one.attributes.get("outcome") == "done" for one in spans),
        what="the last stage's span",
    )


def test_a_call_with_audio_is_one_trace_through_every_process(stack: LocalStack) -> None:
    """Speech's notification names no trace, and the collecting half of the stage is in it all the same."""
    call = accepted(stack, sample_payload(stack, sample("wrong-number")) | {"customer_name": CALLER})
    spans = finished(stack, call)
    by_id = {span.span_id: span for span in spans}
    (root,) = [span for span in spans if span.name == "request"]
    top = sorted((span for span in spans if span.parent_id == root.span_id), key=lambda span: span.begun)

    assert [span.name for span in top] == IN_ORDER
    assert [span.service for span in top] == IN_ORDER
    assert {span.name: by_id[span.parent_id].name for span in spans if span.name in ASKED} == ASKED
    assert [span.name for span in spans if span is not root and span.parent_id not in by_id] == []
    assert all(span.begun <= span.ended for span in spans)


def test_attempts_that_failed_stand_in_the_same_trace(stack: LocalStack) -> None:
    stack.tell("hubspot", "faults", [{"kind": "status", "status": 503, "times": 6}])
    call = accepted(stack, missed_call(number="+13035550178"))
    attempts = [span for span in finished(stack, call) if span.name == "crm_sync" and "outcome" in span.attributes]

    assert len(attempts) > 1
    assert sorted(span.attributes["attempt"] for span in attempts) == [str(n + 1) for n in range(len(attempts))]
    assert {span.error for span in attempts if span.attributes["outcome"] == "retrying"} == {"hubspot_503"}


def test_the_command_prints_a_calls_tree(stack: LocalStack) -> None:
    call = accepted(stack, missed_call(number="+13035550179"))
    finished(stack, call)
    shown = pipeline("trace", call.call_id)
    document = pipeline("trace", call.request_id, "--json").document()

    assert shown.status == 0, shown.err
    lines = shown.out.splitlines()
    assert lines[0] == f"call {call.call_id} of tenant {stack.tenant_id}"
    order = [
        line.split()[1] for line in lines if line.endswith(("204", "origin webhook", "published True, kind post_call"))
    ]
    assert order == ["request", "webhook", "download", "crm_sync"]
    assert {span["name"] for span in document["requests"][call.request_id]} >= {"webhook", "download", "crm_sync"}


def test_a_call_that_nobody_knows_is_said_to_be_unknown(stack: LocalStack) -> None:
    ran = pipeline("trace", "CALnobodyknows")

    assert ran.status == 1
    assert "nobody has a call" in ran.err


def test_nothing_of_a_caller_is_in_spans_or_metrics(stack: LocalStack) -> None:
    call = accepted(stack, missed_call(number=NUMBER) | {"customer_name": CALLER, "note": f"{CALLER} {NUMBER}"})
    finished(stack, call)
    files = sorted(stack.telemetry_dir.glob("*.jsonl"))
    written = "\n".join(path.read_text(encoding="utf-8") for path in files)
    marks = ("Marjorie", "Quillfeather", NUMBER, NUMBER[2:], "EXAMPLE CALLER", "agent@example.com")

    assert call.request_id in written
    assert [mark for mark in marks if mark in written] == []


def test_a_log_line_leads_to_its_span(stack: LocalStack) -> None:
    call = accepted(stack, missed_call(number="+13035550176"))
    spans = {span.span_id: span.name for span in finished(stack, call)}
    lines = [json.loads(line) for line in stack.log_lines().splitlines() if call.request_id in line and line[0] == "{"]
    led_to = {
        line["message"]: spans.get(line["logging.googleapis.com/spanId"])
        for line in lines
        if line["message"] in {"webhook_accepted", "stage_done"}
    }

    assert led_to["webhook_accepted"] == "webhook"
    assert led_to["stage_done"] in {"download", "crm_sync"}
