"""The Secret Manager stand-in, emptied before each test, and the gateway that asks it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import pytest
from google.cloud.secretmanager_v1 import SecretManagerServiceClient
from google.cloud.secretmanager_v1.services.secret_manager_service.transports.grpc import (
    SecretManagerServiceGrpcTransport,
)

from infra.local.standins.grpc_serving import RunningStandin
from infra.local.standins.secret_manager import serve_secret_manager
from shared.gateways.secrets import SecretManagerSecrets
from tests.contract.secrets.administering import TTL_S, Clock


@pytest.fixture(scope="module")
def running() -> Iterator[RunningStandin]:
    with serve_secret_manager() as standin:
        yield standin


@pytest.fixture
def standin(running: RunningStandin) -> RunningStandin:
    httpx.post(f"{running.admin_url}/_standin/reset").raise_for_status()
    return running


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def secrets(standin: RunningStandin, clock: Clock) -> SecretManagerSecrets:
    return SecretManagerSecrets(project="p", ttl_s=TTL_S, local_address=standin.address, monotonic=clock)


@pytest.fixture
def google(standin: RunningStandin) -> Iterator[Any]:
    """Google's own client: the person who administers the secrets."""
    with grpc.insecure_channel(standin.address) as channel:
        yield SecretManagerServiceClient(transport=SecretManagerServiceGrpcTransport(channel=channel))
