"""The transcribe stage on real parts: Google's clients, Cloud Storage's emulator and the Speech stand-in.

The runner is played by hand: `Waiting` hands over the checkpoint, the next attempt gets it back.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from infra.local import gcs
from infra.local.recordings.catalogue import load_catalogue
from infra.local.standins.faults import FaultRule
from infra.local.standins.speech import RunningSpeech, serve_speech
from schemas.calls import CallDetails, CallRecord, RecordingFacts
from schemas.events import CallTranscribed, Event, RecordingStored, TranscriptionOutput
from schemas.tenant import Tenant, TenantConfig
from shared.errors import InvalidEvent, NotReady, PermanentFailure, TransientFailure, Waiting
from shared.gateways.objects import GcsObjectStore
from shared.gateways.speech import SpeechV2Recognizer, speech_recognizer
from shared.names import recording_object, transcript_prefix
from shared.stage import Completed, StageContext
from stages.transcribe.stage import TranscribeDeps, collect, submit

BUCKET = "audio"
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
CONVERSATION = {
    "turns": [
        {"channel": 1, "start_s": 0, "end_s": 2, "text": "How can I help?"},
        {"channel": 2, "start_s": 2.5, "end_s": 4, "text": "My sink leaks."},
    ]
}


@dataclass
class KnownCalls:
    """`CallReader` over a few calls."""

    calls: dict[tuple[str, str], CallRecord] = field(default_factory=dict)

    def get(self, tenant_id: str, call_id: str) -> CallRecord | None:
        return self.calls.get((tenant_id, call_id))


@dataclass
class Run:
    """One run of the stage: what the runner keeps in its row, and the parts the stage works with."""

    deps: TranscribeDeps
    standin: RunningSpeech
    tenant: Tenant
    call_id: str
    request_id: str
    checkpoint: Mapping[str, Any] = field(default_factory=dict)
    attempt: int = 1
    now: datetime = NOW

    def submit(self) -> Completed:
        return self._attempt(
            RecordingStored(tenant_id=self.tenant.tenant_id, request_id=self.request_id, call_id=self.call_id)
        )

    def collect(self, object_name: str) -> Completed:
        return self._attempt(
            TranscriptionOutput(tenant_id=self.tenant.tenant_id, request_id=self.request_id, object_name=object_name)
        )

    def wait(self, *, after: str = "") -> Waiting:
        """Run submit (or collect, after an object) to `Waiting` and keep its checkpoint, as the runner does."""
        with pytest.raises(Waiting) as waiting:
            self.collect(after) if after else self.submit()
        self.checkpoint = waiting.value.checkpoint
        return waiting.value

    def output(self) -> str:
        """The name of the object that the newest operation wrote."""
        self.standin.book.wait_until_done(self.checkpoint["operation"])
        operation = next(
            one for one in self.standin.book.state()["operations"] if one["name"] == self.checkpoint["operation"]
        )
        (uri,) = operation["output_uris"]
        return str(uri).removeprefix(f"gs://{BUCKET}/")

    def times_paid(self) -> int:
        return sum(self.standin.book.state()["started"].values())

    def _attempt(self, event: Event | TranscriptionOutput) -> Completed:
        context = StageContext(
            tenant=self.tenant,
            request_id=self.request_id,
            call_id=self.call_id,
            event=event,
            attempt=self.attempt,
            checkpoint=self.checkpoint,
            save_checkpoint=self._save,
            now=lambda: self.now,
        )
        function = collect if isinstance(event, TranscriptionOutput) else submit
        return function(context, self.deps)

    def _save(self, checkpoint: Mapping[str, Any], /, *, call_as_of: datetime | None = None) -> None:
        del call_as_of
        self.checkpoint = json.loads(json.dumps(checkpoint))  # the database keeps JSON


@pytest.fixture(scope="module")
def storage_url() -> Iterator[str]:
    with gcs.serve(bucket=BUCKET) as url:
        yield url


@pytest.fixture(scope="module")
def running(storage_url: str) -> Iterator[RunningSpeech]:
    with serve_speech(storage_url=storage_url) as standin:
        yield standin


@pytest.fixture
def standin(running: RunningSpeech) -> Iterator[RunningSpeech]:
    yield running
    running.book.wait_until_idle()  # or this test's work would meet the next test's faults
    running.plan.clear()
    running.rules.withdrawn.clear()
    running.book.forget()


@pytest.fixture(scope="module")
def objects(storage_url: str) -> GcsObjectStore:
    return GcsObjectStore(BUCKET, project_id="local", endpoint=storage_url)


@pytest.fixture(scope="module")
def speech(running: RunningSpeech) -> SpeechV2Recognizer:
    return speech_recognizer(project_id="local", location="us", dynamic_batch=False, local_address=running.address)


@pytest.fixture
def run(standin: RunningSpeech, objects: GcsObjectStore, speech: SpeechV2Recognizer) -> Run:
    """A stored two-channel recording of a new call, nothing submitted yet."""
    return new_run(standin, objects, speech, audio=b"never decoded", sidecar=CONVERSATION, duration_s=4.0)


def new_run(
    standin: RunningSpeech,
    objects: GcsObjectStore,
    speech: SpeechV2Recognizer,
    *,
    audio: bytes,
    duration_s: float,
    sidecar: dict[str, Any] | None = None,
    channels: int = 2,
) -> Run:
    call_id = f"CAL{uuid4().hex}"
    name = recording_object("acme", call_id, "mp3")
    objects.create(name, iter([audio]), content_type="audio/mpeg")
    if sidecar is not None:
        objects.create(f"{name}.json", iter([json.dumps(sidecar).encode()]), content_type="application/json")
    recording = RecordingFacts(
        object_name=name,
        content_type="audio/mpeg",
        size_bytes=len(audio),
        sha256="0" * 64,
        duration_s=duration_s,
        channels=channels,
    )
    call = CallRecord(tenant_id="acme", details=CallDetails(call_id=call_id), recording=recording)
    deps = TranscribeDeps(
        speech=speech, objects=objects, calls=KnownCalls({("acme", call_id): call}), default_model="chirp_3"
    )
    config = TenantConfig(callrail_company_ids=("COM1",), webhook_secret_names=("acme-webhook",))
    tenant = Tenant(tenant_id="acme", name="Acme", config=config)
    return Run(deps, standin, tenant, call_id, request_id=f"r-{uuid4().hex}")


def put(run: Run, name: str, data: bytes) -> str:
    """An object under the run's prefix that Speech did not write."""
    full = transcript_prefix("acme", run.request_id) + name
    run.deps.objects.create(full, iter([data]), content_type="application/octet-stream")
    return full


def speakers(completed: Completed) -> list[str]:
    assert completed.changes.transcript is not None
    return [turn.speaker for turn in completed.changes.transcript.turns]


# --- the two steps ------------------------------------------------------------------------------


def test_submit_sleeps_with_the_operation_and_collect_finishes(run: Run) -> None:
    waiting = run.wait()
    assert waiting.until == NOW + timedelta(minutes=15, seconds=4)

    completed = run.collect(run.output())

    assert speakers(completed) == ["agent", "caller"]
    assert completed.next_event == CallTranscribed(tenant_id="acme", request_id=run.request_id, call_id=run.call_id)
    assert completed.usage.audio_s == 8.0
    assert completed.usage.model == "chirp_3"
    assert run.times_paid() == 1


def test_checkpoint_is_plain_json(run: Run) -> None:
    run.wait()
    assert json.loads(json.dumps(run.checkpoint)) == run.checkpoint


def test_collect_needs_no_call_record(run: Run) -> None:
    run.wait()
    run.deps = replace(run.deps, calls=KnownCalls())
    assert speakers(run.collect(run.output())) == ["agent", "caller"]


def test_tenants_own_settings_decide_model_language_and_agent(run: Run) -> None:
    config = TenantConfig.model_validate(
        {
            "callrail_company_ids": ["COM1"],
            "webhook_secret_names": ["acme-webhook"],
            "ai_config": {"speech_model": "long", "language_codes": ["en-GB"]},
            "recordings": {"agent_channel": 2},
        }
    )
    run.tenant = run.tenant.model_copy(update={"config": config})
    run.wait()

    completed = run.collect(run.output())

    assert speakers(completed) == ["caller", "agent"]
    assert completed.usage.model == "long"
    assert run.standin.book.state()["operations"][0]["language_codes"] == ["en-GB"]


def test_nobody_spoke_finishes_with_an_empty_transcript(
    standin: RunningSpeech, objects: GcsObjectStore, speech: SpeechV2Recognizer
) -> None:
    silent = new_run(
        standin, objects, speech, audio=b"-", sidecar={"turns": [], "duration_s": 9}, duration_s=9, channels=1
    )
    silent.wait()
    completed = silent.collect(silent.output())
    assert speakers(completed) == []
    assert completed.next_event is not None


def test_call_without_recording_is_a_dead_letter(run: Run) -> None:
    run.deps = replace(run.deps, calls=KnownCalls())
    with pytest.raises(PermanentFailure, match="no_recording"):
        run.submit()


@pytest.mark.speech
def test_real_conversation_arrives_with_its_speakers(
    standin: RunningSpeech, objects: GcsObjectStore, speech: SpeechV2Recognizer
) -> None:
    sample = next(one for one in load_catalogue() if one.script.id == "burst-pipe")
    assert sample.audio_path is not None
    call = new_run(standin, objects, speech, audio=sample.audio_path.read_bytes(), duration_s=28.7)
    call.wait()

    transcript = call.collect(call.output()).changes.transcript

    assert transcript is not None
    assert [turn.speaker for turn in transcript.turns] == ["agent", "caller"] * 3
    said = transcript.text.lower()
    assert [word for word in sample.script.expect.words if word.lower() not in said] == []


# --- notices that are early, late, foreign or no transcript -----------------------------------------


def test_output_that_overtakes_submit_is_put_back(run: Run) -> None:
    with pytest.raises(NotReady):
        run.collect(transcript_prefix("acme", run.request_id) + "call_transcript_1.json")


def test_object_of_another_request_is_refused(run: Run) -> None:
    run.wait()
    with pytest.raises(InvalidEvent):
        run.collect(transcript_prefix("rival", run.request_id) + "call_transcript_1.json")


@pytest.mark.parametrize("name", ["", "captions.vtt"])
def test_object_that_is_no_transcript_changes_nothing(run: Run, name: str) -> None:
    asleep = run.wait()
    again = run.wait(after=transcript_prefix("acme", run.request_id) + name)
    assert again.checkpoint == asleep.checkpoint
    assert again.until == asleep.until


# --- attempts that find a checkpoint ------------------------------------------------------------------


def test_running_operation_is_never_submitted_again(run: Run) -> None:
    run.standin.plan.add(FaultRule(operation="recognition", kind="stall", delay_s=1.0))
    first = run.wait()
    run.now = NOW + timedelta(hours=1)

    again = run.wait()

    assert again.checkpoint == first.checkpoint
    assert again.until == run.now + timedelta(minutes=15, seconds=4)
    assert run.times_paid() == 1


def test_sweeper_finishes_a_run_whose_notice_was_lost(run: Run) -> None:
    run.wait()
    run.output()

    completed = run.submit()

    assert speakers(completed) == ["agent", "caller"]
    assert completed.usage.audio_s == 8.0
    assert run.times_paid() == 1


def test_operation_that_speech_forgot_is_looked_up_in_storage(run: Run) -> None:
    run.wait()
    run.output()
    run.standin.book.forget()
    assert speakers(run.submit()) == ["agent", "caller"]
    assert run.times_paid() == 0


def test_operation_forgotten_without_output_is_submitted_again(run: Run) -> None:
    run.standin.plan.add(FaultRule(operation="output", kind="drop"))
    run.wait()
    run.standin.book.wait_until_done(run.checkpoint["operation"])
    run.standin.book.forget()

    run.wait()

    assert speakers(run.collect(run.output())) == ["agent", "caller"]


def test_operation_that_never_ends_is_replaced_after_two_days(run: Run) -> None:
    run.standin.plan.add(FaultRule(operation="recognition", kind="stall", delay_s=1.0))
    first = run.wait().checkpoint["operation"]
    run.now = NOW + timedelta(hours=49)
    assert run.wait().checkpoint["operation"] != first
    assert run.times_paid() == 2


def test_crash_between_speechs_answer_and_the_commit_uses_the_output_that_came(run: Run) -> None:
    run.wait()
    run.output()
    run.checkpoint, run.attempt = {}, 2  # the commit never happened

    completed = run.submit()

    assert speakers(completed) == ["agent", "caller"]
    assert run.times_paid() == 1


def test_an_operation_still_running_after_a_crash_is_adopted_and_paid_once(run: Run) -> None:
    run.standin.plan.add(FaultRule(operation="recognition", kind="stall", delay_s=1.0))
    first = run.wait().checkpoint["operation"]
    paid = run.times_paid()
    run.checkpoint, run.attempt = {}, 2  # the commit never happened

    assert run.wait().checkpoint["operation"] == first
    assert run.times_paid() == paid
    assert run.collect(run.output()).next_event is not None


def test_a_second_attempt_that_cannot_ask_does_not_pay_again(run: Run) -> None:
    run.standin.plan.add(FaultRule(operation="recognition", kind="stall", delay_s=1.0))
    run.wait()
    paid = run.times_paid()
    run.checkpoint, run.attempt = {}, 2
    run.standin.plan.add(FaultRule(operation="list_operations", kind="status", grpc_code="PERMISSION_DENIED"))

    with pytest.raises(PermanentFailure):
        run.submit()

    assert run.times_paid() == paid


def test_second_attempt_without_output_submits(run: Run) -> None:
    run.standin.plan.add(FaultRule(operation="batch_recognize", kind="status", grpc_code="UNAVAILABLE"))
    with pytest.raises(TransientFailure):
        run.submit()
    run.attempt = 2
    run.wait()
    assert run.times_paid() == 1


# --- work that Speech lost or spoiled -------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        FaultRule(operation="recognition", kind="status", grpc_code="INTERNAL"),
        FaultRule(operation="output", kind="status", grpc_code="UNAVAILABLE"),
        FaultRule(operation="output", kind="drop"),
    ],
    ids=["operation failed", "file failed", "output lost"],
)
def test_lost_work_is_submitted_once_more(run: Run, fault: FaultRule) -> None:
    run.standin.plan.add(fault)
    run.wait()
    run.standin.book.wait_until_done(run.checkpoint["operation"])

    run.wait()

    assert speakers(run.collect(run.output())) == ["agent", "caller"]
    assert run.times_paid() == 2


def test_spoiled_output_is_submitted_once_more_and_its_late_notice_ignored(run: Run) -> None:
    run.standin.plan.add(FaultRule(operation="output", kind="rubbish"))
    run.wait()
    spoiled = run.output()

    resubmitted = run.wait(after=spoiled)
    repeated = run.wait(after=spoiled)

    assert repeated.checkpoint == resubmitted.checkpoint
    assert speakers(run.collect(run.output())) == ["agent", "caller"]
    assert run.times_paid() == 2


def test_output_spoiled_twice_is_a_dead_letter_that_a_replay_completes(run: Run) -> None:
    run.standin.plan.add(FaultRule(operation="output", kind="rubbish", times=2))
    run.wait()
    run.wait(after=run.output())
    with pytest.raises(PermanentFailure, match="speech_output_unreadable"):
        run.collect(run.output())
    assert run.times_paid() == 2

    run.wait()  # an operator replays the stage's own event

    assert speakers(run.collect(run.output())) == ["agent", "caller"]
    assert run.times_paid() == 3


def test_final_error_of_the_recording_is_a_dead_letter_that_a_replay_tries_again(run: Run) -> None:
    run.standin.plan.add(FaultRule(operation="output", kind="status", grpc_code="PERMISSION_DENIED"))
    run.wait()
    run.standin.book.wait_until_done(run.checkpoint["operation"])
    with pytest.raises(PermanentFailure) as failure:
        run.submit()
    assert failure.value.code == "speech_failed"
    assert "service agent" in failure.value.fix
    assert run.times_paid() == 1

    run.wait()

    assert speakers(run.collect(run.output())) == ["agent", "caller"]


def test_unreadable_object_of_a_lost_attempt_does_not_stop_the_next(run: Run) -> None:
    put(run, "call_transcript_0.json", b"not a transcript")
    run.attempt = 2
    run.wait()
    assert speakers(run.collect(run.output())) == ["agent", "caller"]
    assert run.times_paid() == 1


def test_polling_without_permission_pays_nothing(run: Run) -> None:
    run.wait()
    run.standin.plan.add(FaultRule(operation="get_operation", kind="status", grpc_code="PERMISSION_DENIED"))
    with pytest.raises(PermanentFailure, match="speech_forbidden"):
        run.submit()
    assert run.times_paid() == 1
