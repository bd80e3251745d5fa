"""`pipeline keys`, as an operator uses it."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from typer.testing import CliRunner

from handlers.cli.keys import app
from shared.errors import ConfigurationError
from tests.support.emulators import TEST_INSTANCE, TEST_PROJECT
from tests.support.pipeline_database import OTHER_TENANT, OUR_TENANT, PipelineDatabase

pytestmark = pytest.mark.emulators

OURS = OUR_TENANT.tenant_id
Pipeline = Callable[..., str]


@pytest.fixture
def keys(pipeline_database: PipelineDatabase, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    monkeypatch.setenv("PIPELINE_ENVIRONMENT", "local")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", TEST_PROJECT)
    monkeypatch.setenv("PIPELINE_SPANNER_INSTANCE", TEST_INSTANCE)
    monkeypatch.setenv("PIPELINE_SPANNER_DATABASE", pipeline_database.database.database_id)

    def run(*arguments: str) -> str:
        return CliRunner().invoke(app, list(arguments), catch_exceptions=False).stdout

    return run


def test_rotating_shows_ids_and_never_a_key(keys: Pipeline, pipeline_database: PipelineDatabase) -> None:
    (before, _) = json.loads(keys("show", "--tenant", OURS, "--json"))
    printed = keys("rotate", "--tenant", OURS)
    (after, lookup) = json.loads(keys("show", "--tenant", OURS, "--json"))

    assert "1 older still open" in printed
    assert after["key_ids"][1:] == before["key_ids"]
    assert (after["version"], after["destroyed"], lookup["purpose"]) == (2, False, "lookup")
    wrapped = [row[0] for row in pipeline_database.rows("SELECT wrapped FROM tenant_keysets")]
    assert not any(json.loads(text)["encryptedKeyset"] in keys("show", "--tenant", OURS) for text in wrapped)


def test_tenants_from_before_get_their_keyset_once(keys: Pipeline, pipeline_database: PipelineDatabase) -> None:
    pipeline_database.database.run_in_transaction(
        lambda transaction: transaction.execute_update(f"DELETE FROM tenant_keysets WHERE tenant_id = '{OURS}'")
    )
    assert "pipeline keys create" in keys("show", "--tenant", OURS)

    assert f"{OURS}: keyset made\n{OTHER_TENANT.tenant_id}: there already\n" in keys("create", "--all")
    assert keys("create", "--tenant", OURS) == f"{OURS}: there already\n"


@pytest.mark.parametrize("arguments", [(), ("--all", "--tenant", OURS)])
def test_whose_keyset_must_be_said(keys: Pipeline, arguments: tuple[str, ...]) -> None:
    with pytest.raises(ConfigurationError, match="say whose keyset"):
        keys("create", *arguments)


@pytest.mark.parametrize("command", ["create", "rotate"])
def test_an_unknown_tenant_has_no_keyset(keys: Pipeline, command: str) -> None:
    with pytest.raises(ConfigurationError, match="nobody-here"):
        keys(command, "--tenant", "nobody-here")


def test_the_scheduled_job_rotates_every_tenants_keyset(keys: Pipeline) -> None:
    """Terraform's job `pipeline-rotate-keys` runs exactly this."""
    printed = keys("rotate", "--all")

    for tenant in (OURS, OTHER_TENANT.tenant_id):
        assert f"{tenant}: key" in printed
        (pii, _) = json.loads(keys("show", "--tenant", tenant, "--json"))
        assert len(pii["key_ids"]) == 2
