"""Production as the real Terraform plans it with everything on: one plan for every test that asks what it says."""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.terraform import copy_of
from tests.support.terraform_provider import provider_running

EVERYTHING: dict[str, Any] = {
    "project_id": "example-prod",
    "domain": "calls.example.com",
    "tenants": ["demo-tenant-001"],
    "secret_rotation_start": "2030-01-01T00:00:00Z",
    "egress_through_vpc": True,
    "callrail_ranges": ["192.0.2.0/24"],
    "access_policy": "123456",
    "image_attestors": ["projects/example-prod/attestors/built-by-us"],
    "alert_emails": ["ops@example.com"],
    "slack_channel": "#alerts",
    "slack_token": "made-up",
    "billing_account": "000000-000000-000000",
}
Resources = dict[str, dict[str, Any]]


@pytest.fixture(scope="session")
def provider() -> Iterator[dict[str, str]]:
    with provider_running() as env:
        yield env


@pytest.fixture(scope="session")
def planned(provider: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Resources:
    """Address → planned values of every resource of production with everything on; planned once for all workers."""
    base = tmp_path_factory.getbasetemp()
    kept = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "production-plan.json"
    with kept.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            tree = tmp_path_factory.mktemp("plan")
            workspace = copy_of(tree, folder="environments/prod", env=provider).initialised()
            kept.write_text(json.dumps(workspace.planned(EVERYTHING)["resource_changes"]), encoding="utf-8")
    changes = json.loads(kept.read_text(encoding="utf-8"))
    return {change["address"].removeprefix("module.pipeline."): change["change"]["after"] for change in changes}


def of_type(planned: Resources, kind: str) -> dict[str, dict[str, Any]]:
    """Key of `for_each` (or name) → values."""
    found = {}
    for address, values in planned.items():
        match = re.search(rf'(?:^|\.){kind}\.(\w+)(?:\["(.*)"\])?', address)
        if match:
            found[match[2] or match[1]] = values
    return found
