"""Calls at a steady pace, and how long each took from the webhook to the CRMs, by the pipeline's own clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import httpx

from infra.local.chaos.drills import sweep_over_http
from tests.e2e.calls import PostedCall, accepted, missed_call
from tests.support.stack import LocalStack, wait_for


def paced_calls(
    stack: LocalStack, *, count: int, per_s: float, company_id: str, key: str, also: Callable[[int], None] | None = None
) -> list[PostedCall]:
    """Post `count` calls without audio; `also` is called with each call's number, between the posts."""
    begun = time.monotonic()
    posted = []
    for number in range(count):
        time.sleep(max(0.0, begun + number / per_s - time.monotonic()))
        call = missed_call(number=f"+1720555{100 + number % 100:04d}", company_id=company_id)
        posted.append(accepted(stack, call, key=key))
        if also:
            also(number)
    return posted


def seconds_taken(stack: LocalStack, calls: Sequence[PostedCall], *, tenant_id: str, timeout_s: float) -> list[float]:
    """Wait until every call is in the CRMs; how long each took."""
    return [_seconds(stack, call, tenant_id, timeout_s) for call in calls]


def _seconds(stack: LocalStack, call: PostedCall, tenant_id: str, timeout_s: float) -> float:
    lines = wait_for(
        lambda: [line for line in stack.story(call.call_id, tenant_id=tenant_id) if line.request_id == call.request_id],
        lambda found: bool(found) and found[0].request_state == "done",
        what=f"request {call.request_id} done",
        timeout_s=timeout_s,
    )
    finished_at = lines[0].request_finished_at
    assert finished_at is not None
    return (finished_at - lines[0].received_at).total_seconds()


@contextmanager
def swept(stack: LocalStack, *, every_s: float) -> Iterator[None]:
    """What Cloud Scheduler does, more often, while the block runs."""
    stopped = threading.Event()

    def sweep() -> None:
        while not stopped.wait(every_s):
            try:
                sweep_over_http(stack.env["OPERATOR_URL"])
            except httpx.HTTPError:
                continue

    thread = threading.Thread(target=sweep, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
