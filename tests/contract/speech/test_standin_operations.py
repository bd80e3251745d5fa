"""The Speech stand-in's operations, and the faults it can be told to have."""

from __future__ import annotations

from urllib.parse import quote

import httpx
import pytest
from google.api_core.exceptions import NotFound, ServiceUnavailable
from google.cloud.speech_v2 import SpeechClient
from google.rpc.code_pb2 import Code

from infra.local.chaos.evidence import recognitions_of
from infra.local.standins.faults import FaultRule
from infra.local.standins.speech import RunningSpeech
from infra.local.standins.speech_storage import AudioStorage
from tests.contract.speech.calls import (
    BUCKET,
    document,
    readable,
    recognise,
    request_for,
)

# --- operations and faults ----------------------------------------------------------------------


def test_unknown_operation_is_not_found(standin: RunningSpeech, client: SpeechClient) -> None:
    assert standin.book.state()["operations"] == []
    with pytest.raises(NotFound):
        client.get_operation({"name": "projects/local/locations/us/operations/none"}, timeout=10)


def test_operations_are_listed_by_location_page_by_page(
    standin: RunningSpeech, client: SpeechClient, call_audio: str
) -> None:
    names = [client.batch_recognize(request=request_for(call_audio), timeout=10).operation.name for _ in range(3)]
    parent = "projects/local/locations/us"

    first = client.list_operations({"name": parent, "page_size": 2}, timeout=10)
    second = client.list_operations({"name": parent, "page_size": 2, "page_token": first.next_page_token}, timeout=10)

    assert [one.name for one in [*first.operations, *second.operations]] == names[::-1]
    assert second.next_page_token == ""
    assert not client.list_operations({"name": "projects/local/locations/eu"}, timeout=10).operations


def test_dropped_answer_leaves_the_operation_running(
    standin: RunningSpeech, client: SpeechClient, call_audio: str
) -> None:
    standin.plan.add(FaultRule(operation="batch_recognize", kind="drop_after"))

    with pytest.raises(ServiceUnavailable):
        client.batch_recognize(request=request_for(call_audio), timeout=10, retry=None)

    assert standin.book.state()["started"] == {call_audio: 1}


def test_lost_output_is_reported_as_success(
    standin: RunningSpeech, client: SpeechClient, storage: AudioStorage, call_audio: str
) -> None:
    standin.plan.add(FaultRule(operation="output", kind="drop"))

    response = recognise(standin, client, request_for(call_audio))

    uri = response.results[call_audio].cloud_storage_result.uri
    assert uri
    assert not storage.exists(uri)
    assert readable(standin) == []


@pytest.mark.parametrize("rule", [None, FaultRule(operation="output", kind="drop_after")])
def test_a_transcript_that_was_written_is_remembered_whatever_the_operation_says(
    standin: RunningSpeech, client: SpeechClient, storage: AudioStorage, call_audio: str, rule: FaultRule | None
) -> None:
    """Whoever repeats it pays for what lay there, and the pipeline removes it once it has it."""
    if rule is not None:
        standin.plan.add(rule)

    recognise(standin, client, request_for(call_audio))

    (uri,) = readable(standin)
    assert storage.exists(uri)


def test_the_chaos_audit_sees_audio_that_was_paid_for_twice_although_its_outputs_are_gone(
    standin: RunningSpeech, client: SpeechClient, storage_url: str, call_audio: str
) -> None:
    """The pipeline removes Speech's output once it has it: an audit that looked for the objects saw nothing, ever."""
    standin.plan.add(FaultRule(operation="output", kind="drop"))
    for _ in range(3):
        recognise(standin, client, request_for(call_audio))
    for uri in readable(standin):
        name = quote(uri.removeprefix(f"gs://{BUCKET}/"), safe="")
        httpx.delete(f"{storage_url}/storage/v1/b/{BUCKET}/o/{name}", trust_env=False).raise_for_status()

    found = recognitions_of(standin.book.state())

    assert sorted(one.usable for one in found) == [False, True, True]
    assert {one.call_id for one in found} == {call_audio.rpartition("/")[2].partition(".")[0]}


def test_rubbish_output_is_written_as_asked(
    standin: RunningSpeech, client: SpeechClient, storage: AudioStorage, call_audio: str
) -> None:
    standin.plan.add(FaultRule(operation="output", kind="rubbish", body={"results": "many"}))
    assert document(storage, recognise(standin, client, request_for(call_audio))) == {"results": "many"}
    assert readable(standin) == []


def test_whole_operation_can_fail(standin: RunningSpeech, client: SpeechClient, call_audio: str) -> None:
    standin.plan.add(FaultRule(operation="recognition", kind="status", grpc_code="INTERNAL"))
    name = client.batch_recognize(request=request_for(call_audio), timeout=10).operation.name
    assert standin.book.wait_until_done(name).error.code == Code.INTERNAL
