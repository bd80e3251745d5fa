"""The dead-letter desk on real Spanner: kept once, shown to its owner only, replayed, discarded, and audited."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from schemas.events import CallReceived, Event, RecordingStored
from shared.claims import RunKey, Sleep
from shared.dead_letters import UNASSIGNED_TENANT, AuditEntry, DeadLetter, GivenUp, dead_letter_attributes
from shared.deliveries import Delivery, parse_event
from shared.desk import Desk
from shared.errors import ConfigurationError, PermanentFailure, TransientFailure
from shared.gateways.dead_letter_store import SpannerDeadLetters
from shared.gateways.run_store import SpannerRunStore
from shared.pipeline import load_pipeline
from shared.runner import Runner, StageSpec
from shared.stage import Completed, StageContext
from stages.download.intake import admit
from tests.support.pipeline_database import OTHER_TENANT, OUR_TENANT, PipelineDatabase
from tests.support.ports import NOON, HandClock, MemoryPublisher, MemoryTenants

pytestmark = pytest.mark.emulators

OURS, THEIRS = OUR_TENANT.tenant_id, OTHER_TENANT.tenant_id
CALL = "CAL019aa0c4d1f07b2e9c3d5a6f70819203"
REQUEST = "r-0123456789abcdef"
RECEIVED = CallReceived(
    tenant_id=OURS,
    request_id=REQUEST,
    call_id=CALL,
    kind="post_call",
    received_at=NOON,
    payload={"resource_id": CALL, "duration": "30"},
)
STORED = RecordingStored(tenant_id=OURS, request_id=REQUEST, call_id=CALL)
KEY = RunKey(OURS, REQUEST, "download")
SUBSCRIPTION = "projects/test/subscriptions/download-call-received"


def delivery_of(event: Event) -> Delivery:
    return Delivery("m-1", event.model_dump_json().encode(), {**event.attributes(), "traceparent": "t"}, SUBSCRIPTION)


@dataclass
class Bench:
    """A runner whose stage does what it is told, its dead letters, and the desk that keeps them."""

    database: PipelineDatabase
    clock: HandClock = field(default_factory=HandClock)
    publisher: MemoryPublisher = field(default_factory=MemoryPublisher)
    stage_error: Exception | None = None

    @property
    def desk(self) -> Desk:
        return Desk(store=SpannerDeadLetters(self.database.open), publisher=self.publisher, pipeline=load_pipeline())

    @property
    def runs(self) -> SpannerRunStore:
        return SpannerRunStore(self.database.open)

    def deliver(self, event: CallReceived = RECEIVED) -> int:
        def run(_context: StageContext) -> Completed:
            if self.stage_error:
                raise self.stage_error
            return Completed(next_event=STORED)

        spec = StageSpec(
            name="download",
            accepts=(CallReceived,),
            run=run,
            admit=lambda _event: admit(event),
            lease=timedelta(seconds=60),
            max_attempts=3,
        )
        tenants = MemoryTenants((OUR_TENANT, OTHER_TENANT))
        runner = Runner(spec, self.runs, tenants, self.publisher, self.clock, worker="test")
        return runner.handle(delivery_of(event), event).status

    def fail(self, event: CallReceived = RECEIVED) -> DeadLetter:
        """Let the stage say a final no and record the dead letter it publishes."""
        self.stage_error = PermanentFailure("not_audio", "the link leads to a page", fix="check the link")
        self.deliver(event)
        message = self.publisher.messages.pop()
        self.desk.record(Delivery("m-2", message.data, message.attributes, "projects/test/subscriptions/x"))
        self.stage_error = None
        return self.desk.list_letters(event.tenant_id, limit=1)[0]

    def letter(self, tenant_id: str = OURS) -> DeadLetter:
        (letter,) = self.desk.list_letters(tenant_id, limit=10)
        return letter

    def audit(self) -> list[list[Any]]:
        return self.database.rows(
            "SELECT tenant_id, actor, action, target, JSON_VALUE(detail, '$.reason'), outcome FROM audit_log"
            " ORDER BY occurred_at"
        )

    def request_state(self) -> str:
        return str(self.database.value("SELECT state FROM processing_requests"))


@pytest.fixture
def bench(pipeline_database: PipelineDatabase) -> Bench:
    return Bench(pipeline_database)


# -- record -------------------------------------------------------------------------------------------


def test_a_dead_letter_is_kept_with_everything_an_operator_needs(bench: Bench) -> None:
    letter = bench.fail()
    assert (letter.tenant_id, letter.request_id, letter.call_id) == (OURS, REQUEST, CALL)
    assert (letter.stage, letter.state, letter.attempts) == ("download", "open", 1)
    assert (letter.reason, letter.detail, letter.fix) == ("not_audio", "the link leads to a page", "check the link")
    assert (letter.occurrences, letter.replays) == (1, 0)
    body = bench.desk.show(OURS, letter.dead_letter_id)
    assert body.letter == letter
    assert body.topic == "call-received"
    assert parse_event(body.event.encode()) == RECEIVED
    assert body.attributes["traceparent"] == "t"
    assert body.attributes["dl_subscription"] == SUBSCRIPTION


def test_the_same_failure_again_is_the_same_letter_counted_twice_with_the_newest_reason(bench: Bench) -> None:
    first = bench.fail()
    given_up = GivenUp("download", "token_refused", "401", "give a new token", attempts=7)
    attributes = dead_letter_attributes(delivery_of(RECEIVED), given_up)
    bench.desk.record(Delivery("m-3", RECEIVED.model_dump_json().encode(), attributes, "s"))
    again = bench.letter()
    assert again.dead_letter_id == first.dead_letter_id
    assert (again.occurrences, again.attempts, again.reason, again.fix) == (2, 7, "token_refused", "give a new token")


def test_the_newest_letter_comes_first_and_the_list_is_bounded(bench: Bench) -> None:
    older = bench.fail()
    newer = bench.fail(RECEIVED.model_copy(update={"request_id": "r-fedcba9876543210", "call_id": "CAL2"}))
    listed = [letter.dead_letter_id for letter in bench.desk.list_letters(OURS, limit=10)]
    assert listed == [newer.dead_letter_id, older.dead_letter_id]
    assert len(bench.desk.list_letters(OURS, limit=1)) == 1


def test_a_very_wordy_letter_is_kept(bench: Bench) -> None:
    given_up = GivenUp("download", "r" * 500, "d" * 5000, "f" * 5000, attempts=1)
    attributes = dead_letter_attributes(delivery_of(RECEIVED), given_up)
    bench.desk.record(Delivery("m-3", RECEIVED.model_dump_json().encode(), attributes, "s"))
    assert bench.letter().detail.startswith("ddd")


@pytest.mark.parametrize(
    ("data", "attributes"),
    [
        (b"not json", {}),
        (STORED.model_dump_json().encode(), STORED.attributes() | {"tenant_id": THEIRS}),
        (
            STORED.model_copy(update={"tenant_id": "nobody-known"}).model_dump_json().encode(),
            STORED.attributes() | {"tenant_id": "nobody-known"},
        ),
    ],
    ids=["unreadable", "two tenants claimed", "unknown tenant"],
)
def test_a_letter_without_a_tenant_of_ours_goes_to_unassigned(
    bench: Bench, data: bytes, attributes: dict[str, str]
) -> None:
    for _ in range(2):
        bench.desk.record(Delivery("m-1", data, attributes, "s"))
    letter = bench.letter(UNASSIGNED_TENANT)
    assert letter.occurrences == 2
    assert bench.desk.show(UNASSIGNED_TENANT, letter.dead_letter_id).event.encode() == data
    assert bench.desk.list_letters(OURS, limit=10) == []
    assert bench.desk.list_letters(THEIRS, limit=10) == []


def test_the_owner_of_nobodys_letters_is_no_customer(bench: Bench) -> None:
    bench.desk.record(Delivery("m-1", b"not json", {}, "s"))
    assert bench.database.rows("SELECT status FROM tenants WHERE tenant_id = 'unassigned'") == [["system"]]


# -- whose --------------------------------------------------------------------------------------------


def test_a_tenant_neither_sees_nor_touches_anothers_letter(bench: Bench) -> None:
    letter = bench.fail()
    assert bench.desk.list_letters(THEIRS, limit=10) == []
    with pytest.raises(ConfigurationError, match="no dead letter"):
        bench.desk.show(THEIRS, letter.dead_letter_id)
    with pytest.raises(ConfigurationError, match="no dead letter"):
        bench.desk.replay(THEIRS, letter.dead_letter_id, actor="op")
    with pytest.raises(ConfigurationError, match="no dead letter"):
        bench.desk.discard(THEIRS, letter.dead_letter_id, reason="mine now", actor="op")
    stolen = replace(letter, tenant_id=THEIRS)
    assert bench.desk.store.discard(stolen, "x", an_entry()) is False
    assert bench.desk.store.start_replay(stolen, an_entry()) is False
    assert bench.letter() == letter
    assert bench.audit() == []
    assert bench.publisher.messages == []


def an_entry() -> AuditEntry:

    return AuditEntry("op", "dead_letter.discard", "x", {})


# -- replay -------------------------------------------------------------------------------------------


def test_a_replay_reopens_the_run_publishes_the_event_and_is_audited(bench: Bench) -> None:
    letter = bench.fail()
    assert bench.request_state() == "failed"

    bench.desk.replay(OURS, letter.dead_letter_id, actor="ops@example.com")

    (message,) = bench.publisher.messages
    assert message.topic == "call-received"
    assert parse_event(message.data) == RECEIVED
    assert message.attributes == {**RECEIVED.attributes(), "traceparent": "t"}
    run = bench.runs.read(KEY)
    assert run is not None
    assert (run.state, run.attempt) == ("retrying", 1)
    assert bench.request_state() == "active"
    assert (bench.letter().state, bench.letter().replays) == ("replaying", 1)
    assert bench.audit() == [[OURS, "ops@example.com", "dead_letter.replay", letter.dead_letter_id, None, "done"]]


def test_a_replay_that_succeeds_closes_the_letter_and_one_that_fails_opens_it_again(bench: Bench) -> None:
    letter = bench.fail()
    bench.desk.replay(OURS, letter.dead_letter_id, actor="op")
    again = bench.fail()
    assert (again.dead_letter_id, again.state, again.occurrences) == (letter.dead_letter_id, "open", 2)

    bench.publisher.messages.clear()
    bench.desk.replay(OURS, letter.dead_letter_id, actor="op")
    assert bench.deliver() == 204
    assert bench.publisher.topics() == ["call-received", "recording-stored"]
    assert bench.letter().state == "closed"
    with pytest.raises(ConfigurationError, match="closed"):
        bench.desk.replay(OURS, letter.dead_letter_id, actor="op")


def test_two_replays_are_one_more_delivery_and_one_run(bench: Bench) -> None:
    letter = bench.fail()
    for _ in range(2):
        bench.desk.replay(OURS, letter.dead_letter_id, actor="op")
    assert bench.publisher.topics() == ["call-received", "call-received"]
    assert [bench.deliver(), bench.deliver()] == [204, 204]
    assert bench.database.value("SELECT COUNT(*) FROM usage_ledger") == 1


def test_a_replay_gives_fresh_attempts_also_where_pubsub_gave_up_first(bench: Bench) -> None:
    """Pub/Sub's own policy leaves the row `retrying` at its last attempt: one more would be one too many."""
    bench.stage_error = TransientFailure("callrail_unavailable", "503")
    assert [bench.deliver() for _ in range(3)] == [503, 503, 503]
    forwarded = {
        **RECEIVED.attributes(),
        "CloudPubSubDeadLetterSourceDeliveryCount": "3",
        "CloudPubSubDeadLetterSourceSubscription": "download-call-received",
    }
    bench.desk.record(Delivery("m-9", RECEIVED.model_dump_json().encode(), forwarded, "s"))
    letter = bench.letter()
    assert (letter.stage, letter.reason) == ("download", "attempts_exhausted")

    bench.desk.replay(OURS, letter.dead_letter_id, actor="op")
    bench.stage_error = None
    assert bench.deliver() == 204
    assert bench.publisher.topics() == ["call-received", "recording-stored"]


def test_a_replay_of_what_is_done_already_repeats_the_next_event_and_reopens_nothing(bench: Bench) -> None:
    bench.deliver()
    bench.desk.record(delivery_of(RECEIVED))
    letter = bench.letter()
    bench.database.database.run_in_transaction(
        lambda transaction: transaction.execute_update(
            "UPDATE processing_requests SET state = 'done', stage = 'crm_sync' WHERE true"
        )
    )
    bench.desk.replay(OURS, letter.dead_letter_id, actor="op")
    run = bench.runs.read(KEY)
    assert run is not None
    assert run.state == "done"
    assert bench.database.rows("SELECT state, stage FROM processing_requests") == [["done", "crm_sync"]]


def test_a_replay_leaves_a_waiting_run_alone(bench: Bench) -> None:
    letter = bench.fail()
    bench.desk.replay(OURS, letter.dead_letter_id, actor="op")
    run = bench.runs.read(KEY)
    assert run is not None
    bench.runs.take_over(run, claim_token="worker-2", worker="test", lease_until=NOON)
    bench.runs.sleep(KEY, "worker-2", Sleep("waiting", due_at=NOON, checkpoint={"operation": "op-1"}))
    bench.desk.replay(OURS, letter.dead_letter_id, actor="op")
    waiting = bench.runs.read(KEY)
    assert waiting is not None
    assert (waiting.state, waiting.due_at, waiting.checkpoint) == ("waiting", NOON, {"operation": "op-1"})


def test_a_replay_that_could_not_be_published_can_be_repeated(bench: Bench) -> None:
    letter = bench.fail()
    bench.publisher.failing = 1
    with pytest.raises(TransientFailure):
        bench.desk.replay(OURS, letter.dead_letter_id, actor="op")
    bench.desk.replay(OURS, letter.dead_letter_id, actor="op")
    assert bench.publisher.topics() == ["call-received"]


def test_an_unreadable_letter_from_nowhere_cannot_be_replayed(bench: Bench) -> None:
    bench.desk.record(Delivery("m-1", b"not json", {}, "s"))
    with pytest.raises(ConfigurationError, match="topic"):
        bench.desk.replay(UNASSIGNED_TENANT, bench.letter(UNASSIGNED_TENANT).dead_letter_id, actor="op")
    assert bench.publisher.messages == []


# -- discard ------------------------------------------------------------------------------------------


def test_a_discarded_letter_keeps_its_reason_and_is_audited(bench: Bench) -> None:
    letter = bench.fail()
    bench.desk.discard(OURS, letter.dead_letter_id, reason="test call", actor="op")
    assert bench.letter().state == "discarded"
    assert bench.desk.show(OURS, letter.dead_letter_id).note == "test call"
    assert bench.audit() == [[OURS, "op", "dead_letter.discard", letter.dead_letter_id, "test call", "done"]]


def test_a_discarded_letter_stays_discarded_when_the_failure_is_reported_again(bench: Bench) -> None:
    letter = bench.fail()
    bench.desk.discard(OURS, letter.dead_letter_id, reason="test call", actor="op")
    assert bench.fail().state == "discarded"


def test_what_was_not_discarded_does_not_stand_in_the_audit_log(bench: Bench) -> None:
    letter = bench.fail()
    bench.desk.replay(OURS, letter.dead_letter_id, actor="op")
    with pytest.raises(ConfigurationError, match="replaying, not open"):
        bench.desk.discard(OURS, letter.dead_letter_id, reason="too late", actor="op")
    assert [row[2] for row in bench.audit()] == ["dead_letter.replay"]
