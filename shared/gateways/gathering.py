"""Gathers messages into publish requests: whatever arrives while one request is under way travels with the next.

A batching window makes every sender wait, most of all the only one. Here nobody waits for company: an idle sender
thread takes a message at once, and the busier the process, the fuller the requests get by themselves
(docs/operations/bench.md has the figures).
"""

from __future__ import annotations

import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

MAX_MESSAGES = 1_000  # Pub/Sub's own limit for one request
MAX_BYTES = 1_000_000
"""A request is closed when the next message would lead beyond this; a larger message travels alone."""

Send = Callable[[str, Sequence[Any]], Sequence[str]]
"""Publishes messages to one topic path and returns their ids in their order; any exception goes to those who wait."""


@dataclass(frozen=True, slots=True)
class _Pending:
    path: str
    message: Any
    size: int
    confirmed: Future[str] = field(default_factory=Future)


class Gatherer:
    """Thread-safe. `senders` requests at most are under way at once; their threads end with the process."""

    def __init__(self, send: Send, *, senders: int, window_s: float) -> None:
        """`window_s` makes each request wait that long for company; 0 sends what is there."""
        self._send = send
        self._window_s = window_s
        self._pending: queue.SimpleQueue[_Pending] = queue.SimpleQueue()
        for number in range(senders):
            # Daemons: whoever published waits for the confirmation, so at the end of the process nothing is pending.
            threading.Thread(target=self._run, name=f"publish-{number}", daemon=True).start()

    def put(self, path: str, message: Any) -> Future[str]:
        """The message's future id. Cancelling it takes the message back unless its request is under way."""
        pending = _Pending(path, message, message.ByteSize())
        self._pending.put(pending)
        return pending.confirmed

    def _run(self) -> None:
        held_over: _Pending | None = None
        usual = 1
        while True:
            batch, held_over = self._gather(held_over or self._pending.get(), usual)
            usual = len(batch)
            by_path = defaultdict(list)
            for pending in batch:
                if pending.confirmed.set_running_or_notify_cancel():
                    by_path[pending.path].append(pending)
            for path, group in by_path.items():
                self._deliver(path, group)

    def _gather(self, first: _Pending, usual: int) -> tuple[list[_Pending], _Pending | None]:
        """One request's worth, and the message that no longer fitted."""
        batch, size = [first], first.size
        deadline = time.monotonic() + self._window_s if usual > 1 else 0.0
        while len(batch) < MAX_MESSAGES:
            try:
                following = self._next(deadline if len(batch) < usual else 0.0)
            except queue.Empty:
                break
            if size + following.size > MAX_BYTES:
                return batch, following
            batch.append(following)
            size += following.size
        return batch, None

    def _next(self, deadline: float) -> _Pending:
        remaining = deadline - time.monotonic() if deadline else 0.0
        return self._pending.get(timeout=remaining) if remaining > 0 else self._pending.get_nowait()

    def _deliver(self, path: str, group: Sequence[_Pending]) -> None:
        try:
            ids = self._send(path, [pending.message for pending in group])
            if len(ids) != len(group):
                raise RuntimeError("Pub/Sub confirmed another number of messages than it was given")
        except Exception as error:  # whatever it is, it belongs to those who wait
            for pending in group:
                pending.confirmed.set_exception(error)
            return
        for pending, message_id in zip(group, ids, strict=True):
            pending.confirmed.set_result(message_id)
