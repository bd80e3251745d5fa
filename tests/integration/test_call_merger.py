"""Merging webhooks into a call's record, on real Spanner: what is known is kept, what is said is taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from schemas.calls import CallDetails, Marketing, Marks
from schemas.webhooks import parse_webhook
from shared.gateways.call_merger import SpannerCallMerger, merged_details
from shared.gateways.calls import SpannerCalls
from shared.names import first_request_id
from shared.ports import KnownCall
from tests.support.pipeline_database import OTHER_TENANT, OUR_TENANT, PipelineDatabase
from tests.support.webhooks import CALL, CALL_MODIFIED, POST_CALL, PRE_CALL

OURS, THEIRS = OUR_TENANT.tenant_id, OTHER_TENANT.tenant_id
WHOLE = parse_webhook(POST_CALL)
MODIFIED = parse_webhook(CALL_MODIFIED)

Look = Callable[[str], CallDetails | None]


@pytest.fixture
def merger(pipeline_database: PipelineDatabase) -> SpannerCallMerger:
    return SpannerCallMerger(pipeline_database.open)


@pytest.fixture
def stored(pipeline_database: PipelineDatabase) -> Look:
    def look(tenant_id: str) -> CallDetails | None:
        call = SpannerCalls(pipeline_database.open).get(tenant_id, CALL)
        return call.details if call else None

    return look


# -- the merge itself ---------------------------------------------------------------------------------


def test_a_silent_webhook_takes_nothing_away() -> None:
    silent = CallDetails(call_id=CALL, marks=WHOLE.marks)
    assert merged_details(WHOLE, silent) == WHOLE.model_copy(update={"voicemail": False, "direction": "inbound"})


@pytest.mark.parametrize(
    "said",
    [
        {"duration_s": 300},
        {"duration_s": 0},
        {"answered": False},
        {"caller_name": "Example Caller"},
        {"recording_url": "https://app.callrail.com/other"},
    ],
    ids=lambda said: next(iter(said)),
)
def test_what_a_newer_webhook_says_is_taken(said: dict[str, Any]) -> None:
    merged = merged_details(WHOLE, CallDetails(call_id=CALL, marks=WHOLE.marks, **said))
    assert merged == WHOLE.model_copy(update=said)


def test_marketing_is_completed_field_by_field() -> None:
    new = CallDetails(call_id=CALL, marketing=Marketing(campaign="spring"), marks=WHOLE.marks)
    assert merged_details(WHOLE, new).marketing == WHOLE.marketing.model_copy(update={"campaign": "spring"})


def test_an_emptied_note_and_a_removed_tag_are_changes() -> None:
    marked = WHOLE.model_copy(update={"marks": Marks(tags=("a", "b"), note="call back", value="100")})
    cleared = CallDetails(call_id=CALL, marks=Marks(tags=("a",)))
    assert merged_details(marked, cleared).marks == Marks(tags=("a",))


# -- in the database ----------------------------------------------------------------------------------


@pytest.mark.emulators
def test_a_call_that_nobody_knew_is_remembered(merger: SpannerCallMerger, stored: Look) -> None:
    merger.remember(OURS, parse_webhook(PRE_CALL))
    found = stored(OURS)
    assert found is not None
    assert found.caller_number == "+13035550142"


@pytest.mark.emulators
def test_a_known_call_is_not_forgotten_for_a_late_pre_call(merger: SpannerCallMerger, stored: Look) -> None:
    merger.merge(OURS, WHOLE)
    merger.remember(OURS, parse_webhook(PRE_CALL))
    assert stored(OURS) == WHOLE


@pytest.mark.emulators
def test_a_modification_is_merged_into_the_record(
    merger: SpannerCallMerger, stored: Look, pipeline_database: PipelineDatabase
) -> None:
    merger.merge(OURS, WHOLE)
    merger.merge(OURS, CallDetails(call_id=CALL, marks=MODIFIED.marks))
    found = stored(OURS)
    assert found is not None
    assert (found.duration_s, found.recording_url) == (214, WHOLE.recording_url)
    assert found.marks == MODIFIED.marks
    assert pipeline_database.value("SELECT started_at FROM call_records") == WHOLE.started_at


@pytest.mark.emulators
def test_the_same_merge_twice_leaves_the_same_record(merger: SpannerCallMerger, stored: Look) -> None:
    for _ in range(2):
        assert merger.merge(OURS, MODIFIED) == KnownCall(started=False, analyzed=False)
    assert stored(OURS) == MODIFIED


@pytest.mark.emulators
def test_the_merge_says_whether_the_calls_own_request_exists_and_whether_it_was_analysed(
    merger: SpannerCallMerger, pipeline_database: PipelineDatabase
) -> None:
    merger.merge(OURS, WHOLE)
    _insert_request(pipeline_database, request_id="w-0123456789abcdef", kind="pre_call")
    assert merger.merge(OURS, MODIFIED) == KnownCall(started=False, analyzed=False)
    _insert_request(pipeline_database, request_id=first_request_id(OURS, CALL), kind="post_call")
    assert merger.merge(OURS, MODIFIED) == KnownCall(started=True, analyzed=False)
    pipeline_database.database.run_in_transaction(
        lambda transaction: transaction.execute_update("UPDATE call_records SET analysis = '{}' WHERE true")
    )
    assert merger.merge(OURS, MODIFIED) == KnownCall(started=True, analyzed=True)


def _insert_request(pipeline_database: PipelineDatabase, *, request_id: str, kind: str) -> None:
    pipeline_database.database.run_in_transaction(
        lambda transaction: transaction.execute_update(
            "INSERT INTO processing_requests (tenant_id, request_id, call_id, kind, origin, state, stage,"
            " received_at, created_at, updated_at)"
            f" VALUES ('{OURS}', '{request_id}', '{CALL}', '{kind}', 'webhook', 'active', 'download',"
            " CURRENT_TIMESTAMP(), PENDING_COMMIT_TIMESTAMP(), PENDING_COMMIT_TIMESTAMP())"
        )
    )


@pytest.mark.emulators
def test_two_tenants_calls_of_the_same_id_are_two_calls(merger: SpannerCallMerger, stored: Look) -> None:
    merger.merge(OURS, WHOLE)
    assert stored(THEIRS) is None
    assert merger.merge(THEIRS, CallDetails(call_id=CALL)).started is False
    assert stored(OURS) == WHOLE
    assert stored(THEIRS) == CallDetails(call_id=CALL)
