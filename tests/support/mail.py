"""Pub/Sub in small, for tests that decide how often a message comes: delivers until it is acknowledged."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Literal

from handlers.push import StageTaker
from schemas.events import CallReceived
from shared.deliveries import Delivery
from shared.names import transcript_prefix
from tests.support.flaky import BUCKET, Chain
from tests.support.ports import MemoryPublisher, Message

Step = Literal["download", "submit", "collect", "analyze", "crm_sync"]
Way = Literal["once", "twice", "at once"]

STEPS: tuple[Step, ...] = ("download", "submit", "collect", "analyze", "crm_sync")
_STEP_OF_TOPIC: Mapping[str, Step] = {
    "call-received": "download",
    "recording-stored": "submit",
    "call-transcribed": "analyze",
    "call-analyzed": "crm_sync",
}
_MOST_DELIVERIES = 20
"""As infra/pipeline.json: after that Pub/Sub would call it a dead letter."""


@dataclass
class Mail:
    """Carries one call through all steps; `at` is the step whose messages come in the given `way`."""

    chain: Chain
    way: Way = "once"
    at: Step = "download"
    trouble: AbstractContextManager[object] = field(default_factory=nullcontext)
    """Entered around the first message of the step."""
    publish_failures: int = 0
    """How many publishes of the step fail."""
    publisher: MemoryPublisher = field(default_factory=MemoryPublisher)

    def carry(self, event: CallReceived) -> None:
        """Deliver the event and everything that follows from it, until nothing is left."""
        first = Message(event.topic, event.model_dump_json().encode(), event.attributes())
        queue: deque[tuple[Step, Delivery]] = deque([("download", _delivery(first))])
        while queue:
            step, delivery = queue.popleft()
            seen = len(self.publisher.messages)
            self._deliver(step, delivery)
            if step == "submit":
                queue += [("collect", notice) for notice in self._notices(event)]
            queue += [
                (_STEP_OF_TOPIC[message.topic], _delivery(message))
                for message in self.publisher.messages[seen:]
                if message.topic in _STEP_OF_TOPIC
            ]

    def _deliver(self, step: Step, delivery: Delivery) -> None:
        take = self._taker(step)
        if step != self.at:
            _until_acknowledged(take, delivery)
            return
        trouble, self.trouble = self.trouble, nullcontext()
        self.publisher.failing, self.publish_failures = self.publish_failures, 0
        with trouble:
            if self.way == "at once":
                _side_by_side(take, delivery)
            _until_acknowledged(take, delivery)
            if self.way == "twice":
                _until_acknowledged(take, delivery)
        assert self.publisher.failing == 0, "no publish of this step failed"

    def _taker(self, step: Step) -> Callable[[Delivery], int]:
        stage = "transcribe" if step in ("submit", "collect") else step
        runner = replace(self.chain.runners[stage], publisher=self.publisher)
        taker = StageTaker(runner=runner, audio_bucket=BUCKET)
        book = self.chain.neighbours.speech.book

        def take(delivery: Delivery) -> int:
            status = taker(delivery).status
            book.wait_until_idle()  # Pub/Sub's back-off is long: what was started has ended when a message comes again
            return status

        return take

    def _notices(self, event: CallReceived) -> list[Delivery]:
        """What Cloud Storage would announce: one notice for each output object of the request."""
        names = self.chain.objects.list_names(transcript_prefix(event.tenant_id, event.request_id))
        return [
            Delivery(
                f"notice-{name}", b"{}", {"eventType": "OBJECT_FINALIZE", "bucketId": BUCKET, "objectId": name}, "s"
            )
            for name in names
        ]


def _delivery(message: Message) -> Delivery:
    return Delivery("m-1", message.data, message.attributes, "projects/p/subscriptions/s")


def _until_acknowledged(take: Callable[[Delivery], int], delivery: Delivery) -> None:
    statuses: list[int] = []
    while len(statuses) < _MOST_DELIVERIES:
        statuses.append(take(delivery))
        if statuses[-1] < 300:
            return
    raise AssertionError(f"never acknowledged: {statuses}")


def _side_by_side(take: Callable[[Delivery], int], delivery: Delivery) -> None:
    """Two workers get the same message in the same moment; who was refused gets it again later."""
    start = threading.Barrier(2)

    def worker() -> int:
        start.wait()
        return take(delivery)

    with ThreadPoolExecutor(max_workers=2) as pool:
        statuses = [future.result() for future in [pool.submit(worker), pool.submit(worker)]]
    assert min(statuses) < 300, statuses
