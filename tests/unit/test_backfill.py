"""What a backfill looks at and what it brings in: windows cut into days, calls sorted by what we know of them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.calls import CallDetails
from shared.backfill import (
    HORIZON,
    LONGEST_CALL,
    NOTHING,
    ListedCall,
    Tally,
    Window,
    access_of,
    compare,
    is_too_young,
    read_call,
    recent_days,
    require_access,
    window_of,
)
from shared.backfill_run import pacer
from shared.errors import ConfigurationError
from tests.support.ports import NOON
from tests.support.tenants import COMPANY, OTHER_COMPANY, make_tenant

DAY = timedelta(days=1)
MOMENTS = st.datetimes(min_value=datetime(2025, 1, 1), max_value=datetime(2026, 11, 23), timezones=st.just(UTC))  # noqa: DTZ001  # hypothesis adds the zone


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# -- windows ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("since", "until", "window"),
    [
        ("7d", None, (NOON - 7 * DAY, NOON)),
        ("36h", None, (NOON - timedelta(hours=36), NOON)),
        ("2026-11-01", None, (at("2026-11-01"), NOON)),
        ("2026-11-01", "2026-11-02", (at("2026-11-01"), at("2026-11-03"))),
        ("2026-11-01", "2026-11-23", (at("2026-11-01"), NOON)),
        ("2026-11-01T08:30:00", "2026-11-01 09:00:00", (at("2026-11-01T08:30:00"), at("2026-11-01T09:00:00"))),
        ("2026-11-01T08:30:00-07:00", "2026-12-24", (at("2026-11-01T15:30:00"), NOON)),
        ("2026-11-01T08:30:00.750Z", None, (at("2026-11-01T08:30:00"), NOON)),
    ],
)
def test_an_operators_words_become_a_window(since: str, until: str | None, window: tuple[datetime, datetime]) -> None:
    assert window_of(since, until, now=NOON) == Window(*window)


@pytest.mark.parametrize(
    ("since", "until", "code"),
    [
        ("yesterday", None, "unreadable_time"),
        ("", None, "unreadable_time"),
        ("7", None, "unreadable_time"),
        ("2026-02-30", None, "unreadable_time"),
        ("7d", "soon", "unreadable_time"),
        ("9999d", None, "window_too_old"),
        ("2026-11-24", None, "empty_window"),
        ("2026-11-20", "2026-11-19", "empty_window"),
        ("0d", None, "empty_window"),
    ],
)
def test_a_window_that_makes_no_sense_is_refused_in_clear_words(since: str, until: str | None, code: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        window_of(since, until, now=NOON)
    assert caught.value.code == code


def test_the_oldest_window_is_younger_than_our_own_rows() -> None:
    """Rows live 760 days: a call older than that would look as if it had never arrived."""
    assert timedelta(days=760) - HORIZON >= timedelta(days=30)
    assert window_of(str((NOON - HORIZON).date() + DAY), None, now=NOON)


@given(since=MOMENTS, length=st.timedeltas(min_value=timedelta(seconds=1), max_value=timedelta(days=20)))
def test_the_days_of_a_window_cover_every_second_of_it_in_order(since: datetime, length: timedelta) -> None:
    window = Window(since.replace(microsecond=0), (since + length).replace(microsecond=0) + timedelta(seconds=1))
    now = max(NOON, window.until)
    parts = window.parts(now=now)

    assert (parts[0].since, parts[-1].until) == (window.since, window.until)
    for one, following in pairwise(parts):
        assert one.until == following.since, "a call in the last second of a day lies in one of the two"
        assert following.day == one.day + DAY
    for part in parts:
        midnight = datetime.combine(part.day, datetime.min.time(), tzinfo=UTC)
        assert midnight <= part.since < part.until <= midnight + DAY
        assert part.is_whole_day == (part.since == midnight and part.until in {midnight + DAY, now})


def test_the_scheduled_form_looks_at_yesterday_and_today() -> None:
    parts = recent_days(now=NOON).parts(now=NOON)

    assert [(part.day, part.is_whole_day) for part in parts] == [(date(2026, 11, 22), True), (date(2026, 11, 23), True)]
    assert parts[-1].until == NOON


# -- which calls --------------------------------------------------------------------------------------


def call(call_id: str = "CAL1", *, age: timedelta = DAY, **changes: Any) -> ListedCall:
    details = CallDetails.model_validate(
        {"call_id": call_id, "started_at": NOON - age, "duration_s": 60, "call_type": "answered", **changes}
    )
    return ListedCall(details, {"id": call_id})


@pytest.mark.parametrize(
    ("known_as", "expected"),
    [
        ({"started": {"CAL1"}, "seen": {"CAL1"}}, Tally(listed=1, had=1)),
        ({"started": {"CAL1"}, "seen": set()}, Tally(listed=1, had=1)),
        ({"started": set(), "seen": {"CAL1"}}, Tally(listed=1, never_started=1)),
        ({"started": {"CAL2"}, "seen": {"CAL2"}}, Tally(listed=1, never_seen=1)),
    ],
)
def test_a_call_is_brought_in_exactly_when_its_chain_never_started(
    known_as: dict[str, set[str]], expected: Tally
) -> None:
    found = compare([call()], started=known_as["started"], seen=known_as["seen"], now=NOON)

    assert found.tally == expected
    assert len(found.to_recover) == expected.missing


@pytest.mark.parametrize(
    ("age", "changes", "young"),
    [
        (timedelta(minutes=30, seconds=59), {}, True),
        (timedelta(minutes=31), {}, False),
        (timedelta(minutes=31), {"duration_s": 3600}, True),
        (timedelta(minutes=89), {"duration_s": 3600}, True),
        (timedelta(minutes=90), {"duration_s": 3600}, False),
        (timedelta(minutes=31), {"duration_s": None}, False),
        (timedelta(hours=5), {"call_type": "in_progress", "duration_s": None}, True),
        (LONGEST_CALL, {"call_type": "in_progress", "duration_s": None}, False),
        (DAY, {"started_at": None}, False),
    ],
)
def test_a_call_whose_webhook_may_still_come_is_left_alone(
    age: timedelta, changes: dict[str, Any], *, young: bool
) -> None:
    """The call's length, CallRail's 20 minutes and a margin of 10."""
    assert is_too_young(call(age=age, **changes).details, now=NOON) is young


def test_a_young_call_that_has_started_counts_as_ours() -> None:
    found = compare([call(age=timedelta(0))], started={"CAL1"}, seen=set(), now=NOON)

    assert found.tally == Tally(listed=1, had=1)


@given(
    ages=st.lists(st.integers(min_value=0, max_value=200), max_size=40),
    started=st.sets(st.integers(0, 40)),
    seen=st.sets(st.integers(0, 40)),
)
def test_every_listed_call_is_counted_once_and_under_one_heading(
    ages: list[int], started: set[int], seen: set[int]
) -> None:
    calls = [call(f"CAL{index}", age=timedelta(minutes=age)) for index, age in enumerate(ages)]
    found = compare(calls, started={f"CAL{n}" for n in started}, seen={f"CAL{n}" for n in seen}, now=NOON)
    tally = found.tally

    assert tally.listed == len(calls) == tally.had + tally.never_seen + tally.never_started + tally.too_young
    brought_in = {item.details.call_id for item in found.to_recover}
    assert len(brought_in) == tally.missing
    assert brought_in.isdisjoint(f"CAL{n}" for n in started)
    assert not any(is_too_young(item.details, now=NOON) for item in found.to_recover)


def test_a_tally_says_what_is_left_to_do() -> None:
    found = Tally(listed=600, had=570, never_seen=28, never_started=2)
    done = sum([Tally(recovered=1)] * 30, found)

    assert (found.missing, found.ours, found.left_behind, found.is_settled) == (30, 570, 30, False)
    assert (done.missing, done.ours, done.left_behind, done.is_settled) == (30, 600, 0, True)
    assert not Tally(listed=1, too_young=1).is_settled
    assert Tally(listed=1, too_young=1).left_behind == 0, "the next run looks at it: no reason for an alarm"
    assert Tally(listed=1, refused=1).left_behind == 1
    assert NOTHING.is_settled


@pytest.mark.parametrize(
    ("payload", "accepted"),
    [
        ({"id": "CAL1", "company_id": COMPANY}, True),
        ({"id": "CAL1"}, True),
        ({"id": "CAL1", "company_id": OTHER_COMPANY}, False),
        ({"id": "CAL1", "company_id": COMPANY, "duration": "long"}, False),
        ({"company_id": COMPANY}, False),
    ],
)
def test_a_call_of_another_company_or_none_at_all_is_refused(payload: dict[str, Any], *, accepted: bool) -> None:
    assert (read_call(payload, company_id=COMPANY) is not None) is accepted


def test_an_old_company_id_is_answered_with_the_new_one() -> None:
    assert read_call({"id": "CAL1", "company_id": COMPANY}, company_id="700100200")
    assert not read_call({"id": "CAL1", "company_id": "700100201"}, company_id="700100200")


# -- access and pace ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "missing"),
    [
        ({}, "callrail_account_id and callrail_api_key_secret"),
        ({"callrail_account_id": "ACC1"}, "no callrail_api_key_secret"),
        ({"callrail_api_key_secret": "key"}, "no callrail_account_id"),
    ],
)
def test_a_tenant_without_access_is_told_what_is_missing(config: dict[str, str], missing: str) -> None:
    tenant = make_tenant(**config)

    assert access_of(tenant) is None
    with pytest.raises(ConfigurationError, match=missing):
        require_access(tenant)


def test_calls_are_started_evenly_and_never_in_a_burst_after_a_pause() -> None:
    clock, waits = [100.0], []

    def sleep(seconds: float) -> None:
        waits.append(round(seconds, 3))
        clock[0] += seconds

    pace = pacer(4.0, monotonic=lambda: clock[0], sleep=sleep)
    for _ in range(3):
        pace()
    clock[0] += 10
    for _ in range(3):
        pace()

    assert waits == [0.25, 0.25, 0.25, 0.25]
