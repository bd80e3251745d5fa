"""What one call costs at Spanner and Pub/Sub, stage by stage: RPCs counted at Google's own clients.

One call warms the caches up, the next one is counted. The runners are the real ones, with real gateways, against the
stack's emulators and stand-ins; only the way from one stage to the next is ours instead of a push.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from infra.local.demo.calls import sample_calls
from schemas.events import CallReceived, Event, TranscriptionOutput
from shared.deliveries import Delivery, parse_event
from shared.names import first_request_id, transcript_prefix
from shared.runner import Runner
from shared.settings import Settings, load_settings

SAMPLE = "burst-pipe.mp3"
"""A two-channel call: what most deployments see."""
_OUTPUT_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Cost:
    """RPCs of one delivered message."""

    commits: int
    reads: int
    publishes: int
    dml: int


@dataclass(frozen=True)
class Target:
    """The most that is allowed; `why` names the checkpoints in it."""

    commits: int
    reads: int
    publishes: int
    why: str


TARGETS: Mapping[str, Target] = {
    "download": Target(2, 1, 1, "claim, record"),
    "transcribe.submit": Target(3, 1, 0, "claim, Speech's operation, wait"),
    "transcribe.collect": Target(2, 1, 1, "claim, record"),
    "analyze": Target(2, 1, 1, "claim, record"),
    "crm_sync": Target(4, 1, 1, "claim, one checkpoint for each of two CRMs, record"),
}


def count_costs(env: Mapping[str, str], *, report: Callable[[str], None]) -> dict[str, Cost]:
    """Costs by stage of one two-channel call. Needs the stack's environment applied to this process."""
    from handlers import wiring

    settings = load_settings()
    runners = {name: wiring.runner_of(name, settings) for name in ("download", "transcribe", "analyze", "crm_sync")}
    with _counted() as counter:
        walks = [_Walk(settings, env, runners, counter) for _ in range(2)]
        for step in TARGETS:
            for walk, name in zip(walks, ("warm-up", "measured"), strict=True):
                report(f"counting {step}: {name} call")
                walk.take(step)
    return walks[1].costs


class _Walk:
    """One call on its way through the stages, step by step."""

    def __init__(
        self, settings: Settings, env: Mapping[str, str], runners: Mapping[str, Runner], counter: _Counter
    ) -> None:
        call = next(one for one in sample_calls(env["CALLRAIL_URL"]) if one.audio and one.audio.name == SAMPLE)
        self.costs: dict[str, Cost] = {}
        self._settings = settings
        self._runners = runners
        self._counter = counter
        self._tenant_id = env["DEMO_TENANT_ID"]
        self._request_id = first_request_id(self._tenant_id, call.call_id)
        self._event: Event = CallReceived(
            tenant_id=self._tenant_id,
            request_id=self._request_id,
            call_id=call.call_id,
            kind="post_call",
            received_at=datetime.now(UTC),
            payload=dict(call.payload),
        )

    def take(self, step: str) -> None:
        """Deliver the next message of this call and count what it costs."""
        event = self._notice() if step == "transcribe.collect" else self._event
        data = event.model_dump_json().encode()
        attributes = event.attributes() if isinstance(event, Event) else {"objectId": event.object_name}
        self._counter.start()
        status = (
            self._runners[step.partition(".")[0]].handle(Delivery("bench", data, attributes, "bench"), event).status
        )
        self.costs[step] = self._counter.stop()
        if status != 204:
            raise RuntimeError(f"{step} answered {status}")
        if self.costs[step].publishes:
            self._event = self._counter.last_event()

    def _notice(self) -> TranscriptionOutput:
        prefix = transcript_prefix(self._tenant_id, self._request_id)
        name = _wait_for_output(self._settings, prefix)
        return TranscriptionOutput(tenant_id=self._tenant_id, request_id=self._request_id, object_name=name)


def _wait_for_output(settings: Settings, prefix: str) -> str:
    from handlers import wiring

    ends_at = time.monotonic() + _OUTPUT_TIMEOUT_S
    while time.monotonic() < ends_at:
        names = [name for name in wiring.objects(settings).list_names(prefix) if name.endswith(".json")]
        if names:
            return names[0]
        time.sleep(0.1)
    raise RuntimeError("Speech's stand-in wrote no output")


class _Counter:
    """Counts calls of the generated clients' methods, and keeps what was published."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._published: list[bytes] = []

    def note(self, method: str) -> None:
        with self._lock:
            self._counts[method] += 1

    def note_published(self, data: list[bytes]) -> None:
        with self._lock:
            self._counts["publish"] += len(data)
            self._published += data

    def start(self) -> None:
        with self._lock:
            self._counts.clear()

    def stop(self) -> Cost:
        with self._lock:
            counts = Counter(self._counts)
        return Cost(
            commits=counts["commit"],
            reads=counts["execute_streaming_sql"] + counts["streaming_read"] + counts["read"],
            publishes=counts["publish"],
            dml=counts["execute_sql"] + counts["execute_batch_dml"],
        )

    def last_event(self) -> Event:
        with self._lock:
            return parse_event(self._published[-1])


_SPANNER_METHODS = ("commit", "execute_sql", "execute_batch_dml", "execute_streaming_sql", "streaming_read", "read")


@contextmanager
def _counted() -> Iterator[_Counter]:
    """Wrap the clients' methods for the length of the block."""
    from google.cloud.spanner_v1 import SpannerClient
    from google.pubsub_v1 import PublisherClient

    counter = _Counter()
    originals: list[tuple[type, str, Any]] = []

    def wrap(owner: type, name: str, note: Callable[[Any, Any], None]) -> None:
        original = getattr(owner, name)
        originals.append((owner, name, original))

        def counting(self: Any, *arguments: Any, **options: Any) -> Any:
            note(arguments, options)
            return original(self, *arguments, **options)

        setattr(owner, name, counting)

    def note_publish(arguments: Any, options: Any) -> None:
        request = options.get("request") or (arguments[0] if arguments else None)
        messages = options.get("messages") or getattr(request, "messages", ())
        counter.note_published([bytes(message.data) for message in messages])

    def noting(name: str) -> Callable[[Any, Any], None]:
        return lambda _arguments, _options: counter.note(name)

    for name in _SPANNER_METHODS:
        wrap(SpannerClient, name, noting(name))
    wrap(PublisherClient, "publish", note_publish)
    try:
        yield counter
    finally:
        for owner, name, original in originals:
            setattr(owner, name, original)
