"""Webhooks that do not start the chain, through runner, store and real Spanner: nothing dropped, nothing twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from schemas.analysis import CallAnalysis
from schemas.events import CallAnalyzed, CallReceived, Event, RecordingStored, WebhookKind
from schemas.webhooks import kind_of, subject_id
from shared.claims import Admission
from shared.deliveries import Delivery, parse_event
from shared.gateways.call_merger import SpannerCallMerger
from shared.gateways.calls import SpannerCalls
from shared.gateways.run_store import SpannerRunStore
from shared.names import first_request_id, side_request_id
from shared.runner import Runner
from shared.stage import CallChanges, Completed, StageContext
from shared.stage_spec import StageSpec
from stages.download import intake
from tests.support.pipeline_database import OTHER_TENANT, OUR_TENANT, PipelineDatabase
from tests.support.ports import NOON, HandClock, MemoryPublisher, MemoryTenants
from tests.support.webhooks import (
    CALL,
    CALL_MODIFIED,
    FORM_SUBMISSION,
    POST_CALL,
    PRE_CALL,
    ROUTING_COMPLETE,
    TEXT_MESSAGE,
    VOICE_ASSIST,
)

pytestmark = pytest.mark.emulators

OURS = OUR_TENANT.tenant_id
FIRST_REQUEST = first_request_id(OURS, CALL)
ANALYSIS = CallAnalysis(
    basis="transcript",
    summary="Wants a quote.",
    sentiment="neutral",
    intent="new_lead",
    lead_score=81,
    lead_score_reasons=("asks for a price",),
    next_step="Call back.",
    qualified=True,
    model="test",
    prompt_version="1",
)


def received(payload: Mapping[str, Any], *, kind: WebhookKind | None = None, digest: str = "0" * 64) -> CallReceived:
    """The event that the receiver makes of a body."""
    found = kind or kind_of(payload, None)
    call_id = subject_id(payload, body_digest=digest)
    side = side_request_id(OURS, call_id, found, digest)
    return CallReceived(
        tenant_id=OURS,
        request_id=first_request_id(OURS, call_id) if found == "post_call" else side,
        call_id=call_id,
        kind=found,
        received_at=NOON,
        payload=dict(payload),
    )


@dataclass
class Bench:
    """The first stage as it is wired, except that a post-call is finished at once."""

    database: PipelineDatabase
    publisher: MemoryPublisher = field(default_factory=MemoryPublisher)
    analyzed: bool = False
    fails_to_finish: int = 0

    def deliver(self, event: CallReceived) -> int:
        deps = intake.IntakeDeps(merger=SpannerCallMerger(self.database.open, self.database.vault), now=HandClock())

        def run(context: StageContext) -> Completed:
            assert isinstance(context.event, CallReceived)
            if context.event.kind != "post_call":
                completed = intake.run(context, deps)
                if self.fails_to_finish:
                    self.fails_to_finish -= 1
                    raise RuntimeError("the worker dies before its results are recorded")
                return completed
            changes = CallChanges(analysis=ANALYSIS) if self.analyzed else CallChanges()
            return Completed(next_event=_stored(context), changes=changes)

        def admit(started_by: Event) -> Admission:
            assert isinstance(started_by, CallReceived)
            return intake.admit(started_by)

        spec = StageSpec(
            name="download",
            accepts=(CallReceived,),
            run=run,
            admit=admit,
            absorb=partial(intake.absorb, deps=deps),
            lease=timedelta(seconds=60),
            max_attempts=3,
        )
        tenants = MemoryTenants((OUR_TENANT, OTHER_TENANT))
        store = SpannerRunStore(self.database.open, self.database.vault)
        runner = Runner(spec, store, tenants, self.publisher, HandClock(), worker="test")
        data = event.model_dump_json().encode()
        return runner.handle(Delivery("m-1", data, event.attributes(), "s"), event).status

    def published(self) -> list[Event]:
        return [parse_event(message.data) for message in self.publisher.messages]

    def requests(self) -> list[list[Any]]:
        return self.database.rows("SELECT kind, state FROM processing_requests ORDER BY kind")


def _stored(context: StageContext) -> RecordingStored:
    return RecordingStored(tenant_id=OURS, request_id=context.request_id, call_id=context.call_id)


@pytest.fixture
def bench(pipeline_database: PipelineDatabase) -> Bench:
    return Bench(pipeline_database)


def details(bench: Bench) -> Any:
    call = SpannerCalls(bench.database.open, bench.database.vault).get(OURS, CALL)
    return call.details if call else None


@pytest.mark.parametrize("payload", [PRE_CALL, ROUTING_COMPLETE], ids=["pre-call", "routing complete"])
def test_mistake_22_a_call_that_has_only_begun_is_remembered_and_goes_nowhere(
    bench: Bench, payload: dict[str, Any]
) -> None:
    assert bench.deliver(received(payload)) == 204
    assert bench.published() == []
    assert bench.requests() == [[received(payload).kind, "done"]]
    assert details(bench).caller_number == "+13035550142"


def test_the_post_call_after_a_pre_call_starts_the_chain_with_its_own_details(bench: Bench) -> None:
    bench.deliver(received(PRE_CALL))
    bench.deliver(received(POST_CALL))
    assert [event.type for event in bench.published()] == ["recording_stored"]
    assert (details(bench).answered, details(bench).duration_s) == (True, 214)


def test_a_late_pre_call_changes_nothing(bench: Bench) -> None:
    bench.deliver(received(POST_CALL))
    known = details(bench)
    bench.deliver(received(PRE_CALL))
    assert details(bench) == known


def test_a_modification_of_a_call_on_its_way_is_merged_and_nothing_is_started(bench: Bench) -> None:
    bench.deliver(received(POST_CALL))
    bench.publisher.messages.clear()
    assert bench.deliver(received(CALL_MODIFIED)) == 204
    assert bench.published() == []
    assert details(bench).marks.note == "Tuesday at 9"
    assert details(bench).marks.tags == ("new customer", "booked")


def test_a_modification_of_an_analysed_call_goes_to_the_crm_and_not_through_transcription(bench: Bench) -> None:
    bench.analyzed = True
    bench.deliver(received(POST_CALL))
    bench.publisher.messages.clear()
    modified = received(CALL_MODIFIED)
    assert bench.deliver(modified) == 204
    assert bench.published() == [CallAnalyzed(tenant_id=OURS, request_id=modified.request_id, call_id=CALL)]
    assert bench.requests() == [["call_modified", "active"], ["post_call", "active"]]


def test_a_modification_of_an_unknown_call_starts_the_chain_in_place_of_the_lost_webhook(bench: Bench) -> None:
    bench.deliver(received(CALL_MODIFIED))
    (started,) = bench.published()
    assert isinstance(started, CallReceived)
    assert (started.kind, started.request_id, started.call_id) == ("post_call", FIRST_REQUEST, CALL)
    assert bench.deliver(started) == 204
    assert [event.type for event in bench.published()] == ["call_received", "recording_stored"]


def test_the_lost_webhook_is_replaced_also_where_a_pre_call_made_the_call_known(bench: Bench) -> None:
    bench.deliver(received(PRE_CALL))
    bench.deliver(received(CALL_MODIFIED))
    assert [event.request_id for event in bench.published()] == [FIRST_REQUEST]


def test_a_crash_after_the_merge_does_not_cost_the_call(bench: Bench) -> None:
    """The merge is committed, the run is not: the next attempt finds the call known, by its own hand."""
    bench.fails_to_finish = 1
    assert bench.deliver(received(CALL_MODIFIED)) == 500
    assert bench.published() == []
    assert bench.deliver(received(CALL_MODIFIED)) == 204
    assert [event.request_id for event in bench.published()] == [FIRST_REQUEST]


def test_a_post_call_that_was_only_late_finds_its_request_started_and_runs_nothing_twice(bench: Bench) -> None:
    bench.deliver(received(CALL_MODIFIED))
    (started,) = bench.published()
    assert isinstance(started, CallReceived)
    bench.deliver(started)
    assert bench.deliver(received(POST_CALL)) == 204
    assert bench.database.value("SELECT COUNT(*) FROM usage_ledger WHERE request_id LIKE 'r-%'") == 1
    assert details(bench).marks.note == "Tuesday at 9", "what the modification said is newer"


@pytest.mark.parametrize("missing", [{"recording": "", "recording_redirect": ""}, {"duration": ""}, {"duration": "0"}])
def test_a_modification_of_an_unfinished_call_waits_for_its_post_call(bench: Bench, missing: dict[str, str]) -> None:
    bench.deliver(received(CALL_MODIFIED | missing))
    assert bench.published() == []
    assert details(bench).marks.note == "Tuesday at 9"


def test_the_same_modification_twice_is_one_request(bench: Bench) -> None:
    bench.deliver(received(CALL_MODIFIED))
    bench.deliver(received(CALL_MODIFIED))
    assert bench.requests() == [["call_modified", "done"]]


@pytest.mark.parametrize(
    ("payload", "kind"),
    [(TEXT_MESSAGE, "text_message"), (FORM_SUBMISSION, "form_submission"), (VOICE_ASSIST, "unknown"), ({}, "unknown")],
)
def test_what_this_chain_does_not_process_is_recorded_and_marked_so(
    bench: Bench, payload: dict[str, Any], kind: str
) -> None:
    event = received(payload)
    assert bench.deliver(event) == 204
    assert bench.requests() == [[kind, "not_processed"]]
    assert bench.published() == []
    assert details(bench) is None
    assert bench.database.opened_event("download")["payload"] == payload


@pytest.mark.parametrize("kind", ["pre_call", "call_modified", "post_call"])
def test_a_body_that_cannot_be_read_is_a_dead_letter(bench: Bench, kind: WebhookKind) -> None:
    """The receiver parks such bodies; a backfill or an older receiver may still send one."""
    assert bench.deliver(received(POST_CALL | {"duration": "long"}, kind=kind)) == 204
    assert bench.publisher.topics() == ["dead-letters"]
    assert bench.publisher.messages[0].attributes["dl_reason"] == "webhook_shape"
