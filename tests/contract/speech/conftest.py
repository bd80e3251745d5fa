"""The Speech stand-in over a bucket of its own for each file; `location` is what it serves, everything when empty."""

from __future__ import annotations

import json
from collections.abc import Iterator
from uuid import uuid4

import grpc
import httpx
import pytest
from google.cloud.speech_v2 import SpeechClient
from google.cloud.speech_v2.services.speech.transports import SpeechGrpcTransport

from infra.local import gcs
from infra.local.standins.speech import RunningSpeech, serve_speech
from infra.local.standins.speech_storage import AudioStorage
from shared.gateways.speech import SpeechV2Recognizer, speech_recognizer
from tests.contract.speech.calls import BUCKET, TWO_PARTIES


@pytest.fixture(scope="module")
def storage_url() -> Iterator[str]:
    with gcs.serve(bucket=BUCKET) as url:
        yield url


@pytest.fixture(scope="module")
def storage(storage_url: str) -> Iterator[AudioStorage]:
    store = AudioStorage(storage_url)
    yield store
    store.close()


@pytest.fixture(scope="module")
def location() -> str:
    return ""


@pytest.fixture(scope="module")
def running(storage_url: str, location: str) -> Iterator[RunningSpeech]:
    with serve_speech(storage_url=storage_url, location=location) as standin:
        yield standin


@pytest.fixture
def standin(running: RunningSpeech) -> Iterator[RunningSpeech]:
    yield running
    running.book.wait_until_idle()  # or this test's work would meet the next test's faults
    httpx.post(f"{running.admin_url}/_standin/reset", trust_env=False).raise_for_status()
    running.rules.withdrawn.clear()


@pytest.fixture(scope="module")
def client(running: RunningSpeech) -> Iterator[SpeechClient]:
    with grpc.insecure_channel(running.address) as channel:
        yield SpeechClient(transport=SpeechGrpcTransport(channel=channel))


@pytest.fixture
def call_audio(storage: AudioStorage) -> str:
    """A stored object with two parties in its sidecar; a new one for each test, because names follow from it."""
    uri = f"gs://{BUCKET}/recordings/call-{uuid4().hex}.mp3"
    storage.write(uri, b"never decoded")
    storage.write(f"{uri}.json", json.dumps(TWO_PARTIES).encode())
    return uri


@pytest.fixture(scope="module")
def gateway(running: RunningSpeech) -> SpeechV2Recognizer:
    return speech_recognizer(project_id="local", location="us", dynamic_batch=False, local_address=running.address)
