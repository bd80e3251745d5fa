"""A pipeline in one thread: real runners over real rows, stages that do as told, and the desk that keeps what fails.

Messages lie in a queue until `work` takes them. A replay that waits lets the workers work, so a test needs no second
thread and no sleep: waiting moves the replay's own clock and nothing else.
"""

from __future__ import annotations

import itertools
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from google.cloud.spanner_v1 import COMMIT_TIMESTAMP, JsonObject

from schemas.events import CallAnalyzed, CallReceived, CallSynced, CallTranscribed, Event, RecordingStored
from schemas.tenant import Tenant
from shared.claims import Admission
from shared.dead_letters import LETTER_STATES, DeadLetter, LetterFilter, letter_id
from shared.dead_letters import TOPIC as DEAD_LETTERS
from shared.deliveries import Delivery, parse_event
from shared.desk import Desk
from shared.desk_jobs import JobReport, Progress, ReplayOptions
from shared.desk_replay import ReplayDesk
from shared.desk_replay_run import JobRun
from shared.errors import InvalidEvent, TransientFailure
from shared.gateways.dead_letter_store import SpannerDeadLetters
from shared.gateways.run_store import SpannerRunStore
from shared.pipeline import load_pipeline
from shared.runner import Runner
from shared.stage import Completed, StageContext, Usage
from shared.stage_spec import StageSpec
from stages.download.intake import admit
from tests.support.pipeline_database import OTHER_TENANT, OUR_TENANT, PipelineDatabase
from tests.support.ports import HandClock, MemoryTenants

OURS, THEIRS = OUR_TENANT.tenant_id, OTHER_TENANT.tenant_id
CALL = "CAL019aa0c4d1f07b2e9c3d5a6f70819203"
REQUEST = "r-0123456789abcdef"
MAX_ATTEMPTS = 3

Behaviour = Callable[[StageContext], Completed]

_ACCEPTS: dict[str, type[Event]] = {
    "download": CallReceived,
    "transcribe": RecordingStored,
    "analyze": CallTranscribed,
    "crm_sync": CallAnalyzed,
}
_NEXT: dict[str, Callable[..., Event]] = {
    "download": RecordingStored,
    "transcribe": CallTranscribed,
    "analyze": CallAnalyzed,
    "crm_sync": CallSynced,
}
_USAGE = {
    "transcribe": Usage(audio_s=120.0, model="chirp_3"),
    "analyze": Usage(input_tokens=2000, output_tokens=400, model="gemini-3.8-flash"),
}
_STAGE_OF_TOPIC = {event.topic: stage for stage, event in _ACCEPTS.items()}

TRACE = "00-" + "1" * 32 + "-" + "2" * 16 + "-01"


_REQUEST_COLUMNS = "tenant_id request_id call_id kind origin state stage received_at created_at updated_at"
_RUN_COLUMNS = (
    "tenant_id request_id stage call_id state attempt claim_token worker lease_until event error_code"
    " created_at updated_at"
)
_LETTER_COLUMNS = (
    "tenant_id dead_letter_id request_id current_request_id call_id stage state reason detail fix"
    " attempts occurrences replays topic event attributes created_at updated_at"
)


def received(number: int = 0, *, tenant_id: str = OURS, **changes: Any) -> CallReceived:
    """The webhook of a call; another number is another call."""
    values: dict[str, Any] = {
        "tenant_id": tenant_id,
        "request_id": REQUEST if not number else f"r-{number:016d}",
        "call_id": CALL if not number else f"CAL{number:032d}",
        "kind": "post_call",
        "received_at": datetime.now(UTC),
        "payload": {"resource_id": CALL, "duration": "30", "customer_phone_number": "+13035550142"},
    }
    return CallReceived(**(values | changes))


def done(context: StageContext) -> Completed:
    """What a stage returns when all is well."""
    stage = next(name for name, event in _ACCEPTS.items() if isinstance(context.event, event))
    event = _NEXT[stage](tenant_id=context.tenant.tenant_id, request_id=context.request_id, call_id=context.call_id)
    return Completed(
        next_event=event, usage=_USAGE.get(stage, Usage()), request_state="done" if stage == "crm_sync" else "active"
    )


def failing(error: Exception) -> Behaviour:
    """A stage that raises."""

    def behave(_context: StageContext) -> Completed:
        raise error

    return behave


@dataclass(frozen=True)
class Sent:
    """A message in the queue, as Pub/Sub would deliver it."""

    topic: str
    delivery: Delivery


@dataclass
class Queue:
    """Implements `shared.ports.Publisher`; keeps what was sent, and when, until a worker takes it."""

    waiting: deque[Sent] = field(default_factory=deque)
    sent: list[Sent] = field(default_factory=list)
    failing: int = 0
    moment: Callable[[], float] = lambda: 0.0
    moments: list[float] = field(default_factory=list)
    """What `moment` said at each publish."""
    _numbers: Iterable[int] = field(default_factory=lambda: itertools.count(1))

    def publish(self, topic: str, data: bytes, attributes: Mapping[str, str]) -> str:
        if self.failing:
            self.failing -= 1
            raise TransientFailure("publish_failed", "told to fail")
        message_id = f"m-{next(iter(self._numbers))}"
        delivery = Delivery(message_id, data, dict(attributes), f"s/{topic}", published_at=datetime.now(UTC))
        message = Sent(topic, delivery)
        self.waiting.append(message)
        self.sent.append(message)
        self.moments.append(self.moment())
        return message_id

    def events(self, topic: str) -> list[Event]:
        """What was ever sent to a topic."""
        return [parse_event(message.delivery.data) for message in self.sent if message.topic == topic]


@dataclass
class DeskBench:
    """Everything that a replay meets. `behaviours` says what a stage does; the others succeed."""

    database: PipelineDatabase
    tenants: tuple[Tenant, ...] = (OUR_TENANT, OTHER_TENANT)
    clock: HandClock = field(default_factory=lambda: HandClock(datetime.now(UTC)))
    queue: Queue = field(default_factory=Queue)
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    ran: list[tuple[str, str]] = field(default_factory=list)
    """Stage and request of every attempt."""
    is_recorder_down: bool = False
    seconds: float = 0.0
    """The replay's clock: moved by its own waiting."""
    refusals: Counter[str] = field(default_factory=Counter)

    @property
    def store(self) -> SpannerDeadLetters:
        return SpannerDeadLetters(self.database.open, self.database.vault)

    @property
    def desk(self) -> Desk:
        return Desk(store=self.store, publisher=self.queue, pipeline=load_pipeline())

    @property
    def replays(self) -> ReplayDesk:
        return ReplayDesk(self.desk)

    @property
    def runs(self) -> SpannerRunStore:
        return SpannerRunStore(self.database.open, self.database.vault)

    # -- the pipeline ----------------------------------------------------------------------------------

    def runner(self, stage: str) -> Runner:
        spec = StageSpec(
            name=stage,
            accepts=(_ACCEPTS[stage],),
            run=lambda context: self._run(stage, context),
            admit=_admit if stage == "download" else None,
            lease=timedelta(seconds=60),
            max_attempts=MAX_ATTEMPTS,
        )
        return Runner(spec, self.runs, MemoryTenants(self.tenants), self.queue, self.clock, worker="test")

    def _run(self, stage: str, context: StageContext) -> Completed:
        self.ran.append((stage, context.request_id))
        return self.behaviours.get(stage, done)(context)

    def work(self, *, most: int = 20_000) -> int:
        """Let the workers take what waits, and what comes of it; refused messages come again. Returns how many."""
        taken = 0
        set_aside: list[Sent] = []
        while self.queue.waiting and taken < most:
            message = self.queue.waiting.popleft()
            if message.topic == DEAD_LETTERS and self.is_recorder_down:
                set_aside.append(message)
                continue
            taken += 1
            if message.topic == DEAD_LETTERS:
                self.desk.record(message.delivery)
            elif message.topic in _STAGE_OF_TOPIC:
                self._deliver(message)
        self.queue.waiting.extend(set_aside)
        return taken

    def _deliver(self, message: Sent) -> None:
        event = parse_event(message.delivery.data)
        status = self.runner(_STAGE_OF_TOPIC[message.topic]).handle(message.delivery, event).status
        if status >= 500:
            refused = self.refusals[message.delivery.message_id] = self.refusals[message.delivery.message_id] + 1
            assert refused <= 10, f"nobody takes {event.type} of {event.request_id}"
            self.queue.waiting.append(message)

    def receive(self, *events: CallReceived) -> None:
        """Webhooks arrive, and everything that follows happens."""
        for event in events or (received(),):
            self.queue.publish(
                event.topic, event.model_dump_json().encode(), {**event.attributes(), "traceparent": TRACE}
            )
        self.work()

    def fail(self, stage: str, error: Exception, *events: CallReceived) -> list[DeadLetter]:
        """Calls that a stage gives up; afterwards the stage works again. Returns the newest letters."""
        self.behaviours[stage] = failing(error)
        self.receive(*events)
        del self.behaviours[stage]
        self.queue.sent.clear()
        self.ran.clear()
        return self.desk.list_letters((events or (received(),))[0].tenant_id, limit=max(1, len(events)))

    def seed(self, count: int) -> None:
        """So many calls that the analysis gave up, as rows: thousands of them would take minutes to fail for real."""
        requests, runs, letters = [], [], []
        for number in range(1, count + 1):
            event = received(number)
            stored = CallTranscribed(tenant_id=OURS, request_id=event.request_id, call_id=event.call_id)
            key, now = (OURS, event.request_id), (COMMIT_TIMESTAMP, COMMIT_TIMESTAMP)
            text = stored.model_dump_json()
            requests.append((*key, event.call_id, "post_call", "webhook", "failed", "analyze", event.received_at, *now))
            runs.append(
                (*key, "analyze", event.call_id, "failed", 3, "t", "w", event.received_at, text, "model_refused", *now)
            )
            letters.append(
                (
                    OURS,
                    letter_id(f"{event.request_id}\x1fanalyze"),
                    *(event.request_id, event.request_id, event.call_id, "analyze", "open", "model_refused", "no", ""),
                    *(3, 1, 0, stored.topic, text, JsonObject(stored.attributes()), *now),
                )
            )
        for table, columns, rows in (
            ("processing_requests", _REQUEST_COLUMNS, requests),
            ("stage_runs", _RUN_COLUMNS, runs),
            ("dead_letters", _LETTER_COLUMNS, letters),
        ):
            with self.database.database.batch() as batch:
                batch.insert(table, columns.split(), rows)

    # -- replays ---------------------------------------------------------------------------------------

    def replay(self, *ids: str, tenant_id: str = OURS, **options: Any) -> JobReport:
        """Replay letters of a tenant and wait for their outcomes, the workers working meanwhile."""
        return self.run(self.job(*ids, tenant_id=tenant_id, **options))

    def job(self, *ids: str, tenant_id: str | None = OURS, held: tuple[str, ...] = (), **options: Any) -> str:
        """A job's id; without ids, of all open letters."""
        wanted = LetterFilter(tenant_id=tenant_id, states=LETTER_STATES if ids else ("open",), ids=ids)
        settings = ReplayOptions(**({"rate": 1000.0, "wait_s": 5.0} | options))
        plan = self.replays.plan(wanted, settings, words="a test", held=held)
        return self.replays.create(plan, actor="ops@example.com").job_id

    def run(
        self,
        job_id: str,
        *,
        pause: Callable[[float], bool] | None = None,
        report: Callable[[Progress], None] = lambda _progress: None,
    ) -> JobReport:
        """Run a job as the command line does; `pause` replaces the workers who work during its waits."""
        run = JobRun(self.replays, pause=pause or self.pause, report=report, monotonic=lambda: self.seconds)
        return run.run(job_id)

    def pause(self, seconds: float) -> bool:
        """A replay waits: the workers work, and its time passes."""
        self.seconds += seconds
        if seconds:
            self.work()
        return False

    # -- looks -----------------------------------------------------------------------------------------

    def letter(self, tenant_id: str = OURS) -> DeadLetter:
        (letter,) = self.desk.list_letters(tenant_id, limit=10)
        return letter

    def audit(self) -> list[list[Any]]:
        """Tenant, actor, action, target and outcome, in the order of events."""
        return self.database.rows(
            "SELECT tenant_id, actor, action, target, outcome FROM audit_log ORDER BY occurred_at"
        )

    def request_state(self, request_id: str = REQUEST) -> str:
        return str(self.database.value(f"SELECT state FROM processing_requests WHERE request_id = '{request_id}'"))

    def run_states(self, request_id: str = REQUEST) -> dict[str, str]:
        """State by stage."""
        rows = self.database.rows(f"SELECT stage, state FROM stage_runs WHERE request_id = '{request_id}'")
        return dict(rows)


def _admit(event: Event) -> Admission:
    if not isinstance(event, CallReceived):
        raise InvalidEvent("wrong_topic", "not a webhook")
    return admit(event)
