"""Tenants in Spanner: written in one commit, found by three keys, cached, and served through an outage."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from google.cloud import spanner
from google.cloud.spanner_v1 import COMMIT_TIMESTAMP, JsonObject
from google.cloud.spanner_v1.database import Database

from infra.local.standins.secret_manager import serve_secret_manager
from schemas.tenant import Tenant
from shared.errors import ConfigurationError, TenantBlocked, TransientFailure
from shared.gateways.migrations import ensure_emulator_database, migrate
from shared.gateways.secrets import SecretManagerSecrets
from shared.gateways.tenant_store import TenantStore
from shared.gateways.tenants import SpannerTenantDirectory
from tests.support.tenants import COMPANY, OTHER_COMPANY, SIGNING_KEY, make_tenant

pytestmark = pytest.mark.emulators

_NUMBERS = itertools.count(1)
TOKEN = "an-address-that-nobody-guesses"
BOTH_CRMS = {
    "hubspot": {"token_secret": "acme-hubspot"},
    "salesforce": {"credentials_secret": "acme-salesforce"},
}


@dataclass
class Time:
    """Seconds that pass when told to."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class World:
    """A migrated database, a secret store, and a way to cut the connection to Spanner."""

    database: Database
    secrets: SecretManagerSecrets
    time: Time = field(default_factory=Time)
    is_cut: bool = False

    def open(self) -> Database:
        return _unreachable() if self.is_cut else self.database

    @property
    def store(self) -> TenantStore:
        return TenantStore(self.open)

    def create(self, tenant: Tenant, new_secrets: Mapping[str, str] | None = None) -> None:
        self.store.create(tenant, new_secrets=new_secrets or {}, secrets=self.secrets, actor="test")

    def update(self, tenant: Tenant, new_secrets: Mapping[str, str] | None = None) -> None:
        self.store.update(tenant, new_secrets=new_secrets or {}, secrets=self.secrets, actor="test")

    def directory(self, **changes: float) -> SpannerTenantDirectory:
        seconds: dict[str, Any] = {"ttl_s": 60, "negative_ttl_s": 10, "stale_for_s": 300, **changes}
        return SpannerTenantDirectory(self.open, timer=self.time, **seconds)

    def rows(self, sql: str) -> list[list[Any]]:
        with self.database.snapshot() as snapshot:
            return sorted(snapshot.execute_sql(sql))


def _unreachable() -> Database:
    """A database behind a port that nobody listens on."""
    with socket.socket() as free, pytest.MonkeyPatch.context() as patch:
        free.bind(("127.0.0.1", 0))
        patch.setenv("SPANNER_EMULATOR_HOST", f"127.0.0.1:{free.getsockname()[1]}")
        client = spanner.Client(project="test-project", disable_builtin_metrics=True)
    return client.instance("test-instance").database("unreachable")


@pytest.fixture(scope="module")
def database(spanner_emulator: str) -> Iterator[Database]:
    """One migrated database for this module; each test begins without rows."""
    assert spanner_emulator
    made = ensure_emulator_database("test-project", "test-instance", f"tenants-{os.getpid()}-{next(_NUMBERS)}")
    migrate(made, emulator=True, report=lambda _: None)
    yield made
    made.drop()


@pytest.fixture
def world(database: Database) -> Iterator[World]:
    with serve_secret_manager() as standin:
        yield World(database, SecretManagerSecrets(project="test-project", local_address=standin.address))
    with database.batch() as batch:
        for table in ("audit_log", "crm_integrations", "tenant_routes", "tenants"):
            batch.delete(table, spanner.KeySet(all_=True))


def acme(**config: Any) -> Tenant:
    return make_tenant("acme-plumbing", **config)


def other(**config: Any) -> Tenant:
    return make_tenant("other-dental", company_id=OTHER_COMPANY, **config)


# --- finding ----------------------------------------------------------------------------------------


def test_a_tenant_is_found_by_its_id_its_companies_and_its_address(world: World) -> None:
    tenant = acme(callrail_company_ids=[COMPANY, "12345"], webhook_token=TOKEN, crm_config=BOTH_CRMS)
    world.create(tenant)
    world.create(other())
    directory = world.directory()

    assert directory.by_id("acme-plumbing") == tenant
    assert directory.by_company(COMPANY) == tenant
    assert directory.by_company("12345") == tenant
    assert directory.by_webhook_token(TOKEN) == tenant
    assert directory.by_company(OTHER_COMPANY) == other()


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
    assert directory.by_company(COMPANY) == acme()


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
        "print([name for name in sys.modules if name.startswith(('google.', 'grpc'))])\n"
    )
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert output.stdout.strip() == "[]"


# --- writing ----------------------------------------------------------------------------------------


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

    assert world.directory().by_company(OTHER_COMPANY) == other()


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
    lost = TenantStore(lambda: client.instance("test-instance").database("never-made"))

    with pytest.raises(ConfigurationError, match="Database not found"):
        act(lost)
