"""The Speech gateway against the stand-in: errors of submissions, operations and outputs, each with what to do."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from google.api_core.exceptions import (
    DeadlineExceeded,
    GoogleAPICallError,
    PermissionDenied,
    ResourceExhausted,
    ServiceUnavailable,
)

from infra.local.standins.faults import FaultRule
from infra.local.standins.speech import RunningSpeech
from infra.local.standins.speech_sidecar import RegisteredSidecars, Sidecar
from infra.local.standins.speech_storage import AudioStorage
from shared.errors import ConfigurationError, PermanentFailure, PipelineError, TransientFailure
from shared.gateways.speech import SpeechV2Recognizer, endpoint, speech_recognizer
from shared.gateways.speech_errors import may_have_been_accepted
from shared.ports import SpeechJob
from tests.contract.speech.calls import BUCKET
from tests.contract.speech.jobs import CONVERSATION, job_for, only_operation


@pytest.fixture(scope="module")
def location() -> str:
    return "us"


# --- errors of a submission ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grpc_code", "code"),
    [
        ("UNAVAILABLE", "speech_submit_unanswered"),
        ("DEADLINE_EXCEEDED", "speech_submit_unanswered"),
        ("INTERNAL", "speech_submit_unanswered"),
        ("PERMISSION_DENIED", "speech_forbidden"),
        ("UNAUTHENTICATED", "speech_forbidden"),
        ("NOT_FOUND", "speech_not_found"),
        ("INVALID_ARGUMENT", "speech_refused"),
        ("FAILED_PRECONDITION", "speech_refused"),
    ],
)
def test_failed_submission_says_what_to_do(
    standin: RunningSpeech, storage: AudioStorage, gateway: SpeechV2Recognizer, grpc_code: str, code: str
) -> None:
    standin.plan.add(FaultRule(operation="batch_recognize", kind="status", grpc_code=grpc_code))

    with pytest.raises(PipelineError) as failure:
        gateway.submit(job_for(storage, CONVERSATION))

    assert failure.value.code == code
    expected = TransientFailure if code == "speech_submit_unanswered" else PermanentFailure
    assert isinstance(failure.value, expected)
    assert standin.book.state()["operations"] == [], "nothing was repeated after an answer that leaves it open"


def test_throttled_submission_is_repeated_and_runs_once(
    standin: RunningSpeech, storage: AudioStorage, gateway: SpeechV2Recognizer
) -> None:
    standin.plan.add(FaultRule(operation="batch_recognize", kind="status", grpc_code="RESOURCE_EXHAUSTED", times=2))
    job = job_for(storage, CONVERSATION)
    gateway.submit(job)
    assert standin.book.state()["started"] == {job.audio_uri: 1}


def test_vendors_own_delay_is_passed_on(
    standin: RunningSpeech, storage: AudioStorage, gateway: SpeechV2Recognizer
) -> None:
    rule = FaultRule(
        operation="batch_recognize", kind="status", grpc_code="RESOURCE_EXHAUSTED", body={"retry_delay_s": 90}
    )
    standin.plan.add(rule)
    with pytest.raises(TransientFailure) as failure:
        gateway.submit(job_for(storage, CONVERSATION))
    assert failure.value.code == "speech_throttled"
    assert failure.value.retry_after_s == 90


def test_operation_whose_name_was_lost_is_found_and_not_paid_for_twice(
    standin: RunningSpeech, storage: AudioStorage, gateway: SpeechV2Recognizer
) -> None:
    standin.plan.add(
        FaultRule(operation="recognition", kind="stall", delay_s=1.5),  # long enough to be found running
        FaultRule(operation="batch_recognize", kind="drop_after"),
    )
    job = job_for(storage, CONVERSATION)

    name = gateway.submit(job)

    assert name == only_operation(standin)["name"]
    assert standin.book.state()["started"] == {job.audio_uri: 1}
    standin.book.wait_until_done(name)
    assert gateway.operation(name).state == "succeeded"


@pytest.mark.parametrize("second", ["list_operations", "nothing"])
def test_operation_that_cannot_be_found_is_left_to_the_next_attempt(
    standin: RunningSpeech, storage: AudioStorage, gateway: SpeechV2Recognizer, second: str
) -> None:
    standin.plan.add(
        FaultRule(operation="batch_recognize", kind="drop"),
        FaultRule(operation=second, kind="status", grpc_code="PERMISSION_DENIED"),
    )
    with pytest.raises(TransientFailure, match="speech_submit_unanswered"):
        gateway.submit(job_for(storage, CONVERSATION))
    assert standin.book.state()["operations"] == []


def test_answer_without_a_name_is_no_submission(
    standin: RunningSpeech, storage: AudioStorage, gateway: SpeechV2Recognizer
) -> None:
    standin.plan.add(FaultRule(operation="batch_recognize", kind="rubbish"))
    with pytest.raises(TransientFailure, match="without a name"):
        gateway.submit(job_for(storage, CONVERSATION))


def test_unreachable_service_is_transient(storage: AudioStorage) -> None:
    nowhere = speech_recognizer(project_id="local", location="us", dynamic_batch=False, local_address="127.0.0.1:1")
    with pytest.raises(TransientFailure, match="speech_unavailable"):
        nowhere.submit(job_for(storage, CONVERSATION))


@pytest.mark.parametrize(
    ("error", "maybe"),
    [
        (ServiceUnavailable("failed to connect to all addresses; last error: refused"), False),
        (ServiceUnavailable("errors resolving us-speech.googleapis.com:443: Domain name not found"), False),
        (ServiceUnavailable("Socket closed"), True),
        (DeadlineExceeded("Deadline Exceeded"), True),
        (ResourceExhausted("Quota exceeded"), False),
        (PermissionDenied("no"), False),
    ],
)
def test_only_a_request_that_left_this_machine_may_have_been_accepted(error: GoogleAPICallError, maybe: bool) -> None:
    assert may_have_been_accepted(error) is maybe


def test_endpoint_of_another_location_refuses(standin: RunningSpeech, storage: AudioStorage) -> None:
    elsewhere = speech_recognizer(project_id="local", location="eu", dynamic_batch=False, local_address=standin.address)
    with pytest.raises(PermanentFailure, match="Expected resource location"):
        elsewhere.submit(job_for(storage, CONVERSATION))


# --- operations ---------------------------------------------------------------------------------


def test_operation_runs_until_it_is_done(
    standin: RunningSpeech, storage: AudioStorage, gateway: SpeechV2Recognizer
) -> None:
    standin.plan.add(FaultRule(operation="recognition", kind="stall", delay_s=1.5))
    name = gateway.submit(job_for(storage, CONVERSATION))
    assert gateway.operation(name).state == "running"
    standin.book.wait_until_done(name)
    assert gateway.operation(name).state == "succeeded"


def test_unknown_operation_is_a_final_no(standin: RunningSpeech, gateway: SpeechV2Recognizer) -> None:
    assert standin.book.state()["operations"] == []
    with pytest.raises(PermanentFailure, match="speech_operation_unknown"):
        gateway.operation("projects/local/locations/us/operations/forgotten")


@pytest.mark.parametrize("operation", ["recognition", "output"])
def test_failures_of_operation_and_file_read_alike(
    standin: RunningSpeech, storage: AudioStorage, gateway: SpeechV2Recognizer, operation: str
) -> None:
    standin.plan.add(FaultRule(operation=operation, kind="status", grpc_code="PERMISSION_DENIED"))
    name = gateway.submit(job_for(storage, CONVERSATION))
    standin.book.wait_until_done(name)

    outcome = gateway.operation(name)

    assert outcome.state == "failed"
    assert outcome.error.startswith("PERMISSION_DENIED: ")


def test_missing_recording_is_a_files_error(
    standin: RunningSpeech, storage: AudioStorage, gateway: SpeechV2Recognizer
) -> None:
    job = job_for(storage, CONVERSATION)
    name = gateway.submit(replace(job, audio_uri=f"gs://{BUCKET}/recordings/never-stored.mp3"))
    standin.book.wait_until_done(name)
    assert gateway.operation(name).error.startswith("NOT_FOUND: ")


@pytest.mark.parametrize("kind", ["status", "drop", "rubbish"])
def test_polling_outlives_a_hiccup(
    standin: RunningSpeech, storage: AudioStorage, gateway: SpeechV2Recognizer, kind: Any
) -> None:
    name = gateway.submit(job_for(storage, CONVERSATION))
    standin.book.wait_until_done(name)
    standin.plan.add(FaultRule(operation="get_operation", kind=kind, grpc_code="UNAVAILABLE", times=2))
    assert gateway.operation(name).state == "succeeded"


def test_polling_without_permission_says_how_to_mend_it(
    standin: RunningSpeech, storage: AudioStorage, gateway: SpeechV2Recognizer
) -> None:
    name = gateway.submit(job_for(storage, CONVERSATION))
    standin.plan.add(FaultRule(operation="get_operation", kind="status", grpc_code="PERMISSION_DENIED"))
    with pytest.raises(PermanentFailure) as failure:
        gateway.operation(name)
    assert "roles/speech.client" in failure.value.fix


# --- output that is not Speech's ----------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00\xff not text",
        b"SECRET WORDS",
        b"[]",
        b'{"error": "SECRET WORDS"}',
        b'{"results": {"SECRET": "WORDS"}}',
        b'{"results": [{"alternatives": [{"transcript": 7}]}]}',
        b'{"results": [{"resultEndOffset": "SECRET WORDS"}]}',
    ],
)
def test_rubbish_output_is_refused_without_quoting_it(gateway: SpeechV2Recognizer, data: bytes) -> None:
    job = SpeechJob("gs://b/a", "gs://b/t/", 2, 6.0, ("en-US",), "chirp_3", 1)
    with pytest.raises(PermanentFailure) as failure:
        gateway.parse_output(data, job)
    assert failure.value.code == "speech_output_unreadable"
    assert "SECRET" not in str(failure.value)
    assert "SECRET" not in repr(failure.value.__context__) or failure.value.__suppress_context__


# --- start-up -----------------------------------------------------------------------------------


def test_importing_the_gateway_does_not_load_googles_client() -> None:
    program = "import sys, shared.gateways.speech; sys.exit(any('cloud.speech' in name for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0


def test_only_loopback_may_stand_in_for_google() -> None:
    with pytest.raises(ConfigurationError):
        speech_recognizer(project_id="p", location="us", dynamic_batch=False, local_address="speech.example.com:443")


@pytest.mark.parametrize(
    ("location", "host"),
    [
        ("us", "us-speech.googleapis.com"),
        ("europe-west4", "europe-west4-speech.googleapis.com"),
        ("global", "speech.googleapis.com"),
    ],
)
def test_every_location_has_its_own_endpoint(location: str, host: str) -> None:
    assert endpoint(location) == host


def test_registered_sidecars_are_found_by_pattern_latest_first() -> None:
    known = RegisteredSidecars()
    known.add("gs://audio/*", Sidecar(duration_s=1))
    known.add("gs://audio/recordings/acme/*", Sidecar(duration_s=2))
    found = [known.find(uri) for uri in ("gs://audio/recordings/acme/1.mp3", "gs://audio/x", "gs://other/x")]
    assert [one.duration_s if one else None for one in found] == [2, 1, None]
