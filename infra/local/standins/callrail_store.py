"""What the CallRail stand-in holds: recordings, calls, keys, its request budget, and what it was asked."""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

LOCAL_API_KEY = "local-callrail-api-key"
"""The key a fresh stand-in accepts; the local stack stores it as the demo tenants' secret."""
_BLOCK = bytes(64 * 1024)
_WAV_HEADER_BYTES = 44
_SAMPLE_RATE = 8000


@dataclass(frozen=True)
class Recording:
    """One call's audio: given bytes, a file, or `synthetic_bytes` of silence made while it is sent."""

    call_id: str
    data: bytes = b""
    path: Path | None = None
    synthetic_bytes: int = 0
    content_type: str = "audio/mpeg"
    access_key: str = ""
    """Empty means that any access key opens the link."""
    not_ready_for: int = 0
    """How many more requests are told that it is not there yet."""

    @property
    def size(self) -> int:
        return self.synthetic_bytes or (self.path.stat().st_size if self.path else len(self.data))

    def blocks(self) -> Iterator[bytes]:
        """The audio in blocks, never whole in memory unless it was given so."""
        if self.synthetic_bytes:
            yield from _silent_wav(self.synthetic_bytes)
        elif self.path:
            with self.path.open("rb") as file:
                while block := file.read(len(_BLOCK)):
                    yield block
        else:
            yield from (self.data[at : at + len(_BLOCK)] for at in range(0, len(self.data), len(_BLOCK)))


@dataclass(frozen=True)
class Asked:
    """One request as the stand-in saw it; keys are noted by presence, never by value."""

    operation: str
    call_id: str
    with_api_key: bool


@dataclass(frozen=True)
class Company:
    """A company with its one *Webhooks* integration; no signing key means that nobody has made it yet."""

    company_id: str
    name: str
    status: str = "active"
    integration_id: str = ""
    signing_key: str = field(default="", repr=False)
    state: str = "active"
    urls: dict[str, list[str]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {"id": self.company_id, "name": self.name, "status": self.status, "time_zone": "America/Denver"}

    def integration(self) -> dict[str, Any]:
        """As the list shows it: without the signing key, which is given only when asked for by name."""
        return {"id": self.integration_id, "type": "Webhooks", "state": self.state, "config": self.urls}


@dataclass(frozen=True)
class WebhookTarget:
    """Where a company's webhooks go, as set on CallRail's screen."""

    url: str
    """The receiver's address without a path."""
    key: str
    """The company's signing key."""


@dataclass
class CallRailStore:
    """Thread-safe; everything a test may assert on is in `state()`."""

    api_keys: set[str] = field(default_factory=lambda: {LOCAL_API_KEY})
    restricted_keys: set[str] = field(default_factory=set)
    """Keys of users who are no administrators: integrations are forbidden to them."""
    recordings: dict[str, Recording] = field(default_factory=dict)
    calls: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    """By account id and call id."""
    companies: dict[tuple[str, str], Company] = field(default_factory=dict)
    """By account id and company id."""
    asked: list[Asked] = field(default_factory=list)
    budget: int | None = None
    """API requests left before 429; None means no limit."""
    target: WebhookTarget | None = None
    """None: the stand-in sends no webhooks, and tests post their own."""
    webhooks: dict[str, str] = field(default_factory=dict)
    """By call id: `sent <status>`, or `dropped`, and nobody tries again (callrail.md: no retries are documented)."""
    lock: threading.RLock = field(default_factory=threading.RLock)

    def note(self, operation: str, call_id: str, *, with_api_key: bool) -> None:
        with self.lock:
            self.asked.append(Asked(operation, call_id, with_api_key))

    def spend(self) -> bool:
        """Take one request from the budget; False when it is used up."""
        with self.lock:
            if self.budget is None:
                return True
            self.budget -= 1
            return self.budget >= 0

    def accept_keys(self, keys: set[str]) -> None:
        """From now on only these."""
        with self.lock:
            self.api_keys = keys

    def add_key(self, key: str, *, is_restricted: bool) -> None:
        with self.lock:
            self.api_keys.add(key)
            if is_restricted:
                self.restricted_keys.add(key)

    def set_budget(self, requests: int | None) -> None:
        with self.lock:
            self.budget = requests

    def send_webhooks_to(self, target: WebhookTarget | None) -> None:
        with self.lock:
            self.target = target

    def recording_if_ready(self, call_id: str) -> Recording | None:
        """The recording, or None while it is unknown or still counted down to readiness."""
        with self.lock:
            recording = self.recordings.get(call_id)
            if recording is not None and recording.not_ready_for > 0:
                self.recordings[call_id] = replace(recording, not_ready_for=recording.not_ready_for - 1)
                return None
            return recording

    def put_recording(self, recording: Recording) -> None:
        with self.lock:
            self.recordings[recording.call_id] = recording

    def put_call(self, account_id: str, call: dict[str, Any]) -> None:
        with self.lock:
            self.calls[account_id, str(call["id"])] = call

    def remove_call(self, call_id: str) -> None:
        """Take a call out of every list, as CallRail does with one that a person marked as spam."""
        with self.lock:
            for key in [key for key in self.calls if key[1] == call_id]:
                del self.calls[key]

    def calls_of(self, account_id: str) -> list[dict[str, Any]]:
        """Newest first, as CallRail lists them."""
        with self.lock:
            mine = [call for (account, _), call in self.calls.items() if account == account_id]
        return sorted(mine, key=lambda call: str(call.get("start_time", "")), reverse=True)

    def put_company(self, account_id: str, company: Company) -> None:
        with self.lock:
            self.companies[account_id, company.company_id] = company

    def integration(self, account_id: str, integration_id: str) -> Company | None:
        """The company whose integration has this id."""
        with self.lock:
            mine = [company for (account, _), company in self.companies.items() if account == account_id]
        return next((company for company in mine if company.integration_id == integration_id), None)

    def account_ids(self) -> list[str]:
        with self.lock:
            return sorted({account for account, _ in (*self.calls, *self.companies)})

    def state(self) -> dict[str, Any]:
        with self.lock:
            return {
                "recordings": {key: {"size": item.size} for key, item in self.recordings.items()},
                "calls": [{"account_id": account, **call} for (account, _), call in self.calls.items()],
                "companies": [company.as_json() for company in self.companies.values()],
                "requests": [vars(item) for item in self.asked],
                "budget": self.budget,
                "webhooks": dict(self.webhooks),
            }

    def reset(self) -> None:
        with self.lock:
            self.api_keys = {LOCAL_API_KEY}
            self.recordings.clear()
            self.calls.clear()
            self.companies.clear()
            self.restricted_keys.clear()
            self.asked.clear()
            self.budget = None
            self.target = None
            self.webhooks.clear()

    @contextmanager
    def standing_still(self) -> Iterator[dict[str, Any]]:
        """Every field but the lock; see keeping.py."""
        with self.lock:
            yield {item.name: getattr(self, item.name) for item in fields(self) if item.name != "lock"}

    def take_up(self, kept: Mapping[str, Any]) -> None:
        with self.lock:
            for name, value in kept.items():
                setattr(self, name, value)


def _silent_wav(total: int) -> Iterator[bytes]:
    """A valid mono 8 kHz 16-bit WAV file of exactly `total` bytes."""
    samples = max(total - _WAV_HEADER_BYTES, 0)
    yield struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", samples + 36, b"WAVE", b"fmt ", 16, 1, 1, _SAMPLE_RATE, _SAMPLE_RATE * 2, 2, 16, b"data", samples),
    )
    while samples > 0:
        yield _BLOCK[:samples]
        samples -= len(_BLOCK)
