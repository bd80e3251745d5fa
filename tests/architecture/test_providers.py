"""Every list of CRMs is the same list: the type, the tenant's configuration, the registry, the database, the suite."""

from __future__ import annotations

import re

import pytest

from infra.local.plan import HTTP_STANDINS
from schemas.calls import PROVIDERS
from schemas.tenant import CrmConfig
from shared.errors import TenantBlocked
from shared.gateways.crm_registry import CrmRegistry
from shared.pipeline import PIPELINE_FILE
from tests.support.ports import HandClock, MemorySecrets
from tests.support.tenants import make_tenant

ROOT = PIPELINE_FILE.parents[1]


def test_a_tenant_can_configure_each_and_no_other() -> None:
    assert set(CrmConfig.model_fields) == set(PROVIDERS)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_registry_knows_each(provider: str) -> None:
    registry = CrmRegistry(MemorySecrets({}), clock=HandClock())
    with pytest.raises(TenantBlocked, match=f"no {provider} integration"):
        registry.for_tenant(make_tenant(), provider)  # type: ignore[arg-type] # a provider by its name


def test_the_database_accepts_each_and_no_other() -> None:
    sql = (ROOT / "sql" / "schema.sql").read_text(encoding="utf-8")
    (names,) = re.findall(r"CHECK \(provider IN \(([^)]*)\)\)", sql)
    assert set(re.findall(r"'(\w+)'", names)) == set(PROVIDERS)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_each_has_a_stand_in_and_runs_the_suite(provider: str) -> None:
    assert provider in HTTP_STANDINS
    suite = (ROOT / "tests" / "contract" / f"test_{provider}_gateway.py").read_text(encoding="utf-8")
    assert "crm_suite" in suite
