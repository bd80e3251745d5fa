"""Sweeps over the rows that a runner's bench left, and deliveries of what they published."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from schemas.events import CallReceived
from shared.errors import Deferred
from shared.gateways.sweep_store import SpannerSweepStore
from shared.inbox import Inbox
from shared.stage import Completed
from shared.sweeper import Sweeper, SweepReport
from tests.support.pipeline_database import OUR_TENANT
from tests.support.ports import NOON, HandClock, MemoryObjects
from tests.support.runner_bench import RECEIVED, STORED, Bench, raising


def sweeper_of(bench: Bench, **changes: Any) -> Sweeper:
    store = SpannerSweepStore(bench.database.open, bench.database.vault)
    return replace(Sweeper(store, bench.publisher, Inbox(MemoryObjects()), bench.clock), **changes)


def sweep(bench: Bench) -> dict[str, int]:
    return sweeper_of(bench).sweep().actions


def sweeps_at_once(bench: Bench, count: int) -> list[SweepReport]:
    """So many sweepers that begin in the same moment; what each of them did."""
    start = threading.Barrier(count)

    def one(_number: int) -> SweepReport:
        start.wait()
        return sweeper_of(bench).sweep()

    with ThreadPoolExecutor(max_workers=count) as pool:
        return list(pool.map(one, range(count)))


def deliver_swept(bench: Bench) -> int:
    """Deliver what the sweeper published last, as it published it."""
    message = bench.publisher.messages[-1]
    return bench.deliver(RECEIVED, swept=message.attributes["swept"])


def works(bench: Bench) -> None:
    bench.behave = lambda _context: Completed(next_event=STORED)


def long_after(bench: Bench) -> Sweeper:
    """A sweeper to whose clock every commit timestamp of this test is old: commit timestamps are Spanner's own."""
    return sweeper_of(bench, now=HandClock(datetime.now(UTC) + timedelta(days=1)))


def deferred_runs(bench: Bench, count: int, *, tenant_id: str = OUR_TENANT.tenant_id) -> list[CallReceived]:
    """Runs of that many requests, all of them due."""
    bench.behave = raising(Deferred("crm_quota", "soon", until=NOON))
    events = [
        RECEIVED.model_copy(update={"tenant_id": tenant_id, "request_id": f"r-{number:016d}"})
        for number in range(count)
    ]
    for event in events:
        assert bench.deliver(event) == 204
    bench.clock.advance(1)
    return events
