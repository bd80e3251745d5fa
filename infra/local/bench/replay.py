"""What a replay of many dead letters does to live calls: the p95 of a live call alone, and beside the replay."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx

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
_STANDIN_TIMEOUT_S = 30.0
_REQUESTS_A_DAY = 1_000_000
_ACTOR = "bench"


@dataclass(frozen=True)
class ReplayCourse:
    """`rate` is the replay's cap and `live_rate` that of the live calls, both a second.

    `most_s`: after so many seconds the replay is told to stop, as an operator would; None: it goes on to its end.
    """

    letters: int = 10_000
    rate: float = 10.0
    live_rate: float = 2.0
    most_s: float | None = None

    @property
    def seconds_planned(self) -> float:
        """How long it takes at its cap, at least."""
        whole = self.letters / self.rate
        return min(whole, self.most_s) if self.most_s else whole


@dataclass(frozen=True)
class LiveFigures:
    """How long live calls took from the webhook to the CRM, by the database's clock."""

    calls: int
    unfinished: int
    p50_ms: float
    p95_ms: float


@dataclass(frozen=True)
class ReplayResult:
    """`alone` is what was measured before and after the replay, together.

    `sent` are the letters that the replay came to before it ended or was stopped, `arrived` those that are done.
    """

    course: ReplayCourse
    alone: LiveFigures
    beside: LiveFigures
    sent: int
    arrived: int
    replay_s: float

    @property
    def due(self) -> int:
        """So many letters have to arrive: all of them, unless the replay was given a time."""
        return self.sent if self.course.most_s else self.course.letters

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
        seeded = _seed(desk, course.letters)
        live.post_for(_WARM_UP_CALLS / course.live_rate)
        _lift_quotas(env)
        alone_s = min(_ALONE_S, course.seconds_planned)
        report(f"live calls alone, {alone_s:.0f} s")
        alone = live.post_for(alone_s)
        replay = _Replay(desk, seeded, course, report)
        report(f"live calls beside the replay, {course.seconds_planned:.0f} s and more")
        begun = time.monotonic()
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(replay.run)
            try:
                beside = live.post_while(lambda: not running.done())
            except BaseException:  # Ctrl-C too: the pool's end waits for the replay, which would go on for an hour
                replay.stop()
                raise
        running.result()
        replay_s = time.monotonic() - begun
        report(f"live calls alone again, {alone_s:.0f} s")
        alone += live.post_for(alone_s)
        figures = _figures(database, alone), _figures(database, beside)
        counts = replay.counts()
        return ReplayResult(
            course,
            *figures,
            sent=sum(counts.values()) - counts.get("pending", 0),
            arrived=counts.get("arrived", 0),
            replay_s=replay_s,
        )


def _lift_quotas(env: Mapping[str, str]) -> None:
    """Ten thousand calls need more of Salesforce than its day's 15,000 requests, and would wait for tomorrow.

    The demo tenant's org is known by its first call, one of the warm-up.
    """
    door = f"{env['SALESFORCE_URL']}/_standin"
    with httpx.Client(timeout=_STANDIN_TIMEOUT_S, trust_env=False) as client:
        deadline = time.monotonic() + _STANDIN_TIMEOUT_S
        while not (orgs := client.get(f"{door}/state").raise_for_status().json()["orgs"]):
            if time.monotonic() > deadline:
                raise StackError("no_call_arrived", "no call of the warm-up came as far as Salesforce")
            time.sleep(_POLL_S)
        for consumer_key in orgs:
            rules = {"consumer_key": consumer_key, "daily_limit": _REQUESTS_A_DAY}
            client.post(f"{door}/orgs", json=rules).raise_for_status()


def missed_call_body(number: int) -> bytes:
    """A call that nobody answered: it has no audio, and its way leads straight to the CRM."""
    import json

    payload: dict[str, Any] = json.loads(make_body(number))
    return encode({**payload, "answered": False, "call_type": "missed", "recording": None, "recording_duration": None})


def _seed(desk: Any, count: int) -> frozenset[str]:
    """Letters as Pub/Sub's own policy makes them when the workers were down: nothing of the call was ever done.

    Inserted as an import does: the recorder looks for an older letter of the same failure, and the emulator looks
    through the whole table for it, ten thousand times.
    """
    from shared.dead_letters import AuditEntry

    run = uuid4().hex[:8]
    ids: list[str] = []
    for number in range(count):
        body = _letter(desk.pipeline, run, number)
        ids.append(body.letter.dead_letter_id)
        desk.store.insert_copy(body, AuditEntry(_ACTOR, "dead_letter.import", body.letter.dead_letter_id, {}))
    return frozenset(ids)


def _letter(pipeline: Any, run: str, number: int) -> Any:
    import json

    from shared.dead_letters import DeadLetter, DeadLetterBody
    from shared.deliveries import Delivery
    from shared.desk_letters import letter_of

    payload = json.loads(missed_call_body(number))
    now = datetime.now(UTC)
    event = CallReceived(
        tenant_id=DEMO_TENANT_ID,
        request_id=f"r-{run}{number:08d}",
        call_id=str(payload["resource_id"]),
        kind="post_call",
        received_at=now,
        payload=payload,
    )
    attributes = {**event.attributes(), "CloudPubSubDeadLetterSourceSubscription": "download-call-received"}
    delivery = Delivery(
        f"bench-{run}-{number}", event.model_dump_json().encode(), attributes, "bench", published_at=now
    )
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


class _Replay:
    """Replays the seeded letters as `pipeline dead-letters replay` does, and stops it as `… stop JOB` would."""

    def __init__(self, desk: Any, seeded: frozenset[str], course: ReplayCourse, report: Report) -> None:
        from shared.dead_letters import LetterFilter
        from shared.desk_jobs import ReplayOptions
        from shared.desk_replay import ReplayDesk

        self._course, self._report, self._replays = course, report, ReplayDesk(desk)
        plan = self._replays.plan(
            LetterFilter(tenant_id=DEMO_TENANT_ID), ReplayOptions(rate=course.rate), words="the bench"
        )
        letters = tuple(letter for letter in plan.letters if letter.dead_letter_id in seeded)
        self._job = self._replays.create(replace(plan, letters=letters), actor=_ACTOR)
        self._told = -1

    def run(self) -> None:
        """To its end, or to the time it is given."""
        from shared.desk_replay_run import JobRun

        timer = threading.Timer(self._course.most_s, self.stop) if self._course.most_s else None
        if timer:
            timer.start()
        try:
            JobRun(self._replays, pause=threading.Event().wait, report=self._tell).run(self._job.job_id)
        finally:
            if timer:
                timer.cancel()

    def counts(self) -> Mapping[str, int]:
        """Letters by state, with what became of them since."""
        return self._replays.report(self._replays.job(self._job.job_id)).counts

    def stop(self) -> None:
        from shared.errors import ConfigurationError

        with contextlib.suppress(ConfigurationError):  # it ended in this moment
            self._replays.stop(self._job.job_id, actor=_ACTOR)

    def _tell(self, progress: Any) -> None:
        arrived = progress.counts["arrived"]
        if (tenth := arrived * 10 // progress.total) > self._told:
            self._told = tenth
            self._report(f"{arrived} of {progress.total} letters arrived; {progress.rate:.2f} a second at most now")


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
