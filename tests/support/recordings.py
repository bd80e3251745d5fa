"""What tests of the audio path share: the CallRail stand-in running, a tenant, secrets in a dict."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from infra.local.standins.callrail import create_app
from infra.local.standins.callrail_store import LOCAL_API_KEY, CallRailStore, Recording
from infra.local.standins.serving import serve_in_thread
from schemas.tenant import Tenant, TenantConfig
from shared.errors import PipelineError, TenantBlocked
from shared.gateways.http import tls_context
from shared.gateways.recordings import CallRailRecordings

CALL = "CAL019aa0c4d1f07b2e9c3d5a6f70819203"
ACCOUNT = "ACC019a1111222273338444555566667777"
ACCESS_KEY = "s3cr3t-access-key"
WEBHOOK_LINK = f"https://app.callrail.com/calls/{CALL}/recording/redirect?access_key={ACCESS_KEY}"
KEY_SECRET = "tenant-a-callrail-key"
AUDIO = b"ID3" + bytes(range(256)) * 1000


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
        httpx.post(
            f"{self.url}/_standin/faults", json=list(rules), trust_env=False, verify=tls_context()
        ).raise_for_status()

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


def fetched(
    gateway: CallRailRecordings, *, with_api: bool = True, link: str = WEBHOOK_LINK, **recordings: Any
) -> bytes:
    with gateway.open(tenant(with_api=with_api, **recordings), call_id=CALL, recording_url=link) as stream:
        return b"".join(stream.chunks)


def refused(gateway: CallRailRecordings, error: type[PipelineError], **options: Any) -> PipelineError:
    """The error of a fetch, after checking that nothing in it, nor in what caused it, shows a key."""
    with pytest.raises(error) as caught:
        fetched(gateway, **options)
    shown = "".join(traceback.format_exception(caught.value))
    assert ACCESS_KEY not in shown
    assert LOCAL_API_KEY not in shown
    return caught.value
