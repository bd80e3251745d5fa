"""Drills: one thing goes wrong, on purpose and for a known time, and the answers are measured."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from google.api_core.exceptions import DeadlineExceeded, GoogleAPICallError
from google.pubsub_v1 import SubscriberClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from google.pubsub_v1.types import Subscription

from handlers.signature import callrail_signature
from infra.local.chaos.saboteur import frozen
from infra.local.plan import PROJECT_ID
from infra.local.senders import WEBHOOK_PATH, encode, new_call_id
from shared.deliveries import parse_event
from shared.errors import InvalidEvent
from shared.gateways.channels import loopback_channel

_SENDERS = 64
_MANY = httpx.Limits(max_connections=_SENDERS)
_TOPIC = f"projects/{PROJECT_ID}/topics/call-received"
_TAP = f"projects/{PROJECT_ID}/subscriptions/drill-call-received"
_PULL_TIMEOUT_S = 1.0
_LOOK_EVERY_S = 0.2


@dataclass(frozen=True)
class Told:
    """One webhook and what its sender was told. `request_id` is empty when nothing was promised."""

    call_id: str
    status: int
    seconds: float
    request_id: str
    message: str
    while_frozen: bool


@dataclass
class DrillLoad:
    """Paced senders of webhooks that need no more than the first stage (pre-call: "the phone rings")."""

    base_url: str
    company_id: str
    key: str
    per_s: float
    told: list[Told] = field(default_factory=list)
    is_frozen: threading.Event = field(default_factory=threading.Event)
    _stop: threading.Event = field(default_factory=threading.Event)
    _client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=30.0, trust_env=False, limits=_MANY))

    @contextmanager
    def running(self) -> Iterator[None]:
        """Send while the block runs, then wait for the last answer."""
        with ThreadPoolExecutor(max_workers=_SENDERS, thread_name_prefix="drill") as pool:
            pacer = threading.Thread(target=self._pace, args=(pool,), daemon=True)
            pacer.start()
            try:
                yield
            finally:
                self._stop.set()
                pacer.join()
        self._client.close()

    def _pace(self, pool: ThreadPoolExecutor) -> None:
        while not self._stop.wait(1 / self.per_s):
            pool.submit(self._post)

    def _post(self) -> None:
        call_id = new_call_id()
        body = {
            "resource_id": call_id,
            "company_resource_id": self.company_id,
            "customer_phone_number": "+13035550142",
            "answered": False,
            "call_type": "missed",
        }
        content = encode(body)
        headers = {"Content-Type": "application/json", "Signature": callrail_signature(self.key, content)}
        was_frozen, begun = self.is_frozen.is_set(), time.monotonic()
        answer = self._client.post(f"{self.base_url}{WEBHOOK_PATH}", content=content, headers=headers)
        seconds = time.monotonic() - begun
        document = answer.json()
        request_id = document["request_id"] if answer.is_success else ""
        message = document.get("message", "")
        self.told.append(Told(call_id, answer.status_code, seconds, request_id, message, was_frozen))


@dataclass(frozen=True)
class Outage:
    """What an outage did to the senders and to what they had sent."""

    told: tuple[Told, ...]
    lasted_s: float
    inbox_at_the_end: int
    """Objects that waited in the inbox when the outage was over."""
    inbox_empty_after_s: float
    """From the end of the outage."""
    doubled: int
    """Messages that came a second time."""

    @property
    def promised(self) -> dict[str, str]:
        """Request of each call that was answered 2xx: none of them may be lost."""
        return {one.call_id: one.request_id for one in self.told if one.request_id}

    @property
    def slowest_s(self) -> float:
        return max(one.seconds for one in self.told)

    def statuses(self) -> Counter[int]:
        return Counter(one.status for one in self.told)

    def line(self) -> str:
        """For people."""
        statuses = ", ".join(f"{count} × {status}" for status, count in sorted(self.statuses().items()))
        return (
            f"frozen for {self.lasted_s:.1f} s: {len(self.told)} sent ({statuses}), slowest answer "
            f"{self.slowest_s:.2f} s, {self.inbox_at_the_end} in the inbox, empty {self.inbox_empty_after_s:.1f} s "
            f"after the end, {self.doubled} doubled"
        )


def outage_of(
    pids: Mapping[str, int],
    load: DrillLoad,
    *,
    pubsub_address: str,
    freeze_s: float,
    inbox: Callable[[], list[str]],
    sweep: Callable[[], object],
    around_s: float = 1.0,
    empty_within_s: float = 120.0,
) -> Outage:
    """Freeze the processes for `freeze_s` seconds under load, with `around_s` seconds of load before and after.

    `sweep` is called about every second from the end of the outage on, as Cloud Scheduler would. Raises `TimeoutError`
    when the inbox is not empty in time.
    """
    with _counting_messages(pubsub_address) as messages, load.running():
        time.sleep(around_s)
        with ExitStack() as stack:
            for pid in pids.values():
                stack.enter_context(frozen(pid))
            load.is_frozen.set()
            begun = time.monotonic()
            time.sleep(freeze_s)
        ended = time.monotonic()
        load.is_frozen.clear()
        kept = len(inbox())
        time.sleep(around_s)
    emptied = _empty(inbox, sweep, ends_at=ended + empty_within_s)
    return Outage(
        told=tuple(load.told),
        lasted_s=ended - begun,
        inbox_at_the_end=kept,
        inbox_empty_after_s=emptied - ended,
        doubled=sum(messages.values()) - len(messages),
    )


def _empty(inbox: Callable[[], list[str]], sweep: Callable[[], object], *, ends_at: float) -> float:
    """Sweep until nothing is left; when that was. A sweep begins with the inbox and goes on with the tenants."""
    with ThreadPoolExecutor(1) as pool:
        while time.monotonic() < ends_at:
            sweeping = pool.submit(sweep)
            while not wait((sweeping,), timeout=_LOOK_EVERY_S).done:
                if not inbox():
                    return time.monotonic()
            sweeping.result()
            if not inbox():
                return time.monotonic()
            time.sleep(1.0)
    raise TimeoutError("the inbox is not empty")


@contextmanager
def _counting_messages(pubsub_address: str) -> Iterator[Counter[str]]:
    """How often each request's event passes the first topic while the block runs, and shortly after it."""
    counted: Counter[str] = Counter()
    stop = threading.Event()
    with loopback_channel(pubsub_address) as channel:
        subscriber = SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
        subscriber.create_subscription(request=Subscription(name=_TAP, topic=_TOPIC, ack_deadline_seconds=600))
        counter = threading.Thread(target=_count, args=(subscriber, counted, stop), daemon=True)
        counter.start()
        try:
            yield counted
        finally:
            stop.set()
            counter.join()
            subscriber.delete_subscription(subscription=_TAP)


def _count(subscriber: SubscriberClient, counted: Counter[str], stop: threading.Event) -> None:
    seen: set[str] = set()
    while not stop.is_set():
        for message in _pull(subscriber):
            if message.message_id in seen:  # delivered again, not published again
                continue
            seen.add(message.message_id)
            try:
                counted[parse_event(message.data).request_id] += 1
            except InvalidEvent:
                continue


def _pull(subscriber: SubscriberClient) -> list[Any]:
    try:
        answer = subscriber.pull(subscription=_TAP, max_messages=500, timeout=_PULL_TIMEOUT_S, retry=None)
        received = list(answer.received_messages)
        if received:
            subscriber.acknowledge(subscription=_TAP, ack_ids=[one.ack_id for one in received], timeout=_PULL_TIMEOUT_S)
    except DeadlineExceeded:
        return []
    except GoogleAPICallError:
        time.sleep(_PULL_TIMEOUT_S)
        return []
    return [one.message for one in received]


def sweep_over_http(operator_url: str) -> None:
    """What Cloud Scheduler asks for."""
    httpx.post(f"{operator_url}/internal/sweep", timeout=120.0, trust_env=False).raise_for_status()
