"""Every method of every store, found by looking, asks Spanner about the one tenant it was called for and no other."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from shared.dead_letters import UNASSIGNED_TENANT, DeadLetter, DeadLetterBody
from shared.desk_jobs import ReplayItem, ReplayJob, ReplayStart
from shared.errors import ConfigurationError
from shared.gateways.calls import SpannerCalls
from shared.gateways.keyset_store import KeysetStore
from shared.gateways.queries import load_queries
from shared.gateways.tenant_store import TenantStore
from tests.architecture.service_sql import STORES, ways
from tests.architecture.test_sql import ACROSS_TENANTS
from tests.support.keys import key_maker
from tests.support.recording_spanner import RecordingSpanner
from tests.support.samples import arguments_of, public_methods
from tests.support.tenants import make_tenant

OURS = "tenant-ours"
PEOPLES_STORES: dict[str, type] = {SpannerCalls.__name__: SpannerCalls, TenantStore.__name__: TenantStore}
ALL_STORES = {**STORES, **PEOPLES_STORES}
WITHOUT_A_TENANT = {
    "SpannerBackfillStore.due_tenants",
    "SpannerDeadLetters.ensure_unassigned_tenant",
    "SpannerDeadLetters.find_job",
    "SpannerDeadLetters.recent_jobs",
    "SpannerDeadLetters.tenants_with_letters",
    "SpannerStories.tenants_of",
    "SpannerSweepStore.tenants",
    "SpannerTenantDirectory.by_company",
    "SpannerTenantDirectory.by_webhook_token",
    "TenantStore.list_tenants",
}
"""Methods that answer whose something is, or serve operators of all tenants: each runs an excepted statement only."""
ACROSS = {load_queries(name.split(".")[0])[name.split(".")[1]] for name in ACROSS_TENANTS}


def methods() -> list[str]:
    return [f"{name}.{method}" for name, store in sorted(ALL_STORES.items()) for method in public_methods(store)]


def _ours(value: Any) -> Any:
    """The same value belonging to `OURS`, wherever it names a tenant."""
    if isinstance(value, ReplayJob):
        return replace(value, owner=OURS, tenants=(OURS,))
    if isinstance(value, ReplayStart):
        return replace(value, letter=_ours(value.letter))
    if isinstance(value, DeadLetterBody):
        return replace(value, letter=_ours(value.letter))
    if isinstance(value, list):
        return [_ours(item) for item in value]
    if isinstance(value, DeadLetter | ReplayItem) or (hasattr(value, "__dataclass_fields__") and _names(value)):
        return replace(value, **{name: _ours_named(value, name) for name in _names(value)})
    return value


def _names(value: Any) -> list[str]:
    return [name for name in ("tenant_id", "key") if name in value.__dataclass_fields__]


def _ours_named(value: Any, name: str) -> Any:
    return OURS if name == "tenant_id" else value.key._replace(tenant_id=OURS)


def called(name: str) -> Iterator[RecordingSpanner]:
    """The method, called for `OURS` in every way it can go."""
    store_name, method = name.split(".")
    if store_name == "TenantStore":
        yield _tenant_store(method)
        return
    for spanner, made, given in ways(ALL_STORES[store_name], method):
        bound = getattr(made, method)
        arguments = {key: _ours(value) for key, value in arguments_of(bound, **given).items()}
        arguments |= {key: OURS for key in arguments if key == "tenant_id"}
        if "key" in arguments:
            arguments["key"] = arguments["key"]._replace(tenant_id=OURS)
        bound(**arguments)
        yield spanner


def _tenant_store(method: str) -> RecordingSpanner:
    tenant = make_tenant(OURS, webhook_token="a-token-that-nobody-can-guess")
    row = [OURS, "Ours", "active", tenant.config.model_dump(mode="json")]
    shown = [*row, None, None, []]
    known: dict[str, list[list[Any]]] = {
        load_queries("tenants")["show"]: [shown],
        load_queries("tenants")["by_id"]: [row],
    }
    spanner = RecordingSpanner(rows={} if method in {"create", "check_new"} else known)
    store = _store(spanner)
    given = {"tenant": tenant, "tenant_id": OURS, "new_secrets": {}, "secrets": None}
    wanted = {name: value for name, value in given.items() if name in _parameters(store, method)}
    rest = {"actor": "me", "status": "suspended", "action": "x", "detail": {}, "request_id": "x"}
    getattr(store, method)(**wanted, **{name: rest[name] for name in rest if name in _parameters(store, method)})
    return spanner


def _store(spanner: RecordingSpanner) -> TenantStore:
    return TenantStore(spanner.open, KeysetStore(spanner.open, key_maker()))


def _parameters(store: Any, method: str) -> list[str]:
    return list(inspect.signature(getattr(store, method)).parameters)


@pytest.mark.parametrize("name", [name for name in methods() if name not in WITHOUT_A_TENANT])
def test_a_method_touches_the_rows_of_its_tenant_only(name: str) -> None:
    recorded = list(called(name))

    assert recorded
    asked = [spanner.statements or spanner.mutations or spanner.reads for spanner in recorded]
    assert any(asked), "it asked for nothing"
    for spanner in recorded:
        for read in spanner.reads:
            assert set(read.tenants) == {OURS}, read
        for sql, params in spanner.statements:
            assert sql in ACROSS or params["tenant_id"] == OURS, sql
        for mutation in spanner.mutations:
            assert set(mutation.tenants) == {OURS}, mutation


@pytest.mark.parametrize("name", sorted(WITHOUT_A_TENANT))
def test_a_method_without_a_tenant_runs_excepted_statements_and_writes_nobodys_rows(name: str) -> None:
    for spanner in called(name):
        assert {sql for sql, _ in spanner.statements} <= ACROSS
        assert spanner.reads == []
        assert {key for mutation in spanner.mutations for key in mutation.tenants} <= {UNASSIGNED_TENANT}


def test_the_exceptions_are_methods_that_exist() -> None:
    assert set(methods()) >= WITHOUT_A_TENANT


def test_a_tenant_cannot_take_anothers_company_or_address() -> None:
    taken = load_queries("tenants")["route_owners"]
    spanner = RecordingSpanner(rows={taken: [["tenant-theirs", "company", "COM1"]]})

    with pytest.raises(ConfigurationError, match="belongs to tenant tenant-theirs"):
        _store(spanner).check_routes(make_tenant(OURS))

    assert spanner.mutations == []
