"""The tenant cache: who is asked how often, what serves during an outage, what a flood can push out."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from schemas.tenant import Tenant
from shared.errors import TenantBlocked, TransientFailure
from shared.gateways.tenant_cache import MAX_ENTRIES, MAX_LOADS, OUTAGE_PAUSE_S, TenantCache
from tests.support.tenants import make_tenant

KEY = ("id", "acme-plumbing")


class Time:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Registry:
    """What the database would say, and how often it was asked."""

    def __init__(self, answer: Tenant | None) -> None:
        self.answer = answer
        self.error: Exception | None = None
        self.asked = 0

    def __call__(self) -> Tenant | None:
        self.asked += 1
        if self.error:
            raise self.error
        return self.answer


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def cache(time: Time) -> TenantCache:
    return TenantCache(ttl_s=60, negative_ttl_s=10, stale_for_s=300, load_timeout_s=5, timer=time)


def outage() -> TransientFailure:
    return TransientFailure("spanner_unavailable", "no answer")


def test_a_known_tenant_is_asked_for_once_in_its_time(cache: TenantCache, time: Time) -> None:
    registry = Registry(make_tenant())
    for _ in range(3):
        assert cache.get(KEY, registry) == registry.answer
    assert registry.asked == 1

    time.now += 61
    registry.answer = make_tenant(status="suspended")
    assert cache.get(KEY, registry) == registry.answer


def test_an_unknown_key_is_remembered_for_a_shorter_time(cache: TenantCache, time: Time) -> None:
    registry = Registry(None)
    assert cache.get(KEY, registry) is None
    registry.answer = make_tenant()
    time.now += 9
    assert cache.get(KEY, registry) is None

    time.now += 2
    assert cache.get(KEY, registry) == registry.answer


def test_a_tenant_that_is_gone_is_forgotten(cache: TenantCache, time: Time) -> None:
    registry = Registry(make_tenant())
    cache.get(KEY, registry)
    registry.answer = None
    time.now += 61

    assert cache.get(KEY, registry) is None
    registry.error = outage()
    time.now += 11
    with pytest.raises(TransientFailure):
        cache.get(KEY, registry)


def test_an_expired_answer_serves_during_an_outage_but_not_for_ever(cache: TenantCache, time: Time) -> None:
    registry = Registry(make_tenant())
    cache.get(KEY, registry)
    registry.error = outage()

    time.now += 61
    assert cache.get(KEY, registry) == registry.answer
    time.now += 298
    assert cache.get(KEY, registry) == registry.answer
    time.now += 2
    with pytest.raises(TransientFailure):
        cache.get(KEY, registry)


def test_during_an_outage_the_database_is_asked_again_only_after_a_pause(cache: TenantCache, time: Time) -> None:
    registry = Registry(make_tenant())
    cache.get(KEY, registry)
    registry.error = outage()
    time.now += 61
    for _ in range(10):
        cache.get(KEY, registry)
    assert registry.asked == 2

    time.now += OUTAGE_PAUSE_S + 1
    registry.error, registry.answer = None, make_tenant(status="suspended")
    assert cache.get(KEY, registry) == registry.answer


def test_without_an_older_answer_an_outage_is_a_transient_failure_and_is_not_remembered(cache: TenantCache) -> None:
    registry = Registry(make_tenant())
    registry.error = outage()
    with pytest.raises(TransientFailure):
        cache.get(KEY, registry)

    registry.error = None
    assert cache.get(KEY, registry) == registry.answer


def test_an_unreadable_row_is_not_papered_over_by_an_old_answer(cache: TenantCache, time: Time) -> None:
    registry = Registry(make_tenant())
    cache.get(KEY, registry)
    registry.error = TenantBlocked("tenant_config_unreadable", "wrong")
    time.now += 61

    with pytest.raises(TenantBlocked):
        cache.get(KEY, registry)


def test_a_flood_of_made_up_ids_does_not_push_out_a_real_tenant(cache: TenantCache) -> None:
    registry = Registry(make_tenant())
    cache.get(KEY, registry)
    for number in range(MAX_ENTRIES + 10):
        cache._keep(("company", f"COM{number}"), None)  # as a finished load does, without ten thousand threads

    assert len(cache._unknown) == MAX_ENTRIES
    assert cache.get(KEY, registry) == registry.answer
    assert registry.asked == 1


def in_threads(count: int, work: Callable[[], None]) -> list[threading.Thread]:
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads


def test_many_callers_of_one_key_share_one_load(cache: TenantCache) -> None:
    loading, finish = threading.Event(), threading.Event()
    registry = Registry(make_tenant())

    def slow() -> Tenant | None:
        loading.set()
        assert finish.wait(10)
        return registry()

    answers: list[Tenant | None] = []
    threads = in_threads(20, lambda: answers.append(cache.get(KEY, slow)))
    assert loading.wait(10)
    finish.set()
    for thread in threads:
        thread.join(10)

    assert answers == [registry.answer] * 20
    assert registry.asked == 1


def test_a_hanging_load_keeps_nobody_waiting_beyond_the_time_out_and_fills_the_cache_when_it_ends(time: Time) -> None:
    cache = TenantCache(ttl_s=60, negative_ttl_s=10, stale_for_s=300, load_timeout_s=0.05, timer=time)
    finish = threading.Event()
    registry = Registry(make_tenant())

    def hanging() -> Tenant | None:
        assert finish.wait(10)
        return registry()

    with pytest.raises(TransientFailure, match=r"in 0\.05 s"):
        cache.get(KEY, hanging)
    finish.set()
    _join_loads()
    assert cache.get(KEY, hanging) == registry.answer
    assert registry.asked == 1


def test_when_too_many_loads_hang_new_keys_are_refused_at_once_and_cached_tenants_still_found(time: Time) -> None:
    cache = TenantCache(ttl_s=60, negative_ttl_s=10, stale_for_s=300, load_timeout_s=0.001, timer=time)
    finish = threading.Event()
    registry = Registry(make_tenant())
    cache._keep(KEY, registry.answer)

    def hanging() -> Tenant | None:
        assert finish.wait(10)
        return None

    for number in range(MAX_LOADS):
        with pytest.raises(TransientFailure):
            cache.get(("company", f"COM{number}"), hanging)
    with pytest.raises(TransientFailure, match="waiting for Spanner"):
        cache.get(("company", "COMnew"), hanging)
    assert cache.get(KEY, registry) == registry.answer

    finish.set()
    _join_loads()
    assert cache.get(("company", "COM1"), hanging) is None


def _join_loads() -> None:
    for thread in threading.enumerate():
        if thread.name == "tenant-load":
            thread.join(10)
