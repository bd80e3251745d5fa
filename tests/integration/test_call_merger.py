"""Merging webhooks into a call's record, on real Spanner; the merge itself is tests/unit/test_call_merge.py."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from schemas.calls import CallDetails
from schemas.events import CallReceived, WebhookKind
from schemas.webhooks import parse_webhook
from shared.call_merge import Merged, said
from shared.gateways.call_merger import SpannerCallMerger
from shared.gateways.calls import SpannerCalls
from shared.names import first_request_id
from shared.ports import KnownCall
from tests.support.pipeline_database import OTHER_TENANT, OUR_TENANT, PipelineDatabase
from tests.support.ports import NOON
from tests.support.webhooks import CALL, CALL_MODIFIED, POST_CALL, PRE_CALL

pytestmark = pytest.mark.emulators

OURS, THEIRS = OUR_TENANT.tenant_id, OTHER_TENANT.tenant_id
WHOLE = parse_webhook(POST_CALL)
FIRST_REQUEST = first_request_id(OURS, CALL)

Look = Callable[[str], CallDetails | None]


def words(payload: dict[str, Any], kind: WebhookKind = "post_call", *, after_s: float = 0) -> Merged:
    event = CallReceived(
        tenant_id=OURS,
        request_id=FIRST_REQUEST,
        call_id=CALL,
        kind=kind,
        received_at=NOON + timedelta(seconds=after_s),
        payload={**payload, "resource_id": CALL},
    )
    return said(event, parse_webhook(event.payload))


@pytest.fixture
def merger(pipeline_database: PipelineDatabase) -> SpannerCallMerger:
    return SpannerCallMerger(pipeline_database.open, pipeline_database.vault)


@pytest.fixture
def stored(pipeline_database: PipelineDatabase) -> Look:
    def look(tenant_id: str) -> CallDetails | None:
        call = SpannerCalls(pipeline_database.open, pipeline_database.vault).get(tenant_id, CALL)
        return call.details if call else None

    return look


def test_a_call_that_nobody_knew_is_remembered(merger: SpannerCallMerger, stored: Look) -> None:
    known = merger.merge(OURS, words(PRE_CALL, "pre_call"), now=NOON)
    assert (known.started, known.analyzed, known.recorded, known.no_audio) == (False, False, False, False)
    found = stored(OURS)
    assert found is not None
    assert found.caller_number == "+13035550142"


def test_a_late_pre_call_leaves_a_finished_call_as_it_is(merger: SpannerCallMerger, stored: Look) -> None:
    merger.merge(OURS, words(POST_CALL), now=NOON)
    merger.merge(OURS, words(PRE_CALL, "pre_call", after_s=60), now=NOON)
    assert stored(OURS) == WHOLE


def test_a_modification_is_merged_and_the_start_kept(
    merger: SpannerCallMerger, stored: Look, pipeline_database: PipelineDatabase
) -> None:
    merger.merge(OURS, words(POST_CALL), now=NOON)
    merger.merge(OURS, words(CALL_MODIFIED, "call_modified", after_s=60), now=NOON)
    found = stored(OURS)
    assert found is not None
    assert found.marks == parse_webhook(CALL_MODIFIED).marks
    assert pipeline_database.value("SELECT started_at FROM call_records") == WHOLE.started_at


def test_a_row_without_ranks_is_worth_less_than_anything_new(
    merger: SpannerCallMerger, stored: Look, pipeline_database: PipelineDatabase
) -> None:
    merger.merge(OURS, words(POST_CALL), now=NOON)
    _execute(pipeline_database, "UPDATE call_records SET details_ranks = NULL WHERE true")
    merger.merge(OURS, words({**POST_CALL, "duration": "300"}), now=NOON)
    found = stored(OURS)
    assert found is not None
    assert found.duration_s == 300


def test_the_merge_says_how_far_the_pipeline_is_with_the_call(
    merger: SpannerCallMerger, pipeline_database: PipelineDatabase
) -> None:
    def look() -> KnownCall:
        return merger.merge(OURS, words(POST_CALL), now=NOON)

    look()
    _insert_request(pipeline_database, request_id="w-0123456789abcdef", kind="pre_call")
    assert look().started is False
    _insert_request(pipeline_database, request_id=FIRST_REQUEST, kind="post_call")
    assert look().started is True
    _execute(pipeline_database, "UPDATE call_records SET analysis = '{}', no_audio_reason = 'x' WHERE true")
    assert (look().analyzed, look().no_audio, look().recorded) == (True, True, False)
    _execute(pipeline_database, "UPDATE call_records SET recording = '{}' WHERE true")
    assert look().recorded is True


def test_two_tenants_calls_of_the_same_id_are_two_calls(merger: SpannerCallMerger, stored: Look) -> None:
    merger.merge(OURS, words(POST_CALL), now=NOON)
    assert stored(THEIRS) is None
    merger.merge(THEIRS, words(PRE_CALL, "pre_call"), now=NOON)
    assert stored(OURS) == WHOLE


def _insert_request(pipeline_database: PipelineDatabase, *, request_id: str, kind: str) -> None:
    _execute(
        pipeline_database,
        "INSERT INTO processing_requests (tenant_id, request_id, call_id, kind, origin, state, stage,"
        " received_at, created_at, updated_at)"
        f" VALUES ('{OURS}', '{request_id}', '{CALL}', '{kind}', 'webhook', 'active', 'download',"
        " CURRENT_TIMESTAMP(), PENDING_COMMIT_TIMESTAMP(), PENDING_COMMIT_TIMESTAMP())",
    )


def _execute(pipeline_database: PipelineDatabase, statement: str) -> None:
    pipeline_database.database.run_in_transaction(lambda transaction: transaction.execute_update(statement))


def test_a_repetition_does_not_make_the_call_look_changed(
    merger: SpannerCallMerger, pipeline_database: PipelineDatabase
) -> None:
    """A CRM that is being told of the call would be told again; what is new has to make it so."""

    def changed_at() -> Any:
        return pipeline_database.value("SELECT updated_at FROM call_records")

    merger.merge(OURS, words(POST_CALL), now=NOON)
    at_first = changed_at()
    merger.merge(OURS, words(POST_CALL, after_s=1), now=NOON)
    assert changed_at() == at_first

    merger.merge(OURS, words(CALL_MODIFIED, "call_modified", after_s=2), now=NOON)
    assert changed_at() > at_first
