"""Writing tenants to Spanner: one commit each, no route taken twice, secrets before tenants."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from google.cloud import spanner
from google.cloud.spanner_v1.database import Database

from shared.errors import ConfigurationError, TenantBlocked
from shared.gateways.keyset_store import KeysetStore
from shared.gateways.tenant_store import TenantStore
from tests.support.keys import key_maker
from tests.support.tenant_world import BOTH_CRMS, TOKEN, World, acme, empty_world, migrated_database, other
from tests.support.tenants import COMPANY, OTHER_COMPANY, SIGNING_KEY, make_tenant

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


def test_creating_writes_tenant_routes_integrations_and_audit_together(world: World) -> None:
    world.create(acme(webhook_token=TOKEN, crm_config=BOTH_CRMS))

    assert world.rows("SELECT tenant_id, route_kind, route_value FROM tenant_routes") == [
        ["acme-plumbing", "company", COMPANY],
        ["acme-plumbing", "token", TOKEN],
    ]
    assert world.rows("SELECT tenant_id, provider, status FROM crm_integrations") == [
        ["acme-plumbing", "hubspot", "active"],
        ["acme-plumbing", "salesforce", "active"],
    ]
    assert world.rows("SELECT tenant_id, actor, action FROM audit_log") == [["acme-plumbing", "test", "tenant.create"]]


def test_only_what_was_given_is_stored_so_that_defaults_can_still_change(world: World) -> None:
    world.create(acme())

    stored = dict(world.rows("SELECT config FROM tenants")[0][0])

    assert sorted(stored) == ["callrail_company_ids", "webhook_secret_names"]


def test_a_company_of_another_tenant_is_refused_and_nothing_is_written(world: World) -> None:
    world.create(acme())

    with pytest.raises(ConfigurationError, match=f"company {COMPANY} belongs to tenant acme-plumbing"):
        world.create(make_tenant("other-dental", company_id=COMPANY), {"other-dental-webhook-secret": SIGNING_KEY})

    assert [line.tenant_id for line in world.store.list_tenants()] == ["acme-plumbing"]
    with pytest.raises(TenantBlocked):
        world.secrets.read("other-dental-webhook-secret")


def test_the_database_itself_refuses_a_company_taken_in_the_meantime(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two operators at once: both looked before either wrote."""
    world.create(acme())
    late = world.store
    monkeypatch.setattr(late, "check_new", lambda _tenant: None)

    with pytest.raises(ConfigurationError, match="meanwhile"):
        late.create(make_tenant("other-dental", company_id=COMPANY), new_secrets={}, secrets=world.secrets, actor="b")

    assert world.rows("SELECT tenant_id FROM tenants") == [["acme-plumbing"]]


def test_creating_a_tenant_again_leaves_its_signing_key_alone(world: World) -> None:
    world.create(acme(), {"acme-plumbing-webhook-secret": SIGNING_KEY})

    with pytest.raises(ConfigurationError, match="exists already"):
        world.create(acme(callrail_company_ids=["999"]), {"acme-plumbing-webhook-secret": "f" * 32})

    assert world.secrets.reread("acme-plumbing-webhook-secret") == SIGNING_KEY


def test_updating_replaces_routes_and_integrations_and_keeps_status_and_states(world: World) -> None:
    world.create(acme(callrail_company_ids=[COMPANY, "111"], webhook_token=TOKEN, crm_config=BOTH_CRMS))
    world.create(other())
    world.store.set_status("acme-plumbing", "suspended", actor="test")
    with world.database.batch() as batch:
        columns = ("tenant_id", "provider", "status", "status_reason")
        batch.update("crm_integrations", columns, [("acme-plumbing", "hubspot", "blocked", "token refused")])

    world.update(acme(callrail_company_ids=[COMPANY, "222"], crm_config={"hubspot": {"token_secret": "new-name"}}))

    assert world.rows("SELECT tenant_id, route_value FROM tenant_routes") == [
        ["acme-plumbing", "222"],
        ["acme-plumbing", COMPANY],
        ["other-dental", OTHER_COMPANY],
    ]
    shown = world.store.show("acme-plumbing")
    assert shown.tenant.status == "suspended"
    assert [(item.provider, item.status, item.reason) for item in shown.integrations] == [
        ("hubspot", "blocked", "token refused")
    ]
    assert shown.tenant.config.crm_config.hubspot is not None
    assert shown.tenant.config.crm_config.hubspot.token_secret == "new-name"
    assert shown.updated_at > shown.created_at


def test_updating_cannot_take_a_company_or_make_a_tenant(world: World) -> None:
    world.create(acme())
    world.create(other())

    with pytest.raises(ConfigurationError, match=f"company {OTHER_COMPANY} belongs to tenant other-dental"):
        world.update(acme(callrail_company_ids=[OTHER_COMPANY]))
    with pytest.raises(ConfigurationError, match="no tenant third-tenant"):
        world.update(make_tenant("third-tenant", company_id="777"))

    found = world.directory().by_company(OTHER_COMPANY)
    assert found is not None
    assert (found.tenant_id, found.config) == ("other-dental", other().config), "the receiver reads no more of it"


def test_an_offboarded_tenant_stays_offboarded(world: World) -> None:
    world.create(acme())
    world.store.set_status("acme-plumbing", "offboarded", actor="test")

    with pytest.raises(ConfigurationError, match="is offboarded"):
        world.store.set_status("acme-plumbing", "active", actor="test")
    with pytest.raises(ConfigurationError, match="no tenant nobody-here"):
        world.store.set_status("nobody-here", "active", actor="test")


@pytest.mark.parametrize("act", [lambda store: store.show("acme-plumbing"), lambda store: store.list_tenants()])
def test_a_missing_database_is_explained_to_the_operator(world: World, act: Callable[[TenantStore], object]) -> None:
    client = spanner.Client(project="test-project", disable_builtin_metrics=True)

    def never_made() -> Database:
        database: Database = client.instance("test-instance").database("never-made")
        return database

    lost = TenantStore(never_made, KeysetStore(never_made, key_maker()))

    with pytest.raises(ConfigurationError, match="Database not found"):
        act(lost)
