"""`pipeline privacy …` and `tenant offboard` over calls that are held: their rows, recordings, transcripts, inbox."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from typer.testing import CliRunner

from handlers.cli.main import app
from infra.local import gcs
from schemas.events import CallReceived
from shared.gateways.calls import SpannerCalls
from shared.gateways.objects import GcsObjectStore
from shared.gateways.run_store import SpannerRunStore
from shared.gateways.vault import Vault
from shared.names import first_request_id
from tests.support.callers import NAME, NUMBER, OURS, WORDS, claim, finish
from tests.support.emulators import TEST_INSTANCE, TEST_PROJECT
from tests.support.keys import key_maker
from tests.support.pipeline_database import PipelineDatabase

BUCKET = "privacy-audio"
STRANGER = "+13035550199"
Pipeline = Callable[..., str]


def call_of(number: int) -> str:
    return f"CAL{number:032d}"


def received(number: int, tenant_id: str = OURS, **payload: Any) -> CallReceived:
    call_id = call_of(number)
    return CallReceived(
        tenant_id=tenant_id,
        request_id=first_request_id(tenant_id, call_id),
        call_id=call_id,
        kind="post_call",
        received_at=datetime.now(UTC),
        payload={"resource_id": call_id, "customer_phone_number": NUMBER, "customer_name": NAME, **payload},
    )


@pytest.fixture(scope="module")
def storage_url() -> Iterator[str]:
    with gcs.serve(bucket=BUCKET) as url:
        yield url


@pytest.fixture
def objects(storage_url: str) -> GcsObjectStore:
    store = GcsObjectStore(BUCKET, project_id=TEST_PROJECT, endpoint=storage_url)
    for name in names(store):  # of an earlier test
        store.delete(name)
    return store


@pytest.fixture
def pipeline(
    pipeline_database: PipelineDatabase, objects: GcsObjectStore, storage_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Pipeline]:
    for name, value in {
        "PIPELINE_ENVIRONMENT": "local",
        "GOOGLE_CLOUD_PROJECT": TEST_PROJECT,
        "PIPELINE_SPANNER_INSTANCE": TEST_INSTANCE,
        "PIPELINE_SPANNER_DATABASE": pipeline_database.database.database_id,
        "PIPELINE_AUDIO_BUCKET": objects.bucket,
        "STORAGE_EMULATOR_HOST": storage_url,
    }.items():
        monkeypatch.setenv(name, value)
    printed: list[str] = []

    def run(*arguments: str) -> str:
        output = CliRunner().invoke(app, list(arguments), catch_exceptions=False).stdout
        printed.append(output)
        return output

    yield run
    for text in printed:
        assert not [secret for secret in (NUMBER, NUMBER[2:], NAME, WORDS) if secret in text]


def hold(store: SpannerRunStore, objects: GcsObjectStore, *events: CallReceived) -> None:
    """Calls that went through the first stage, with audio and Speech's output."""
    for event in events:
        finish(store, claim(store, event), event)
        for name in (
            f"recordings/{event.tenant_id}/{event.call_id}.mp3",
            f"transcripts/{event.tenant_id}/{event.request_id}/out.json",
            f"inbox/{event.tenant_id}/{event.request_id}-abc.json",
        ):
            objects.create(name, iter([b"audio"]), content_type="audio/mpeg")


def reads(database: PipelineDatabase, tenant_id: str, number: int) -> Any:
    return SpannerCalls(database.open, Vault(database.open, key_maker())).get(tenant_id, call_of(number))


def names(objects: GcsObjectStore) -> list[str]:
    return [name for folder in ("recordings/", "transcripts/", "inbox/") for name in objects.list_names(folder)]
