"""What a person who administers secrets does, and what the stand-in is told."""

from __future__ import annotations

import contextlib
from typing import Any

import httpx
from google.api_core import exceptions

from infra.local.standins.faults import FaultRule
from infra.local.standins.grpc_serving import RunningStandin

NAME = "crm-hubspot-acme"
PATH = f"projects/p/secrets/{NAME}"
TTL_S = 300.0


class Clock:
    """Monotonic seconds that only a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def store(google: Any, value: bytes | str, *, name: str = NAME) -> None:
    with contextlib.suppress(exceptions.AlreadyExists):
        google.create_secret(parent="projects/p", secret_id=name, secret={"replication": {"automatic": {}}})
    data = value.encode() if isinstance(value, str) else value
    google.add_secret_version(parent=f"projects/p/secrets/{name}", payload={"data": data})


def accesses(standin: RunningStandin) -> int:
    return int(httpx.get(f"{standin.admin_url}/_standin/state").json()["accesses"])


def fault(standin: RunningStandin, **rule: Any) -> None:
    standin.plan.add(FaultRule(**({"operation": "access"} | rule)))


def outage(standin: RunningStandin) -> None:
    fault(standin, kind="status", grpc_code="UNAVAILABLE", times=10_000)
