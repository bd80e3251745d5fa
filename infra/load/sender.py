"""Sends at a constant arrival rate, whatever the answers do, and measures each from the moment it was due.

A closed loop (send, wait, send) slows down with the target and so hides its worst seconds ("coordinated omission").
Here every request has its time on the clock; one that had to wait for a connection or a busy sender is late by that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import httpx

from infra.load.calls import SignedCall
from infra.local.senders import WEBHOOK_PATH

NO_ANSWER = 0
_MOST_OPEN = 2_000
"""Requests under way at once; further ones wait, and their wait counts."""
_CONNECTIONS = 256
_TIMEOUT_S = 30.0
"""CallRail's own patience is not published; whoever waits longer than this has no answer."""


@dataclass(frozen=True)
class Answer:
    """One webhook and what was said to it. Times in seconds; `due_s` counts from the start of the run."""

    call_id: str
    due_s: float
    late_s: float
    """How long after its time the sender got to it: large values mean that the sender was the bottleneck."""
    latency_s: float
    """From its time to the last byte of the answer."""
    status: int
    """HTTP status; `NO_ANSWER` when none came."""
    request_id: str = ""


def send_all(
    base_url: str, calls: Sequence[SignedCall], *, rate: float, report: Callable[[int], None]
) -> tuple[Answer, ...]:
    """Post call number n at n / rate seconds; returns when every one has its answer."""
    return tuple(asyncio.run(_send_all(base_url.rstrip("/") + WEBHOOK_PATH, calls, rate, report)))


async def _send_all(url: str, calls: Sequence[SignedCall], rate: float, report: Callable[[int], None]) -> list[Answer]:
    limits = httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS)
    room = asyncio.Semaphore(_MOST_OPEN)
    async with httpx.AsyncClient(limits=limits, timeout=_TIMEOUT_S, trust_env=False) as client:
        begun = time.perf_counter()
        tasks = []
        for call in calls:
            due = begun + call.number / rate
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            tasks.append(asyncio.create_task(_send(client, url, call, room=room, begun=begun, due=due)))
            report(call.number + 1)
        return list(await asyncio.gather(*tasks))


async def _send(
    client: httpx.AsyncClient, url: str, call: SignedCall, *, room: asyncio.Semaphore, begun: float, due: float
) -> Answer:
    headers = {"Content-Type": "application/json", "Signature": call.signature}
    async with room:
        late_s = time.perf_counter() - due
        try:
            response = await client.post(url, content=call.body, headers=headers)
            status, request_id = response.status_code, _request_id(response)
        except httpx.HTTPError:
            status, request_id = NO_ANSWER, ""
    return Answer(call.call_id, due - begun, late_s, time.perf_counter() - due, status, request_id)


def _request_id(response: httpx.Response) -> str:
    if not response.is_success:
        return ""
    return str(response.json().get("request_id", ""))
