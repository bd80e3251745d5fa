"""Whatever a process keeps and looks up again answers one tenant with its own and never with another's.

What is kept is found in the code (`tests/support/kept_state.py`), so that a new cache without a case fails here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from itertools import product

import pytest

from infra.local.standins.secret_manager import serve_secret_manager
from schemas.tenant import Tenant
from shared.active_claims import ActiveClaims
from shared.claims import RunKey
from shared.errors import PermanentFailure, TenantBlocked
from shared.gateways.crm_registry import CrmRegistry
from shared.gateways.secrets import SecretManagerSecrets
from shared.gateways.tenant_cache import TenantCache
from tests.support.crm_calls import HeldSecrets, crm_call
from tests.support.hubspot_portal import TOKENS, HubSpotHarness
from tests.support.kept_state import kept_in, kept_state
from tests.support.named_tests import body_of
from tests.support.pipeline_database import OTHER_TENANT, OUR_TENANT, PipelineDatabase
from tests.support.salesforce_org import FIRST_SECRET, KEYS, SalesforceOrgs, client_credentials, salesforce_orgs
from tests.support.samples import arguments_of
from tests.support.tenants import OTHER_COMPANY, make_tenant

HERE = "tests/integration/test_cross_tenant_caches.py"
VICTIM, ATTACKER = OUR_TENANT.tenant_id, OTHER_TENANT.tenant_id
BY_TENANT = {
    "handlers/wiring.py:vault": f"{HERE}::test_keys_that_are_kept_open_nothing_of_another_tenant",
    "shared/gateways/vault.py:Vault._known": f"{HERE}::test_keys_that_are_kept_open_nothing_of_another_tenant",
    "handlers/wiring.py:secrets": f"{HERE}::test_a_secret_and_a_refusal_are_kept_by_their_own_name_only",
    "shared/gateways/secrets.py:SecretManagerSecrets._known":
        f"{HERE}::test_a_secret_and_a_refusal_are_kept_by_their_own_name_only",
    "shared/gateways/secrets.py:SecretManagerSecrets._refused":
        f"{HERE}::test_a_secret_and_a_refusal_are_kept_by_their_own_name_only",
    "shared/gateways/crm_registry.py:CrmRegistry._kept":
        f"{HERE}::test_kept_crm_sessions_write_into_their_own_org_only",
    "shared/gateways/salesforce.py:SalesforceGateway._facts":
        f"{HERE}::test_what_one_org_allows_is_not_believed_of_another",
    "shared/gateways/tenants.py:SpannerTenantDirectory._cache":
        "tests/integration/test_cross_tenant.py::test_a_cached_tenant_never_answers_for_another",
    "shared/gateways/tenant_cache.py:TenantCache._known": f"{HERE}::test_answers_of_the_tenant_cache_keep_their_key",
    "shared/gateways/tenant_cache.py:TenantCache._unknown": f"{HERE}::test_answers_of_the_tenant_cache_keep_their_key",
    "shared/gateways/tenant_cache.py:TenantCache._loads": f"{HERE}::test_answers_of_the_tenant_cache_keep_their_key",
    "shared/circuits.py:Breaker._known":
        "tests/unit/test_circuits.py::test_vendors_and_tenants_have_circuits_of_their_own",
    "shared/tenant_limits.py:TenantLimits._buckets":
        "tests/unit/test_tenant_limits.py::test_a_tenant_that_sends_a_hundred_times_its_share_does_not_starve_another",
    "shared/gateways/callrail_budget.py:RequestBudgets._buckets":
        "tests/unit/test_callrail_budget.py::test_accounts_have_budgets_of_their_own",
    "handlers/backfill_wiring.py:callrail_budgets":
        "tests/unit/test_callrail_budget.py::test_accounts_have_budgets_of_their_own",
    "shared/active_claims.py:ActiveClaims._held": f"{HERE}::test_claims_with_the_same_request_id_are_given_back_apart",
    "shared/active_claims.py:ActiveClaims._kept": f"{HERE}::test_claims_with_the_same_request_id_are_given_back_apart",
}  # fmt: skip
"""What is kept for a tenant, and where two tenants meet at it."""
OF_NO_TENANT = {
    "handlers/health.py:HealthPage._cached": "states of neighbours",
    "handlers/main.py:_built": "services by their name",
    "handlers/operator.py:OperatorService._seen": "names of the sweeper's actions",
    "handlers/backfill_wiring.py:reconciliation": "made of settings",
    "handlers/wiring.py:database": "made of settings",
    "handlers/wiring.py:key_encryption_key": "made of settings",
    "handlers/wiring.py:objects": "made of settings",
    "handlers/wiring.py:publisher_of": "made of settings",
    "handlers/wiring.py:push_verifier": "made of settings",
    "handlers/wiring.py:receiver_objects": "made of settings",
    "shared/crash_points.py:Executioner._passings": "a drill's counts by the place in the code",
    "shared/gateways/database.py:open_once": "the connection",
    "shared/gateways/http.py:tls_context": "certificates of authorities",
    "shared/gateways/keysets.py:_register": "whether Tink knows its primitives",
    "shared/gateways/local_kek.py:read": "a laptop's key-encryption key",
    "shared/gateways/objects.py:GcsObjectStore._blobs": "the connection",
    "shared/gateways/objects.py:GcsObjectStore.client": "the connection",
    "shared/gateways/objects.py:GcsObjectStore.limits": "the store's limits",
    "shared/gateways/publisher.py:PubSubPublisher._paths": "topics by their name",
    "shared/gateways/push_tokens.py:KeyCache._certs": "Google's public keys",
    "shared/gateways/queries.py:load_queries": "SQL by the file's name",
    "shared/gateways/salesforce_setup.py:NOTHING_TRIED": "a constant",
    "shared/gateways/telemetry.py:OpenTelemetry._told": "sums by a metric's labels, none of which is content",
    "shared/gateways/telemetry.py:OpenTelemetry.counts": "the same, of one thread",
    "shared/gateways/telemetry_metrics.py:ExportedMetrics._instruments": "instruments by their name",
    "shared/pipeline.py:load_pipeline": "infra/pipeline.json",
}
"""Kept for the whole process, and what it is."""
OF_ONE_WORK = {
    "handlers/cli/tenant_document.py:TenantDocument.new_secrets",
    "shared/backfill_run.py:Inspector._met",
    "shared/gateways/keyed_rows.py:ConditionalUpdate.expected",
    "shared/meanings/chapter.py:Chapter.families",
    "shared/onboarding.py:Application.secret_values",
    "shared/onboarding_run.py:Onboarding._integrations",
    "shared/privacy.py:Certificate.unreadable_rows",
    "shared/telemetry.py:Span.attributes",
    "shared/trace_tree.py:SeenSpan.attributes",
}
"""Lives as long as one piece of work for one tenant, and is never handed to the next."""


def test_whatever_is_kept_has_its_case() -> None:
    listed, kept = [set(BY_TENANT), set(OF_NO_TENANT), OF_ONE_WORK], kept_state()

    assert set().union(*listed) == kept
    assert sum(map(len, listed)) == len(kept), "one case each"


@pytest.mark.parametrize("reference", sorted(set(BY_TENANT.values())))
def test_every_case_is_a_test(reference: str) -> None:
    assert "assert" in body_of(reference)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("_known = {}", "_known"),
        ("_known: dict[str, int] = {}", "_known"),
        ("_known = defaultdict(dict)", "_known"),
        ("class A:\n def f(self):\n  self._x = TTLCache(MOST, ttl=3)", "A._x"),
        ("class A:\n def f(self):\n  self._x: LRUCache[str, int] = cachetools.LRUCache(maxsize=5)", "A._x"),
        ("class A:\n _x: set[str] = field(default_factory=set)", "A._x"),
        ("class A:\n def f(self):\n  self._cached_link = link", "A._cached_link"),
        ("class A:\n @functools.lru_cache(maxsize=9)\n def f(self, a): ...", "A.f"),
        ("@cached(cache=TTLCache(9, 9))\ndef f(a): ...", "f"),
        ("def f():\n @cache\n def g(): ...", "g"),
    ],
)
def test_a_new_cache_would_be_found(source: str, found: str) -> None:
    assert list(kept_in(source)) == [found]


@pytest.mark.parametrize("source", ["def f():\n found = {}", "NAMES = {'a': 1}", "class A:\n names = set(ALL)"])
def test_what_is_no_cache_is_left_alone(source: str) -> None:
    assert list(kept_in(source)) == []


# --- keys and secrets ---------------------------------------------------------------------------------


@pytest.mark.emulators
def test_keys_that_are_kept_open_nothing_of_another_tenant(pipeline_database: PipelineDatabase) -> None:
    vault = pipeline_database.vault
    sealed = {tenant: vault.of(tenant).seal("CAL1", "transcript", f"of {tenant}") for tenant in (VICTIM, ATTACKER)}

    assert vault.keys(VICTIM) is not vault.keys(ATTACKER)
    for tenant, owner in product(sealed, sealed):
        if tenant == owner:
            assert vault.of(tenant).open("CAL1", "transcript", sealed[owner]) == f"of {owner}"
            continue
        with pytest.raises(PermanentFailure, match="personal_data_unreadable"):
            vault.of(tenant).open("CAL1", "transcript", sealed[owner])
    numbers = [vault.of(tenant).phone_hash("+13035550142") for tenant in (VICTIM, ATTACKER)]
    assert len(set(numbers)) == 2

    vault.forget(ATTACKER)  # one tenant's rotation or end leaves the other's keys where they are
    kept = vault.keys(VICTIM)
    assert vault.keys(VICTIM) is kept
    assert vault.of(VICTIM).open("CAL1", "transcript", sealed[VICTIM]) == f"of {VICTIM}"


def test_a_secret_and_a_refusal_are_kept_by_their_own_name_only() -> None:
    with serve_secret_manager() as standin:
        secrets = SecretManagerSecrets(project="p", local_address=standin.address)
        secrets.write(f"{VICTIM}-token", "of-the-victim")
        secrets.write(f"{VICTIM}-token-2", "newer-of-the-victim")
        secrets.write(f"{ATTACKER}-token", "of-the-attacker")

        for _ in range(2):  # from Secret Manager, then from the cache
            assert secrets.read(f"{VICTIM}-token") == "of-the-victim"
            assert secrets.read(f"{ATTACKER}-token") == "of-the-attacker"
            for guessed in (f"{VICTIM.upper()}-token", f"{ATTACKER}-token-2", f"{VICTIM}-toke"):
                with pytest.raises(TenantBlocked) as refusal:
                    secrets.read(guessed)
                assert "of-the" not in f"{refusal.value} {refusal.value.detail} {refusal.value.fix}"
            assert secrets.read(f"{VICTIM}-token-2") == "newer-of-the-victim", "a refusal of another shuts nothing"


# --- CRMs ---------------------------------------------------------------------------------------------


@pytest.fixture
def portal() -> Iterator[HubSpotHarness]:
    with ExitStack() as stack:
        yield HubSpotHarness(stack, both=True)


@pytest.fixture
def orgs() -> Iterator[SalesforceOrgs]:
    with salesforce_orgs() as orgs:
        yield orgs


@pytest.fixture
def registry(portal: HubSpotHarness, orgs: SalesforceOrgs) -> CrmRegistry:
    tokens = {f"hubspot-{owner}": token for token, owner in TOKENS.items()}
    credentials = {f"salesforce-{owner}": client_credentials(key, FIRST_SECRET) for owner, key in KEYS.items()}
    return CrmRegistry(
        HeldSecrets(**tokens, **credentials),
        clock=lambda: datetime.now(UTC),
        local_hubspot_url=portal.url,
        local_salesforce_url=orgs.url,
    )


def customer(owner: str) -> Tenant:
    config = {
        "hubspot": {"token_secret": f"hubspot-{owner}"},
        "salesforce": {"credentials_secret": f"salesforce-{owner}"},
    }
    company = {"other": OTHER_COMPANY}.get(owner, OUR_TENANT.config.callrail_company_ids[0])
    return make_tenant({"own": VICTIM, "other": ATTACKER}[owner], company_id=company, crm_config=config)


@pytest.mark.parametrize("provider", ["hubspot", "salesforce"])
def test_kept_crm_sessions_write_into_their_own_org_only(
    registry: CrmRegistry, portal: HubSpotHarness, orgs: SalesforceOrgs, provider: str
) -> None:
    crm = portal if provider == "hubspot" else orgs
    expected: dict[str, list[str]] = {"own": [], "other": []}
    for number in range(2):  # a new session, then the kept one
        for owner, calls in expected.items():
            calls.append(f"CAL{owner}{number}")
            gateway = registry.for_tenant(customer(owner), crm.provider)
            gateway.sync_call(crm_call(calls[-1]))
            assert registry.for_tenant(customer(owner), crm.provider) is gateway, "kept"

    assert sorted(call.call_id for call in crm.calls("own")) == expected["own"]
    assert sorted(call.call_id for call in crm.calls("other")) == expected["other"]


@pytest.mark.parametrize("provider", ["hubspot", "salesforce"])
def test_two_tenants_with_the_same_configuration_share_no_session(
    registry: CrmRegistry, orgs: SalesforceOrgs, provider: str
) -> None:
    crm = "hubspot" if provider == "hubspot" else orgs.provider
    ours = customer("own")
    theirs = ours.model_copy(update={"tenant_id": ATTACKER})

    assert registry.for_tenant(ours, crm) is not registry.for_tenant(theirs, crm)


def test_what_one_org_allows_is_not_believed_of_another(registry: CrmRegistry, orgs: SalesforceOrgs) -> None:
    """Fields of one org, kept from its `describe`, would make the other's writes fail or go nowhere."""
    for number in range(2):
        for owner in ("own", "other"):
            registry.for_tenant(customer(owner), "salesforce").sync_call(crm_call(f"CAL{owner}{number}"))

    asked = {owner: orgs.state(owner)["requests"].get("describe", 0) for owner in KEYS}
    assert asked["own"] == asked["other"] > 0, "each org was asked for its own fields, and once"


# --- the rest -----------------------------------------------------------------------------------------


def test_answers_of_the_tenant_cache_keep_their_key() -> None:
    cache = TenantCache(ttl_s=60, negative_ttl_s=60, stale_for_s=60, load_timeout_s=5)
    ours, theirs = make_tenant(VICTIM), make_tenant(ATTACKER)

    def load_ours() -> Tenant:
        """While ours is being loaded, theirs is asked for, and somebody who does not exist."""
        assert cache.get(("id", ATTACKER), lambda: theirs) is theirs
        assert cache.get(("id", "nobody"), lambda: None) is None
        return ours

    for _ in range(2):
        assert cache.get(("id", VICTIM), load_ours) is ours
        assert cache.get(("id", ATTACKER), lambda: theirs) is theirs
        assert cache.get(("id", "nobody"), lambda: None) is None
        assert cache.get(("company", VICTIM), lambda: None) is None, "another kind of key is another key"


@pytest.mark.parametrize("kept", [True, False])
def test_claims_with_the_same_request_id_are_given_back_apart(*, kept: bool) -> None:
    claims = ActiveClaims()
    run = arguments_of(claims.held)["run"]
    keys = [RunKey(tenant, "r-00000001", "analyze") for tenant in (VICTIM, ATTACKER)]
    with claims.held(replace(run, key=keys[0], claim_token="t1")):
        with claims.held(replace(run, key=keys[1], claim_token="t2")):
            assert not kept or claims.keep("t1")
            assert claims.close() == [*([] if kept else [("t1", keys[0])]), ("t2", keys[1])]
        assert claims.close() == ([] if kept else [("t1", keys[0])])
