"""Gathers messages into publish requests, without making a lone sender wait.

A batching window makes everybody wait for company, most of all the one sender who has none. Here a request waits only
until as many messages are there as requests carried lately, and the window at most; whatever arrives while one is put
together or under way travels with the next. Why this is our own code: docs/decisions/0008; figures:
docs/operations/bench.md.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

MAX_MESSAGES = 1_000  # Pub/Sub's own limit for one request
MAX_BYTES = 1_000_000
"""A request is closed when the next message would lead beyond this; a larger message travels alone."""
_LOOK_S = 0.001
"""How often a waiting request looks whether its usual company is there."""
_FADING = 0.75
"""Each smaller request lowers the expectation by a quarter: one that happened to be small does not end the habit."""

Send = Callable[[str, Sequence[Any]], Sequence[str]]
"""Publishes messages to one topic path and returns their ids in their order; any exception goes to those who wait."""


class _Pending:
    """One message and the thread that waits for its confirmation.

    A plain lock instead of a `Future`, whose conditions would take a tenth of the receiver's time.
    """

    __slots__ = ("_is_settled", "error", "is_abandoned", "message", "message_id", "path", "size")

    def __init__(self, path: str, message: Any) -> None:
        self.path = path
        self.message = message
        self.size: int = message.ByteSize()
        self.message_id = ""
        self.error: Exception | None = None
        self.is_abandoned = False
        self._is_settled = threading.Lock()
        self._is_settled.acquire()

    def settle(self) -> None:
        """Wake the one who waits; called once, with `message_id` or `error` set."""
        self._is_settled.release()

    def wait(self, timeout_s: float) -> str:
        if not self._is_settled.acquire(timeout=timeout_s):
            self.is_abandoned = True
            raise TimeoutError
        if self.error is not None:
            raise self.error
        return self.message_id


class Gatherer:
    """Thread-safe. `senders` requests at most are under way at once; their threads end with the process."""

    def __init__(self, send: Send, *, senders: int, window_s: float) -> None:
        self._send = send
        self._window_s = window_s
        self._arrived: queue.SimpleQueue[_Pending] = queue.SimpleQueue()
        self._gathering = threading.Lock()
        """One thread at a time puts a request together, and only that thread touches the two below."""
        self._held_over: _Pending | None = None
        self._expected = 1.0
        for number in range(senders):
            # Daemons: whoever published waits for the confirmation, so at the end of the process nothing is pending.
            threading.Thread(target=self._run, name=f"publish-{number}", daemon=True).start()

    def publish(self, path: str, message: Any, *, timeout_s: float) -> str:
        """The message's id, once Pub/Sub has confirmed it.

        Raises `TimeoutError`, after which the message is not sent any more unless its request is under way, and
        whatever `send` raised.
        """
        pending = _Pending(path, message)
        self._arrived.put(pending)
        return pending.wait(timeout_s)

    @property
    def waiting(self) -> int:
        """How many messages no request has taken up yet."""
        return self._arrived.qsize()

    def _run(self) -> None:
        while True:
            with self._gathering:
                batch = self._gather()
            by_path = defaultdict(list)
            for pending in batch:
                if not pending.is_abandoned:
                    by_path[pending.path].append(pending)
            for path, group in by_path.items():
                self._deliver(path, group)

    def _gather(self) -> list[_Pending]:
        """The next request's messages; waits for the first one."""
        batch = [self._held_over or self._arrived.get()]
        self._held_over = None
        self._wait_for_company()
        size = batch[0].size
        while len(batch) < MAX_MESSAGES:
            try:
                following = self._arrived.get_nowait()
            except queue.Empty:
                break
            size += following.size
            if size > MAX_BYTES:
                self._held_over = following
                break
            batch.append(following)
        self._expected = max(len(batch), self._expected * _FADING)
        return batch

    def _wait_for_company(self) -> None:
        """Until as many messages are there as requests carried lately; for a lone sender, that is at once."""
        deadline = time.monotonic() + self._window_s
        # Asleep, not at the queue: there, every message would wake this thread and take the interpreter's lock.
        while 1 + self._arrived.qsize() < int(self._expected) and time.monotonic() < deadline:
            time.sleep(_LOOK_S)

    def _deliver(self, path: str, group: Sequence[_Pending]) -> None:
        try:
            ids = self._send(path, [pending.message for pending in group])
            if len(ids) != len(group):
                raise RuntimeError("Pub/Sub confirmed another number of messages than it was given")
        except Exception as error:  # whatever it is, it belongs to those who wait
            for pending in group:
                pending.error = error
                pending.settle()
            return
        for pending, message_id in zip(group, ids, strict=True):
            pending.message_id = message_id
            pending.settle()
