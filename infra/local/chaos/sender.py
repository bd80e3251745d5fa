"""Posts the run's webhooks as CallRail does: signed, and again until somebody has answered with 2xx."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from infra.local.chaos.calls import PlannedCall, Post
from infra.local.chaos.tenants import ChaosTenant
from infra.local.senders import encode, post_webhook
from shared.errors import ConfigurationError
from shared.gateways.http import tls_context

_SENDERS = 16
_AGAIN_AFTER_S = 0.5
_GIVE_UP_AFTER_S = 120.0
_RECORDING_BYTES = 16_044
"""One second of 16-bit mono at 8 kHz with its header: the stand-in makes the silence itself."""


@dataclass(frozen=True)
class Accepted:
    """A webhook that was answered 2xx: from here on it is ours."""

    tenant: str
    call_id: str
    kind: str
    request_id: str


@dataclass
class Ledger:
    """What the senders were told. Thread-safe enough: lists only grow."""

    accepted: list[Accepted] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    """Statuses of answers that were not 2xx, `no answer`, `no recording` (CallRail was away): sent again after each."""
    given_up: list[Post] = field(default_factory=list)
    """Webhooks that nobody took until the sender gave up."""


class Sender:
    """Sends planned posts at their times; `finish` returns when the last one was taken."""

    def __init__(
        self, env: Mapping[str, str], tenants: Sequence[ChaosTenant], calls: Sequence[PlannedCall], *, begun: float
    ) -> None:
        self.ledger = Ledger()
        self._env = env
        self._keys = {tenant.tenant_id: tenant.webhook_secret for tenant in tenants}
        self._calls = {call.call_id: call for call in calls}
        self._begun = begun
        self._begun_at = datetime.now(UTC)
        self._recordings: dict[str, str] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(max_workers=_SENDERS, thread_name_prefix="sender")
        self._abandoned = threading.Event()

    def __enter__(self) -> Sender:
        return self

    def __exit__(self, *_raised: object) -> None:
        """After Ctrl-C or a failure nobody tries again: the interpreter would wait for them, two minutes each."""
        self._abandoned.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def send(self, posts: Sequence[Post], *, report: Callable[[int], None]) -> None:
        """Hand each post to a sender thread at its time; returns after the last one was handed over."""
        for number, post in enumerate(posts, 1):
            time.sleep(max(0.0, self._begun + post.at_s - time.monotonic()))
            self._pool.submit(self._deliver, post)
            report(number)

    def finish(self) -> Ledger:
        """Wait for every answer."""
        self._pool.shutdown(wait=True)
        return self.ledger

    def _deliver(self, post: Post) -> None:
        ends_at = time.monotonic() + _GIVE_UP_AFTER_S
        while time.monotonic() < ends_at and not self._abandoned.is_set():
            told = self._post_once(post)
            if told is None:
                return
            self.ledger.refused.append(told)
            self._abandoned.wait(_AGAIN_AFTER_S)
        self.ledger.given_up.append(post)

    def _post_once(self, post: Post) -> str | None:
        """None when it was taken, else what was said instead. The same to the byte every time."""
        try:
            body = encode(self._complete(post))
        except httpx.HTTPError:
            return "no recording"
        try:
            answer = post_webhook(self._env["WEBHOOK_URL"], body, key=self._keys[post.tenant])
        except ConfigurationError:
            return "no answer"
        if not answer.is_success:
            return str(answer.status_code)
        self.ledger.accepted.append(Accepted(post.tenant, post.call, post.kind, answer.json()["request_id"]))
        return None

    def _complete(self, post: Post) -> dict[str, Any]:
        """The body with the call's start (it ended just before its first webhook) and the link to its recording."""
        call = self._calls[post.call]
        started_at = self._begun_at + timedelta(seconds=round(call.posts[0].at_s) - 2)
        body = {**post.body, "start_time": started_at.isoformat(timespec="seconds")}
        if post.with_recording:
            body |= {"recording": self._put_recording(call), "recording_duration": 1}
        return body

    def _put_recording(self, call: PlannedCall) -> str:
        with self._lock:
            if call.call_id not in self._recordings:
                answer = httpx.post(
                    f"{self._env['CALLRAIL_URL']}/_standin/recordings",
                    json={
                        "call_id": call.call_id,
                        "synthetic_bytes": _RECORDING_BYTES,
                        "content_type": "audio/wav",
                        "ready_after": call.ready_after,
                    },
                    timeout=30.0,
                    trust_env=False,
                    verify=tls_context(),
                )
                self._recordings[call.call_id] = str(answer.raise_for_status().json()["recording"])
            return self._recordings[call.call_id]
