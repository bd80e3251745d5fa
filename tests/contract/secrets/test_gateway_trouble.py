"""The secrets gateway against the stand-in: refusals block the tenant, outages are waited for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import islice
from typing import Any

import pytest

from infra.local.standins.grpc_serving import RunningStandin
from shared.errors import TenantBlocked, TransientFailure
from shared.gateways.secrets import MAX_STALE_S, REFUSAL_TTL_S, STALE_PAUSE_S, SecretManagerSecrets
from tests.contract.secrets.administering import NAME, PATH, TTL_S, Clock, accesses, fault, outage, store

# --- refusals ---


def test_a_missing_secret_blocks_the_tenant_and_is_named(secrets: SecretManagerSecrets) -> None:
    with pytest.raises(TenantBlocked) as caught:
        secrets.read("no-such-secret")
    assert caught.value.code == "secret_missing"
    assert "no-such-secret" in caught.value.detail
    assert caught.value.fix


def test_a_secret_without_versions_is_missing(google: Any, secrets: SecretManagerSecrets) -> None:
    google.create_secret(parent="projects/p", secret_id=NAME, secret={"replication": {"automatic": {}}})
    with pytest.raises(TenantBlocked, match="secret_missing"):
        secrets.read(NAME)


def test_a_forbidden_secret_says_which_role_is_missing(
    google: Any, standin: RunningStandin, secrets: SecretManagerSecrets
) -> None:
    store(google, "value")
    fault(standin, kind="status", grpc_code="PERMISSION_DENIED")
    with pytest.raises(TenantBlocked) as caught:
        secrets.read(NAME)
    assert caught.value.code == "secret_forbidden"
    assert "secretAccessor" in caught.value.fix


def test_a_disabled_newest_version_blocks_even_with_an_older_one(google: Any, secrets: SecretManagerSecrets) -> None:
    store(google, "old")
    store(google, "new")
    google.disable_secret_version(name=f"{PATH}/versions/2")
    with pytest.raises(TenantBlocked, match="secret_disabled"):
        secrets.read(NAME)


def test_a_refusal_is_remembered_for_seconds_only(
    google: Any, standin: RunningStandin, secrets: SecretManagerSecrets, clock: Clock
) -> None:
    for _ in range(5):
        with pytest.raises(TenantBlocked):
            secrets.read(NAME)
    assert accesses(standin) == 1
    store(google, "value")
    clock.now += REFUSAL_TTL_S
    assert secrets.read(NAME) == "value"


def test_a_clear_no_ends_a_cached_value(
    google: Any, standin: RunningStandin, secrets: SecretManagerSecrets, clock: Clock
) -> None:
    store(google, "value")
    secrets.read(NAME)
    google.disable_secret_version(name=f"{PATH}/versions/1")
    clock.now += TTL_S
    with pytest.raises(TenantBlocked):
        secrets.read(NAME)
    outage(standin)
    clock.now += REFUSAL_TTL_S
    with pytest.raises(TransientFailure):
        secrets.read(NAME)


# --- outages ---


def test_an_outage_is_transient_when_nothing_was_read_before(
    google: Any, standin: RunningStandin, secrets: SecretManagerSecrets
) -> None:
    store(google, "value")
    outage(standin)
    with pytest.raises(TransientFailure) as caught:
        secrets.read(NAME)
    assert caught.value.code == "secret_manager_unavailable"


def test_an_old_value_serves_through_an_outage_up_to_its_cap(
    google: Any, standin: RunningStandin, secrets: SecretManagerSecrets, clock: Clock
) -> None:
    store(google, "value")
    secrets.read(NAME)
    outage(standin)
    until = clock.now + MAX_STALE_S
    while clock.now + TTL_S < until:
        clock.now += TTL_S
        assert secrets.read(NAME) == "value"
    clock.now = until
    with pytest.raises(TransientFailure):
        secrets.read(NAME)


def test_an_old_value_is_replaced_soon_after_the_outage(
    google: Any, standin: RunningStandin, secrets: SecretManagerSecrets, clock: Clock
) -> None:
    store(google, "value")
    secrets.read(NAME)
    store(google, "rotated")
    outage(standin)
    clock.now += TTL_S
    assert secrets.read(NAME) == "value"
    standin.plan.clear()
    assert secrets.read(NAME) == "value"
    clock.now += STALE_PAUSE_S
    assert secrets.read(NAME) == "rotated"


def test_while_one_caller_waits_for_a_fresh_value_the_others_go_on(
    google: Any, standin: RunningStandin, secrets: SecretManagerSecrets, clock: Clock
) -> None:
    store(google, "value")
    secrets.read(NAME)
    clock.now += TTL_S
    fault(standin, kind="stall", delay_s=1)
    with ThreadPoolExecutor(4) as pool:
        reads = [pool.submit(secrets.read, NAME) for _ in range(4)]
        served = [read.result() for read in islice(as_completed(reads), 3)]
        assert served == ["value"] * 3
        assert [read.done() for read in reads].count(False) == 1
    assert accesses(standin) == 2
