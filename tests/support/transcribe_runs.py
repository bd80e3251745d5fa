"""One run of the transcribe stage on Google's clients, Cloud Storage's emulator and the Speech stand-in.

The runner is played by hand: `Waiting` hands over the checkpoint, the next attempt gets it back.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from infra.local import gcs
from infra.local.standins.speech import RunningSpeech, serve_speech
from schemas.calls import CallDetails, CallRecord, RecordingFacts
from schemas.events import Event, RecordingStored, TranscriptionOutput
from schemas.tenant import Tenant, TenantConfig
from shared.errors import Waiting
from shared.gateways.objects import GcsObjectStore
from shared.gateways.speech import SpeechV2Recognizer, speech_recognizer
from shared.names import recording_object
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


def speakers(completed: Completed) -> list[str]:
    assert completed.changes.transcript is not None
    return [turn.speaker for turn in completed.changes.transcript.turns]
