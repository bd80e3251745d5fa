"""`pipeline tenant check` against the CRM stand-ins: what onboarding and a blocked call tell one to run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from typer.testing import CliRunner

from handlers.cli.tenant import app
from infra.local.standins import hubspot
from infra.local.standins.secret_manager import serve_secret_manager
from infra.local.standins.serving import serve_in_thread
from shared.gateways.secrets import SecretManagerSecrets
from tests.support.pipeline_database import PipelineDatabase
from tests.support.tenants import make_tenant

pytestmark = pytest.mark.emulators

COMPANY = "COM019a1111222273338444555566669999"


@dataclass(frozen=True)
class Desk:
    """Runs the command for a tenant with HubSpot."""

    secrets: SecretManagerSecrets

    def check(self, tenant_id: str = "check-hubspot", *more: str) -> Any:
        return CliRunner().invoke(app, ["check", tenant_id, *more])


@pytest.fixture
def desk(pipeline_database: PipelineDatabase, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    with ExitStack() as stack:
        hub = hubspot.create_app(tokens={"pat-good-1": "portal"})
        store = stack.enter_context(serve_secret_manager())
        for name, value in {
            "PIPELINE_ENVIRONMENT": "local",
            "GOOGLE_CLOUD_PROJECT": "test-project",
            "PIPELINE_SPANNER_INSTANCE": "test-instance",
            "PIPELINE_SPANNER_DATABASE": pipeline_database.database.database_id,
            "PIPELINE_LOCAL_SECRET_MANAGER": store.address,
            "PIPELINE_LOCAL_HUBSPOT_URL": stack.enter_context(serve_in_thread(hub)),
        }.items():
            monkeypatch.setenv(name, value)
        config = {"crm_config": {"hubspot": {"token_secret": "hubspot-token"}}}
        pipeline_database.add_tenant(make_tenant("check-hubspot", company_id=COMPANY, **config))
        yield Desk(SecretManagerSecrets(project="test-project", local_address=store.address))


def test_what_is_missing_is_made_and_a_second_look_finds_it(desk: Desk) -> None:
    desk.secrets.write("hubspot-token", "pat-good-1")

    first, second = desk.check(), desk.check()

    assert (first.exit_code, second.exit_code) == (0, 0), first.output
    assert "hubspot: created: " in first.output
    assert "created" not in second.output
    assert "hubspot: ok: " in second.output


def test_a_refused_token_is_a_finding_with_what_to_do_and_status_1(desk: Desk) -> None:
    desk.secrets.write("hubspot-token", "pat-wrong-1")

    refused = desk.check()

    assert refused.exit_code == 1
    assert "missing: access (hubspot_401" in refused.output
    assert "put a valid HubSpot token" in refused.output


def test_a_tenant_without_a_crm_says_so(desk: Desk) -> None:
    without = desk.check("acme-plumbing")

    assert without.exit_code == 0
    assert "has no CRM" in without.output
