"""The budget of requests to CallRail: per account, below CallRail's limits of the hour and the day."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from hypothesis import given
from hypothesis import strategies as st

from shared.gateways.callrail_budget import BURST, REQUESTS_PER_HOUR, RequestBudgets
from tests.support.tenant_world import Time

CALLRAIL_PER_HOUR = 1_000
CALLRAIL_PER_DAY = 10_000


def granted(budgets: RequestBudgets, *, account: str = "ACC1", asked: int = 10_000) -> int:
    """How many of `asked` requests are granted at this moment."""
    return next((count for count in range(asked) if budgets.take(account) > 0), asked)


def test_the_limits_leave_room_for_the_download_workers() -> None:
    assert REQUESTS_PER_HOUR + BURST <= CALLRAIL_PER_HOUR / 2
    assert REQUESTS_PER_HOUR * 24 + BURST < CALLRAIL_PER_DAY


@given(pauses=st.lists(st.floats(min_value=0, max_value=900), max_size=30))
def test_no_hour_sees_more_than_the_burst_and_the_hours_share(pauses: list[float]) -> None:
    time = Time()
    budgets = RequestBudgets(per_hour=400, burst=100, monotonic=time)
    grants: list[tuple[float, int]] = [(time.now, granted(budgets))]
    for pause in pauses:
        time.now += pause
        grants.append((time.now, granted(budgets)))

    for begun, _ in grants:
        assert sum(count for moment, count in grants if begun <= moment <= begun + 3600) <= 500


def test_a_refusal_says_when_the_next_request_is_free() -> None:
    time = Time()
    budgets = RequestBudgets(per_hour=360, burst=2, monotonic=time)
    assert granted(budgets) == 2

    wait_s = budgets.take("ACC1")
    assert 9.9 < wait_s <= 10
    time.now += wait_s
    assert granted(budgets) == 1


def test_accounts_have_budgets_of_their_own() -> None:
    budgets = RequestBudgets(per_hour=1, burst=3)
    assert granted(budgets) == 3
    assert granted(budgets, account="ACC2") == 3


def test_a_closed_account_is_left_alone_until_its_time_is_over() -> None:
    time = Time()
    budgets = RequestBudgets(per_hour=3600, burst=5, monotonic=time)
    budgets.close("ACC1", for_s=300)

    assert budgets.take("ACC1") == 300
    assert budgets.take("ACC2") == 0
    time.now += 299
    assert budgets.take("ACC1") == 1
    time.now += 1
    assert granted(budgets) == 5


def test_threads_together_get_no_more_than_the_budget() -> None:
    budgets = RequestBudgets(per_hour=0.001, burst=50)
    with ThreadPoolExecutor(8) as workers:
        waits = list(workers.map(lambda _: budgets.take("ACC1"), range(400)))
    assert sum(wait == 0 for wait in waits) == 50
