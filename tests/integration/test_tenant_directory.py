"""Finding tenants in Spanner: by three keys, cached, and served through an outage."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from google.cloud.spanner_v1 import COMMIT_TIMESTAMP, JsonObject
from google.cloud.spanner_v1.database import Database

from schemas.tenant import Tenant, TenantConfig
from shared.errors import ConfigurationError, TenantBlocked, TransientFailure
from shared.gateways.tenants import SpannerTenantDirectory
from tests.support.tenant_world import BOTH_CRMS, TOKEN, World, acme, empty_world, migrated_database, other
from tests.support.tenants import COMPANY, OTHER_COMPANY

pytestmark = pytest.mark.emulators


@pytest.fixture(scope="module")
def database(spanner_emulator: str) -> Iterator[Database]:
    """One migrated database for this module; each test begins without rows."""
    assert spanner_emulator
    with migrated_database() as made:
        yield made


@pytest.fixture
def world(database: Database) -> Iterator[World]:
    with empty_world(database) as made:
        yield made


# --- finding ----------------------------------------------------------------------------------------


def as_the_receiver_knows(tenant: Tenant) -> Tenant:
    """What a webhook is checked against, and nothing about CRMs, keys or the customer's name."""
    known = tenant.config.model_dump(
        include={"callrail_company_ids", "webhook_secret_names", "signature_scheme", "webhook_token"}
    )
    config = TenantConfig.model_validate(known)
    return tenant.model_copy(update={"name": tenant.tenant_id, "config": config})


def test_a_tenant_is_found_by_its_id_its_companies_and_its_address(world: World) -> None:
    tenant = acme(callrail_company_ids=[COMPANY, "12345"], webhook_token=TOKEN, crm_config=BOTH_CRMS)
    world.create(tenant)
    world.create(other())
    directory = world.directory()

    assert directory.by_id("acme-plumbing") == tenant
    assert directory.by_company(COMPANY) == as_the_receiver_knows(tenant)
    assert directory.by_company("12345") == as_the_receiver_knows(tenant)
    assert directory.by_webhook_token(TOKEN) == as_the_receiver_knows(tenant)
    assert directory.by_company(OTHER_COMPANY) == as_the_receiver_knows(other())


def test_a_key_of_one_kind_is_no_key_of_another(world: World) -> None:
    world.create(acme(webhook_token=TOKEN))
    directory = world.directory()

    assert directory.by_company(TOKEN) is None
    assert directory.by_webhook_token(COMPANY) is None
    assert directory.by_id(COMPANY) is None


@pytest.mark.parametrize("value", ["", "x" * 65, "'; DROP TABLE tenants; --", "COM\u0000"])
def test_rubbish_finds_nobody(world: World, value: str) -> None:
    world.create(acme())
    directory = world.directory()

    assert directory.by_id(value) is None
    assert directory.by_company(value) is None
    assert directory.by_webhook_token(value) is None


def test_a_suspended_tenant_is_found_as_suspended(world: World) -> None:
    world.create(acme())
    world.store.set_status("acme-plumbing", "suspended", actor="test")

    found = world.directory().by_company(COMPANY)

    assert found is not None
    assert found.status == "suspended"


def test_the_owner_of_stray_dead_letters_is_no_tenant(world: World) -> None:
    _insert_raw(world.database, "unassigned", "system", {})

    assert world.directory().by_id("unassigned") is None
    assert world.store.list_tenants() == []
    with pytest.raises(ConfigurationError, match="no tenant unassigned"):
        world.store.show("unassigned")
    with pytest.raises(ConfigurationError):
        world.store.set_status("unassigned", "active", actor="test")


def _insert_raw(database: Database, tenant_id: str, status: str, config: dict[str, Any]) -> None:
    columns = ("tenant_id", "name", "status", "config", "created_at", "updated_at")
    with database.batch() as batch:
        row = (tenant_id, tenant_id, status, JsonObject(config), COMMIT_TIMESTAMP, COMMIT_TIMESTAMP)
        batch.insert("tenants", columns, [row])


def test_an_unreadable_configuration_names_its_fields_and_no_value(world: World) -> None:
    _insert_raw(world.database, "broken-tenant", "active", {"callrail_company_ids": ["12345"], "webhook_token": "oops"})

    with pytest.raises(TenantBlocked) as caught:
        world.directory().by_id("broken-tenant")

    assert "webhook_token" in caught.value.detail
    assert "webhook_secret_names" in caught.value.detail
    assert "oops" not in str(caught.value)


# --- caching ----------------------------------------------------------------------------------------


def test_a_change_becomes_visible_when_the_cached_answer_expires(world: World) -> None:
    world.create(acme())
    directory = world.directory()
    assert _status(directory) == "active"
    world.store.set_status("acme-plumbing", "suspended", actor="test")

    world.time.now += 59
    assert _status(directory) == "active"
    world.time.now += 2
    assert _status(directory) == "suspended"


def _status(directory: SpannerTenantDirectory) -> str | None:
    found = directory.by_id("acme-plumbing")
    return found.status if found else None


def test_a_new_tenant_becomes_visible_when_the_negative_answer_expires(world: World) -> None:
    directory = world.directory()
    assert directory.by_company(COMPANY) is None
    world.create(acme())

    assert directory.by_company(COMPANY) is None
    world.time.now += 11
    assert directory.by_company(COMPANY) == as_the_receiver_knows(acme())


def test_while_spanner_is_away_known_tenants_are_served_and_unknown_ones_fail_for_now(world: World) -> None:
    world.create(acme())
    directory = world.directory(load_timeout_s=0.2)
    patient = world.directory()
    assert patient.by_id("acme-plumbing") == acme()
    for attempt in (directory.by_id, patient.by_id):
        assert attempt("acme-plumbing") == acme()

    world.is_cut = True
    world.time.now += 61
    assert directory.by_id("acme-plumbing") == acme()
    with pytest.raises(TransientFailure):
        directory.by_company(OTHER_COMPANY)

    world.is_cut = False
    world.store.set_status("acme-plumbing", "suspended", actor="test")
    world.time.now += 10
    assert _status(patient) == "suspended"


def test_the_directory_is_made_without_loading_googles_client() -> None:
    """The receiver imports it at start; the client costs seconds and hundreds of megabytes."""
    code = (
        "import sys\n"
        "from shared.gateways.tenants import SpannerTenantDirectory\n"
        "SpannerTenantDirectory(lambda: None, ttl_s=1, negative_ttl_s=1).by_id('')\n"
        "print([name for name in sys.modules if name.startswith(('google.cloud.', 'google.api_core', 'grpc'))])\n"
    )
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert output.stdout.strip() == "[]"
