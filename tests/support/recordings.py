"""What tests of the audio path share: the CallRail stand-in running, a tenant, secrets in a dict."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from infra.local.standins.callrail import create_app
from infra.local.standins.callrail_store import LOCAL_API_KEY, CallRailStore, Recording
from infra.local.standins.serving import serve_in_thread
from schemas.tenant import Tenant, TenantConfig
from shared.errors import TenantBlocked
from shared.gateways.recordings import CallRailRecordings

CALL = "CAL019aa0c4d1f07b2e9c3d5a6f70819203"
ACCOUNT = "ACC019a1111222273338444555566667777"
ACCESS_KEY = "s3cr3t-access-key"
WEBHOOK_LINK = f"https://app.callrail.com/calls/{CALL}/recording/redirect?access_key={ACCESS_KEY}"
KEY_SECRET = "tenant-a-callrail-key"


class DictSecrets:
    """`Secrets` in memory: `stale` is what a cache would still hand out before `reread`."""

    def __init__(self, values: dict[str, str], *, stale: dict[str, str] | None = None) -> None:
        self._values = values
        self._cached = {**values, **(stale or {})}

    def read(self, name: str) -> str:
        if name not in self._cached:
            raise TenantBlocked("secret_missing", f"secret {name} does not exist")
        return self._cached[name]

    def reread(self, name: str) -> str:
        self._cached[name] = self._values[name]
        return self.read(name)

    def write(self, name: str, value: str) -> None:
        self._values[name] = self._cached[name] = value


def tenant(*, with_api: bool = True, **recordings: Any) -> Tenant:
    """A tenant; `recordings` are its `RecordingConfig` fields."""
    api = {"callrail_account_id": ACCOUNT, "callrail_api_key_secret": KEY_SECRET} if with_api else {}
    config = TenantConfig.model_validate(
        {"callrail_company_ids": ["COM1"], "webhook_secret_names": ["signing"], "recordings": recordings, **api}
    )
    return Tenant(tenant_id="tenant-a", name="Tenant A", config=config)


@dataclass(frozen=True)
class CallRail:
    """The stand-in as tests use it."""

    url: str
    store: CallRailStore

    def holds(self, data: bytes, **options: Any) -> None:
        """Register the audio of `CALL`."""
        self.store.put_recording(Recording(call_id=CALL, data=data, **options))

    def misbehaves(self, *rules: dict[str, Any]) -> None:
        httpx.post(f"{self.url}/_standin/faults", json=list(rules), trust_env=False).raise_for_status()

    def asked(self) -> list[tuple[str, bool]]:
        """Operations in order, each with whether the API key came along."""
        return [(item.operation, item.with_api_key) for item in self.store.asked]

    def recordings(self, **options: Any) -> CallRailRecordings:
        """The production gateway, pointed at this stand-in."""
        given: dict[str, Any] = {
            "secrets": DictSecrets({KEY_SECRET: LOCAL_API_KEY}),
            "max_bytes": 10_000_000,
            "local_base_url": self.url,
            "read_timeout_s": 5.0,
            **options,
        }
        return CallRailRecordings(**given)


@contextmanager
def running_callrail() -> Iterator[CallRail]:
    """A stand-in of one's own."""
    store = CallRailStore()
    with serve_in_thread(create_app(store)) as url:
        yield CallRail(url, store)
