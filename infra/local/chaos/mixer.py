"""Delivers twice and out of order: listens to every topic and publishes some of its messages again, some time later."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from google.api_core.exceptions import GoogleAPICallError
from google.pubsub_v1 import PublisherClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.types import PubsubMessage

from infra.local.chaos.dice import share_of
from infra.local.chaos.taps import PULL_TIMEOUT_S, acknowledge, pull, subscriber_at, tap, topic_name
from shared.gateways.channels import loopback_channel
from shared.pipeline import load_pipeline

_SHARE = 0.25
"""Of the messages, so many are published again, every third of those twice."""
_LONGEST_DELAY_S = 10.0


@dataclass
class _Copies:
    """What is to be published again, by due time."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    heap: list[tuple[float, int, str, PubsubMessage]] = field(default_factory=list)
    numbers: itertools.count[int] = field(default_factory=itertools.count)

    def add(self, due: float, topic: str, message: PubsubMessage) -> None:
        with self.lock:
            heapq.heappush(self.heap, (due, next(self.numbers), topic, message))

    def take(self, now: float) -> list[tuple[str, PubsubMessage]]:
        with self.lock:
            due = []
            while self.heap and self.heap[0][0] <= now:
                _, _, topic, message = heapq.heappop(self.heap)
                due.append((topic, message))
            return due


class Mixer:
    """Which messages are doubled, how often and how late follows from the seed and the message itself."""

    def __init__(self, env: Mapping[str, str], *, seed: int) -> None:
        self._env = env
        self._seed = seed
        self._copies = _Copies()
        self._seen: set[tuple[str, bytes, str]] = set()
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self.doubled = 0

    def start(self) -> None:
        """Subscribe to every topic that has a worker, and begin."""
        pipeline = load_pipeline()
        topics = {item.topic for service in pipeline.services.values() for item in service.subscribes}
        with subscriber_at(self._env) as subscriber:
            for topic in sorted(topics):
                tap(subscriber, topic)
        work = [(self._listen, topic) for topic in sorted(topics)]
        self._threads = [threading.Thread(target=target, args=(topic,), daemon=True) for target, topic in work]
        self._threads.append(threading.Thread(target=self._repeat, daemon=True))
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Publish what is left at once, in whatever order, and end."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _listen(self, topic: str) -> None:
        with subscriber_at(self._env) as subscriber:
            while not self._stopped.is_set():
                try:
                    messages = pull(subscriber, topic)
                except GoogleAPICallError:  # the emulator is frozen
                    time.sleep(PULL_TIMEOUT_S)
                    continue
                for received in messages:
                    self._consider(topic, received.message)
                if messages:
                    acknowledge(subscriber, topic, messages)  # a lost one brings it again, and it is known by then

    def _consider(self, topic: str, message: PubsubMessage) -> None:
        """Every message once: copies come by here too."""
        key = (topic, message.data, message.attributes.get("objectId", ""))
        if key in self._seen:
            return
        self._seen.add(key)
        share = share_of(self._seed, topic.encode() + message.data)
        if share >= _SHARE:
            return
        times = 2 if share < _SHARE / 3 else 1
        for number in range(times):
            delay_s = share_of(self._seed + number + 1, message.data) * _LONGEST_DELAY_S
            self._copies.add(time.monotonic() + delay_s, topic, message)

    def _repeat(self) -> None:
        with loopback_channel(self._env["PUBSUB_EMULATOR_HOST"]) as channel:
            publisher = PublisherClient(transport=PublisherGrpcTransport(channel=channel))
            while not self._stopped.wait(0.05):
                self._publish(publisher, self._copies.take(time.monotonic()))
            self._publish(publisher, self._copies.take(float("inf")))

    def _publish(self, publisher: PublisherClient, due: list[tuple[str, PubsubMessage]]) -> None:
        for topic, message in due:
            copy = PubsubMessage(data=message.data, attributes=dict(message.attributes))
            try:
                publisher.publish(topic=topic_name(topic), messages=[copy], timeout=5.0)
            except GoogleAPICallError:
                self._copies.add(time.monotonic() + 1.0, topic, message)
            else:
                self.doubled += 1
