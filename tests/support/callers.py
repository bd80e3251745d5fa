"""A caller by name, number and words, and what a call of hers leaves in the database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from schemas.events import CallReceived, RecordingStored
from schemas.transcript import Transcript, Turn
from shared.claims import NewRun, RunKey
from shared.gateways.run_store import SpannerRunStore
from shared.stage import CallChanges, Completed
from stages.download.intake import admit
from tests.support.pipeline_database import OTHER_TENANT, OUR_TENANT, PipelineDatabase

OURS, THEIRS = OUR_TENANT.tenant_id, OTHER_TENANT.tenant_id
NUMBER, NAME, WORDS = "+13035550142", "Marjorie Quillfeather", "my boiler in Xanadu Street burst"
NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
TABLES = ("call_records", "stage_runs", "dead_letters", "dead_letter_failures", "audit_log", "tenant_keysets")


@pytest.fixture
def store(pipeline_database: PipelineDatabase) -> SpannerRunStore:
    return SpannerRunStore(pipeline_database.open, pipeline_database.vault)


def claim(store: SpannerRunStore, event: CallReceived) -> RunKey:
    key = RunKey(event.tenant_id, event.request_id, "download")
    run = NewRun(
        key,
        event.call_id,
        f"token-{event.call_id[-4:]}",
        "test",
        NOON,
        event=event.model_dump_json(),
        expires_at=NOON + timedelta(days=760),
    )
    store.insert(run, admit(event))
    return key


def finish(store: SpannerRunStore, key: RunKey, event: CallReceived) -> None:
    run = store.read(key)
    assert run is not None
    turn = Turn(speaker="caller", start_s=0, end_s=1, text=WORDS)
    transcript = Transcript(turns=(turn,), language="en-US", model="test")
    following = RecordingStored(tenant_id=event.tenant_id, request_id=event.request_id, call_id=event.call_id)
    store.finish(run, Completed(following, CallChanges(transcript=transcript)))


def stored(database: PipelineDatabase) -> str:
    return "\n".join(str(row) for table in TABLES for row in database.rows(f"SELECT * FROM {table}"))
