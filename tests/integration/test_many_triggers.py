"""One call, many triggers, through the runner, the store and real Spanner: in every order, the same end.

The download is the real intake with a scripted recording host: the recording is there once its address is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from google.cloud.spanner_v1 import KeySet

from schemas.analysis import CallAnalysis
from schemas.calls import RecordingFacts
from schemas.events import CallAnalyzed, CallReceived, Event, RecordingStored, WebhookKind
from schemas.webhooks import details_of
from shared.claims import Admission
from shared.crash_points import crashing
from shared.deliveries import Delivery, parse_event
from shared.errors import Deferred
from shared.gateways.call_merger import SpannerCallMerger
from shared.gateways.calls import SpannerCalls
from shared.gateways.run_store import SpannerRunStore
from shared.names import first_request_id, late_audio_request_id, side_request_id
from shared.runner import Runner
from shared.stage import CallChanges, Completed, StageContext
from shared.stage_spec import StageSpec
from stages.download import intake
from tests.support.crashing import CrashNow, Doom
from tests.support.pipeline_database import OTHER_TENANT, OUR_TENANT, PipelineDatabase
from tests.support.ports import NOON, HandClock, MemoryPublisher, MemoryTenants
from tests.support.webhooks import CALL, POST_CALL, PRE_CALL, ROUTING_COMPLETE

pytestmark = pytest.mark.emulators

OURS = OUR_TENANT.tenant_id
NO_AUDIO = {**POST_CALL, "recording": "", "recording_redirect": "", "recording_duration": ""}
FACTS = RecordingFacts(
    object_name=f"recordings/{OURS}/{CALL}.mp3",
    content_type="audio/mpeg",
    size_bytes=1000,
    sha256="0" * 64,
    duration_s=211.0,
    channels=1,
)
WAIT = timedelta(hours=1)
LEASE = timedelta(seconds=60)
ANALYSIS = CallAnalysis(
    basis="metadata",
    summary="A call without a recording.",
    sentiment="neutral",
    intent="incomplete",
    lead_score=50,
    lead_score_reasons=("first call",),
    next_step="Call back.",
    qualified=False,
    model="rules",
    prompt_version="1",
)


def trigger(kind: WebhookKind, payload: dict[str, Any], number: int) -> CallReceived:
    side = side_request_id(OURS, CALL, kind, str(number))
    return CallReceived(
        tenant_id=OURS,
        request_id=first_request_id(OURS, CALL) if kind == "post_call" else side,
        call_id=CALL,
        kind=kind,
        received_at=NOON + timedelta(seconds=number),
        payload=payload,
    )


FIVE = (
    trigger("pre_call", PRE_CALL, 1),
    trigger("routing_complete", ROUTING_COMPLETE, 2),
    trigger("post_call", NO_AUDIO, 3),
    trigger("call_modified", {**POST_CALL, "changes": ["recording_duration"]}, 4),
    trigger("call_modified", {**NO_AUDIO, "tags": ["hot"], "changes": ["tags"]}, 5),
)


@dataclass
class Pipeline:
    """The first stage as wired; what it publishes to its own topic is delivered again, as Pub/Sub would."""

    database: PipelineDatabase
    clock: HandClock = field(default_factory=HandClock)
    publisher: MemoryPublisher = field(default_factory=MemoryPublisher)
    downloads: int = 0

    def __post_init__(self) -> None:
        self.deps = intake.IntakeDeps(merger=SpannerCallMerger(self.database.open, self.database.vault), now=self.clock)
        self.runner = Runner(
            StageSpec(
                name="download",
                accepts=(CallReceived,),
                run=self._run,
                admit=_admit,
                absorb=partial(intake.absorb, deps=self.deps),
                lease=LEASE,
                max_attempts=20,
            ),
            SpannerRunStore(self.database.open, self.database.vault),
            MemoryTenants((OUR_TENANT, OTHER_TENANT)),
            self.publisher,
            self.clock,
            worker="test",
        )

    def _run(self, context: StageContext) -> Completed:
        event = context.event
        assert isinstance(event, CallReceived)
        if event.kind != "post_call":
            return intake.run(context, self.deps)
        call = SpannerCalls(self.database.open, self.database.vault).get(OURS, CALL)
        assert call is not None
        ids = {"tenant_id": OURS, "request_id": context.request_id, "call_id": CALL}
        if call.details.recording_url:
            self.downloads += 1
            return Completed(
                next_event=RecordingStored(**ids), changes=CallChanges(recording=FACTS, no_audio_reason="")
            )
        if self.clock() >= NOON + WAIT:
            changes = CallChanges(no_audio_reason="recording_never_arrived", analysis=ANALYSIS)
            return Completed(next_event=CallAnalyzed(**ids), changes=changes, call_as_of=call.updated_at)
        raise Deferred("recording_not_ready", "no recording yet", until=NOON + WAIT)

    def handle(self, event: Event) -> int:
        """One delivery; the status of the answer."""
        data = event.model_dump_json().encode()
        return self.runner.handle(Delivery("m", data, event.attributes(), "s"), event).status

    def finish_after(self, happening: Callable[[], object]) -> int:
        """Deliver the post-call webhook; `happening` comes between the stage's last look and its record."""
        stage = self.runner.stage

        def run(context: StageContext) -> Completed:
            completed = stage.run(context)
            happening()
            return completed

        disturbed = replace(self.runner, stage=replace(stage, run=run))
        data = FIVE[2].model_dump_json().encode()
        return disturbed.handle(Delivery("m", data, FIVE[2].attributes(), "s"), FIVE[2]).status

    def deliver(self, events: Sequence[Event]) -> None:
        """Deliver, and then whatever the stage sends to itself, until it is quiet."""
        waiting = list(events)
        while waiting:
            waiting += self.deliver_once(waiting.pop(0))

    def deliver_once(self, event: Event) -> list[CallReceived]:
        """One delivery; what the stage sent to itself meanwhile."""
        seen = len(self.publisher.messages)
        assert self.handle(event) == 204
        sent = [parse_event(message.data) for message in self.publisher.messages[seen:]]
        return [one for one in sent if isinstance(one, CallReceived)]

    def published(self, kind: type[Event]) -> set[str]:
        events = [parse_event(message.data) for message in self.publisher.messages]
        return {event.request_id for event in events if isinstance(event, kind)}

    def state(self) -> dict[str, Any]:
        call = SpannerCalls(self.database.open, self.database.vault).get(OURS, CALL)
        assert call is not None
        return {"details": call.details, "recording": call.recording, "no_audio_reason": call.no_audio_reason}


def _admit(event: Event) -> Admission:
    assert isinstance(event, CallReceived)
    return intake.admit(event)


@pytest.fixture
def pipeline(pipeline_database: PipelineDatabase) -> Pipeline:
    return Pipeline(pipeline_database)


@pytest.mark.parametrize("first", range(5))
def test_every_order_with_duplicates_ends_the_same(pipeline: Pipeline, first: int) -> None:
    """All 120 orders, each trigger twice. What orders have in common at their beginning happens once."""
    begun = Begun(rows_of(pipeline.database))
    orders = set(ends_of(pipeline.database, begun, [first]))
    assert len(orders) == 24
    for table in _UNTOUCHED:
        assert pipeline.database.rows(f"SELECT * FROM {table}") == [], f"{table} is missing in what goes back to a fork"


@dataclass(frozen=True)
class Begun:
    """Where an order stands: what the database holds, what was published, and who waits to be delivered."""

    rows: Mapping[str, Rows]
    order: tuple[int, ...] = ()
    messages: tuple[Any, ...] = ()
    downloads: int = 0
    waiting: tuple[CallReceived, ...] = ()
    """What the stage sent to itself; it comes after all triggers."""


def ends_of(database: PipelineDatabase, begun: Begun, nexts: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Go on from here with each of `nexts` and then in every order; yields the orders whose end was looked at."""
    for number, index in enumerate(nexts):
        if number:
            put_rows(database, begun.rows)
        pipeline = Pipeline(database, downloads=begun.downloads)
        pipeline.publisher.messages += begun.messages
        waiting = [*begun.waiting, *pipeline.deliver_once(FIVE[index]), *pipeline.deliver_once(FIVE[index])]
        order = (*begun.order, index)
        left = [other for other in range(5) if other not in order]
        if not left:
            pipeline.deliver(waiting)
            ended_as_always(pipeline, [FIVE[one] for one in order])
            yield order
            continue
        rows = rows_of(database) if len(left) > 1 else {}  # who has one way to go never comes back
        here = Begun(rows, order, tuple(pipeline.publisher.messages), pipeline.downloads, tuple(waiting))
        yield from ends_of(database, here, left)


Rows = tuple[Sequence[str], Sequence[Sequence[Any]]]
"""Columns and values."""
_WRITTEN = ("call_records", "processing_requests", "stage_runs", "usage_ledger")
"""The tables that a download without vendors writes, parents first."""
_UNTOUCHED = ("crm_syncs", "dead_letters", "vendor_circuits", "audit_log")


def rows_of(database: PipelineDatabase) -> dict[str, Rows]:
    """Everything that the triggers left in the database."""
    with database.database.snapshot(multi_use=True) as snapshot:
        found: dict[str, Rows] = {}
        for table in _WRITTEN:
            answer = snapshot.execute_sql(f"SELECT * FROM {table}")
            values = list(answer)
            found[table] = ([column.name for column in answer.fields], values)
    return found


def put_rows(database: PipelineDatabase, rows: Mapping[str, Rows]) -> None:
    """Make the database hold these rows and no others."""
    with database.database.batch() as batch:
        for table in reversed(_WRITTEN):
            batch.delete(table, KeySet(all_=True))
        for table, (columns, values) in rows.items():
            if values:
                batch.insert(table, columns, values)


def ended_as_always(pipeline: Pipeline, triggers: Sequence[CallReceived]) -> None:
    order = " ".join(event.kind for event in triggers)

    state = pipeline.state()
    assert state["recording"] == FACTS, order
    assert state["no_audio_reason"] == "", order
    assert state["details"].recording_url == POST_CALL["recording"], order
    assert state["details"].marks.tags == ("hot",), order
    assert (state["details"].answered, state["details"].duration_s) == (True, 214), order
    assert pipeline.downloads == 1, f"the recording starts transcription once: {order}"
    assert pipeline.published(RecordingStored) == {first_request_id(OURS, CALL)}, order


WITH_AUDIO = trigger("post_call", POST_CALL, 6)


@pytest.mark.parametrize("announcement", [WITH_AUDIO, FIVE[3]], ids=["post_call", "call_modified"])
def test_a_recording_announced_in_the_moment_the_call_goes_on_without_it_is_not_forgotten(
    pipeline: Pipeline, announcement: CallReceived
) -> None:
    """One worker has looked at the call and is about to record that it has no audio; another merges the link."""
    pipeline.deliver([FIVE[2]])
    pipeline.clock.advance(WAIT.total_seconds())

    assert pipeline.finish_after(lambda: pipeline.handle(announcement)) == 503
    pipeline.deliver([FIVE[2], announcement])

    assert pipeline.downloads == 1
    assert pipeline.state()["no_audio_reason"] == ""
    assert pipeline.published(RecordingStored) == {first_request_id(OURS, CALL)}
    assert pipeline.published(CallAnalyzed) == set()


def test_its_announcer_may_die_after_the_merge_and_find_nothing_new_when_it_comes_again(pipeline: Pipeline) -> None:
    pipeline.deliver([FIVE[2]])
    pipeline.clock.advance(WAIT.total_seconds())

    def announce() -> None:
        with crashing(Doom("stage_run")), pytest.raises(CrashNow):
            pipeline.handle(FIVE[3])
        pipeline.clock.advance(LEASE.total_seconds())
        assert pipeline.handle(FIVE[3]) == 204

    assert pipeline.finish_after(announce) == 503
    pipeline.deliver([FIVE[2]])
    assert pipeline.downloads == 1
    assert pipeline.published(RecordingStored) == {first_request_id(OURS, CALL)}


def test_a_recording_that_comes_after_the_call_went_on_without_it_is_transcribed_once(pipeline: Pipeline) -> None:
    pipeline.deliver([FIVE[2]])
    pipeline.clock.advance(WAIT.total_seconds())
    pipeline.deliver([FIVE[2]])
    assert pipeline.state()["no_audio_reason"] == "recording_never_arrived"

    pipeline.deliver([FIVE[3], FIVE[3], FIVE[4]])
    assert pipeline.downloads == 1
    assert pipeline.state()["recording"] == FACTS
    assert pipeline.published(RecordingStored) == {late_audio_request_id(OURS, CALL)}


def test_a_second_post_call_body_with_audio_wakes_the_chain(pipeline: Pipeline) -> None:
    pipeline.deliver([FIVE[2]])
    pipeline.deliver([trigger("post_call", POST_CALL, 6)])
    assert pipeline.downloads == 1
    assert pipeline.published(RecordingStored) == {first_request_id(OURS, CALL)}


def test_a_lost_post_call_is_made_up_for_by_a_complete_modification(pipeline: Pipeline) -> None:
    pipeline.deliver([FIVE[0], FIVE[3]])
    assert pipeline.downloads == 1
    assert details_of(FIVE[3]).call_id == CALL


@pytest.mark.parametrize("point", ["absorbed", "published_beside"])
def test_who_announces_late_audio_may_die_and_it_is_transcribed_once_all_the_same(
    pipeline: Pipeline, point: str
) -> None:
    pipeline.deliver([FIVE[2]])
    pipeline.clock.advance(WAIT.total_seconds())
    pipeline.deliver([FIVE[2]])

    with crashing(Doom(point)), pytest.raises(CrashNow):
        pipeline.handle(WITH_AUDIO)
    pipeline.deliver([WITH_AUDIO])

    assert pipeline.downloads == 1
    assert pipeline.published(RecordingStored) == {late_audio_request_id(OURS, CALL)}
