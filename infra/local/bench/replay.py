"""What a replay of many dead letters does to live calls: the p95 of a live call alone, and beside the replay."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from infra.local.bench.webhooks import make_body
from infra.local.demo_tenant import DEMO_TENANT_ID
from infra.local.environment import applied
from infra.local.errors import Report, StackError
from infra.local.senders import encode, post_webhook
from schemas.events import CallReceived

WORKERS = ("webhook", "download", "crm_sync", "dead_letter")
"""A call without audio passes these: the stages between would measure the Speech stand-in."""
_ALONE_S = 60.0
"""So long before and after the replay, at most, live calls are measured alone."""
_WARM_UP_CALLS = 10
_SETTLE_TIMEOUT_S = 180.0
_POLL_S = 0.5
_ACTOR = "bench"


@dataclass(frozen=True)
class ReplayCourse:
    """`rate` is the replay's cap and `live_rate` that of the live calls, both a second."""

    letters: int = 10_000
    rate: float = 10.0
    live_rate: float = 2.0


@dataclass(frozen=True)
class LiveFigures:
    """How long live calls took from the webhook to the CRM, by the database's clock."""

    calls: int
    unfinished: int
    p50_ms: float
    p95_ms: float


@dataclass(frozen=True)
class ReplayResult:
    """`alone` is what was measured before and after the replay, together."""

    course: ReplayCourse
    alone: LiveFigures
    beside: LiveFigures
    arrived: int
    replay_s: float

    @property
    def p95_ratio(self) -> float:
        """The live p95 beside the replay, of the one alone."""
        return self.beside.p95_ms / self.alone.p95_ms if self.alone.p95_ms else 0.0


def measure_replay(
    env: Mapping[str, str], *, base_url: str, key: str, course: ReplayCourse, report: Report
) -> ReplayResult:
    """Seed the letters, then live calls alone, beside the replay, and alone again.

    `env` is the environment of a running stack with `WORKERS`.
    """
    from handlers import wiring
    from shared.settings import load_settings

    with applied(env):
        settings = load_settings()
        desk = wiring.desk(settings)
        database = wiring.spanner_database(settings)
        live = _Live(base_url, key, course.live_rate)
        report(f"{course.letters} dead letters")
        _seed(desk, course.letters)
        live.post_for(_WARM_UP_CALLS / course.live_rate)
        alone_s = min(_ALONE_S, course.letters / course.rate)
        report(f"live calls alone, {alone_s:.0f} s")
        alone = live.post_for(alone_s)
        report(f"live calls beside the replay, about {course.letters / course.rate:.0f} s")
        begun = time.monotonic()
        with ThreadPoolExecutor(1) as pool:
            replay = pool.submit(_replay, desk, course.rate, report)
            beside = live.post_while(lambda: not replay.done())
        arrived = replay.result()
        replay_s = time.monotonic() - begun
        report(f"live calls alone again, {alone_s:.0f} s")
        alone += live.post_for(alone_s)
        return ReplayResult(
            course, _figures(database, alone), _figures(database, beside), arrived=arrived, replay_s=replay_s
        )


def missed_call_body(number: int) -> bytes:
    """A call that nobody answered: it has no audio, and its way leads straight to the CRM."""
    import json

    payload: dict[str, Any] = json.loads(make_body(number))
    return encode({**payload, "answered": False, "call_type": "missed", "recording": None, "recording_duration": None})


def _seed(desk: Any, count: int) -> None:
    """Letters as Pub/Sub's own policy makes them when the workers were down: nothing of the call was ever done.

    Inserted as an import does: the recorder looks for an older letter of the same failure, and the emulator looks
    through the whole table for it, ten thousand times.
    """
    from shared.dead_letters import AuditEntry

    for number in range(count):
        body = _letter(desk.pipeline, number)
        desk.store.insert_copy(body, AuditEntry(_ACTOR, "dead_letter.import", body.letter.dead_letter_id, {}))


def _letter(pipeline: Any, number: int) -> Any:
    import json

    from shared.dead_letters import DeadLetter, DeadLetterBody
    from shared.deliveries import Delivery
    from shared.desk_letters import letter_of

    payload = json.loads(missed_call_body(number))
    now = datetime.now(UTC)
    event = CallReceived(
        tenant_id=DEMO_TENANT_ID,
        request_id=f"r-{number:016d}",
        call_id=str(payload["resource_id"]),
        kind="post_call",
        received_at=now,
        payload=payload,
    )
    attributes = {**event.attributes(), "CloudPubSubDeadLetterSourceSubscription": "download-call-received"}
    delivery = Delivery(f"bench-{number}", event.model_dump_json().encode(), attributes, "bench", published_at=now)
    new = letter_of(delivery, pipeline)
    letter = DeadLetter(
        tenant_id=new.tenant_id,
        dead_letter_id=new.dead_letter_id,
        request_id=new.request_id,
        call_id=new.call_id,
        stage=new.stage,
        state="open",
        reason=new.reason,
        detail=new.detail,
        fix=new.fix,
        attempts=new.attempts,
        occurrences=1,
        replays=0,
        created_at=now,
        updated_at=now,
        current_request_id=new.request_id,
        failed_at=new.published_at,
    )
    return DeadLetterBody(letter, new.topic, new.event, new.attributes)


def _replay(desk: Any, rate: float, report: Report) -> int:
    """Replay everything as `pipeline dead-letters replay --all` does; how many arrived."""
    from shared.dead_letters import LetterFilter
    from shared.desk_jobs import Progress, ReplayOptions
    from shared.desk_replay import ReplayDesk
    from shared.desk_replay_run import JobRun

    told = -1

    def tell(progress: Progress) -> None:
        nonlocal told
        arrived = progress.counts["arrived"]
        if (tenth := arrived * 10 // progress.total) > told:
            told = tenth
            report(f"{arrived} of {progress.total} letters arrived; {progress.rate:.2f} a second at most now")

    replays = ReplayDesk(desk)
    plan = replays.plan(LetterFilter(tenant_id=DEMO_TENANT_ID), ReplayOptions(rate=rate), words="the bench")
    job = replays.create(plan, actor=_ACTOR)
    return JobRun(replays, pause=threading.Event().wait, report=tell).run(job.job_id).counts.get("arrived", 0)


@dataclass
class _Live:
    """Posts live calls at an even pace."""

    base_url: str
    key: str
    rate: float
    posted: int = 0

    def post_for(self, seconds: float) -> list[str]:
        """Post for so long; the request ids."""
        deadline = time.monotonic() + seconds
        return self._post_until(lambda: time.monotonic() >= deadline)

    def post_while(self, goes_on: Callable[[], bool]) -> list[str]:
        """Post as long as something else goes on; the request ids."""
        return self._post_until(lambda: not goes_on())

    def _post_until(self, is_over: Callable[[], bool]) -> list[str]:
        ids: list[str] = []
        due = time.monotonic()
        while not is_over():
            answer = post_webhook(self.base_url, missed_call_body(self.posted), key=self.key)
            if not answer.is_success:
                raise StackError("webhook_refused", f"the receiver answered {answer.status_code}")
            ids.append(answer.json()["request_id"])
            self.posted += 1
            due += 1 / self.rate
            time.sleep(max(0.0, due - time.monotonic()))
        return ids


def _figures(database: Any, request_ids: Sequence[str]) -> LiveFigures:
    """Wait for the calls to end, for a while, then count."""
    from google.cloud.spanner_v1 import param_types

    from shared.gateways.queries import query

    types = {"tenant_id": param_types.STRING, "ids": param_types.Array(param_types.STRING)}
    params = {"tenant_id": DEMO_TENANT_ID, "ids": list(request_ids)}
    deadline = time.monotonic() + _SETTLE_TIMEOUT_S
    while True:
        with database.snapshot() as snapshot:
            rows = snapshot.execute_sql(query("audit", "ms_to_the_end"), params=params, param_types=types)
            times = sorted(float(row[0]) for row in rows)
        if len(times) == len(request_ids) or time.monotonic() > deadline:
            break
        time.sleep(_POLL_S)
    return LiveFigures(
        calls=len(times),
        unfinished=len(request_ids) - len(times),
        p50_ms=_percentile(times, 0.50),
        p95_ms=_percentile(times, 0.95),
    )


def _percentile(times: Sequence[float], share: float) -> float:
    return round(times[min(len(times) - 1, int(len(times) * share))], 1) if times else 0.0
