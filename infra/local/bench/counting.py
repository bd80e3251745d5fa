"""Counts what goes over the wire to Spanner and Pub/Sub, at the generated clients that everything goes through."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.cloud.spanner_v1.services.spanner import SpannerClient
from google.pubsub_v1.services.publisher import PublisherClient

_SPANNER_METHODS = (
    "commit",
    "batch_write",
    "begin_transaction",
    "rollback",
    "read",
    "streaming_read",
    "execute_sql",
    "execute_streaming_sql",
    "execute_batch_dml",
)
_READS = ("read", "streaming_read", "select")
_COMMITS = ("commit", "batch_write")


@dataclass(frozen=True)
class Cost:
    """Remote calls of one delivery. `other` are statements inside transactions, their begins and rollbacks."""

    commits: int
    reads: int
    publishes: int
    other: int

    @property
    def calls(self) -> int:
        """All of them."""
        return self.commits + self.reads + self.publishes + self.other


class ClientCalls:
    """Thread-safe: stages publish and read from threads of their own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: Counter[str] = Counter()

    def note(self, kind: str) -> None:
        with self._lock:
            self._seen[kind] += 1

    def take(self) -> Cost:
        """What was counted since the last time."""
        with self._lock:
            seen, self._seen = self._seen, Counter()
        known = (*_READS, *_COMMITS, "publish")
        return Cost(
            commits=sum(seen[kind] for kind in _COMMITS),
            reads=sum(seen[kind] for kind in _READS),
            publishes=seen["publish"],
            other=sum(count for kind, count in seen.items() if kind not in known),
        )


@contextlib.contextmanager
def counted() -> Iterator[ClientCalls]:
    """Count every remote call of this process inside the block."""
    calls = ClientCalls()
    with contextlib.ExitStack() as stack:
        for name in _SPANNER_METHODS:
            stack.enter_context(_wrapped(SpannerClient, name, calls))
        stack.enter_context(_wrapped(PublisherClient, "publish", calls))
        yield calls


@contextlib.contextmanager
def _wrapped(client: Any, name: str, calls: ClientCalls) -> Iterator[None]:
    original: Callable[..., Any] = getattr(client, name)

    @functools.wraps(original)
    def method(*args: Any, **kwargs: Any) -> Any:
        calls.note(kind_of(name, kwargs))
        return original(*args, **kwargs)

    setattr(client, name, method)
    try:
        yield
    finally:
        setattr(client, name, original)


def kind_of(method: str, arguments: Mapping[str, Any]) -> str:
    """The method, except for statements: a query counts as a read, and DML comes by the same methods.

    A read inside a read-write transaction is the look before a conditional update: it counts as that update's.
    """
    if method not in ("execute_sql", "execute_streaming_sql", "streaming_read"):
        return method
    request = arguments["request"]
    if method == "streaming_read":
        return "locking_read" if _is_in_a_transaction(request) else method
    sql = request["sql"] if isinstance(request, Mapping) else request.sql
    return "select" if sql.lstrip().lower().startswith(("select", "with")) else "dml"


def _is_in_a_transaction(request: Any) -> bool:
    transaction = request["transaction"] if isinstance(request, Mapping) else request.transaction
    return "id" in transaction or "read_write" in transaction.begin
