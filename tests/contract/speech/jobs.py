"""Recordings and the jobs that transcribe them, as the gateway takes them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from uuid import uuid4

from infra.local.standins.speech import RunningSpeech
from infra.local.standins.speech_storage import AudioStorage
from shared.gateways.speech import SpeechV2Recognizer
from shared.ports import SpeechJob
from tests.contract.speech.calls import BUCKET

CONVERSATION = {
    "turns": [
        {"channel": 1, "start_s": 0, "end_s": 2, "text": "How can I help?"},
        {"channel": 2, "start_s": 2.5, "end_s": 4, "text": "My sink leaks."},
        {"channel": 1, "start_s": 4.5, "end_s": 6, "text": "We are on our way."},
    ]
}
ON_ONE_CHANNEL = {
    "turns": [
        {"start_s": 0, "end_s": 2, "text": "How can I help?", "speaker": "1"},
        {"start_s": 2.1, "end_s": 4, "text": "My sink leaks.", "speaker": "2"},
    ]
}


def job_for(storage: AudioStorage, sidecar: dict[str, Any], *, channels: int = 2, **changes: Any) -> SpeechJob:
    """A stored recording, new for each test, and the job that transcribes it."""
    name = uuid4().hex
    uri = f"gs://{BUCKET}/recordings/{name}.mp3"
    storage.write(uri, b"never decoded")
    storage.write(f"{uri}.json", json.dumps(sidecar).encode())
    job = SpeechJob(
        audio_uri=uri,
        output_uri_prefix=f"gs://{BUCKET}/transcripts/acme/{name}/",
        channels=channels,
        duration_s=6.0,
        language_codes=("en-US",),
        model="chirp_3",
        agent_channel=1,
    )
    return replace(job, **changes)


def finished_output(
    standin: RunningSpeech, storage: AudioStorage, gateway: SpeechV2Recognizer, job: SpeechJob
) -> bytes:
    name = gateway.submit(job)
    standin.book.wait_until_done(name)
    operation = gateway.operation(name)
    assert operation.state == "succeeded", operation
    return storage.read(operation.output_uri)


def only_operation(standin: RunningSpeech) -> dict[str, Any]:
    (operation,) = standin.book.state()["operations"]
    return dict(operation)
