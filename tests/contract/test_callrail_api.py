"""CallRail's list of calls through our client, against the stand-in: pages, dates, errors, budgets, the key."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from infra.local.standins.callrail_calls import api_call
from infra.local.standins.callrail_store import LOCAL_API_KEY
from schemas.webhooks import parse_webhook
from shared.backfill import HORIZON, ApiAccess
from shared.errors import Deferred, PermanentFailure, PipelineError, TenantBlocked, TransientFailure
from shared.gateways import callrail_api
from shared.gateways.callrail_api import CALL_FIELDS, PAGE_SIZE, CallRailApi
from shared.gateways.callrail_budget import RequestBudgets
from tests.support.recordings import ACCOUNT, KEY_SECRET, CallRail, DictSecrets, running_callrail
from tests.support.tenants import COMPANY, OTHER_COMPANY
from tests.support.webhooks import CALL, POST_CALL

NOW = datetime.now(UTC).replace(microsecond=0)
SINCE = NOW - timedelta(days=2)
ACCESS = ApiAccess(ACCOUNT, KEY_SECRET)


@pytest.fixture
def callrail() -> Iterator[CallRail]:
    with running_callrail() as standin:
        yield standin


def client(callrail: CallRail, *, budgets: RequestBudgets | None = None, **options: Any) -> CallRailApi:
    given: dict[str, Any] = {"secrets": DictSecrets({KEY_SECRET: LOCAL_API_KEY}), "now": lambda: NOW, **options}
    return CallRailApi(given.pop("secrets"), budgets or RequestBudgets(), local_base_url=callrail.url, **given)


def fill(callrail: CallRail, count: int, *, company: str = COMPANY, name: str = "CAL", begun: datetime = NOW) -> None:
    """Calls `CAL0`, `CAL1`, …, each a minute older than the one before."""
    for index in range(count):
        started = begun - timedelta(hours=1, minutes=index)
        call = {"id": f"{name}{index}", "company_id": company, "start_time": started.isoformat(), "duration": 60}
        callrail.store.put_call(ACCOUNT, call)


def ids(api: CallRailApi, *, since: datetime = SINCE, until: datetime = NOW, company: str = COMPANY) -> list[str]:
    pages = api.pages(ACCESS, company_id=company, since=since, until=until)
    return [str(call["id"]) for page in pages for call in page]


def page(*calls: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A fault rule that answers a page of the list."""
    body = {"calls": list(calls), "has_next_page": False, "next_page": None, "per_page": 250, **changes}
    return {"operation": "calls.list", "kind": "rubbish", "body": body}


# -- the list -----------------------------------------------------------------------------------------


def test_mistakes_14_and_15_every_page_is_read_and_each_is_another_one(
    callrail: CallRail, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(callrail, 2 * PAGE_SIZE + 30)

    found = ids(client(callrail))

    assert found == [f"CAL{index}" for index in range(2 * PAGE_SIZE + 30)]
    assert len(callrail.store.asked) == 3
    monkeypatch.setattr(callrail_api, "PAGE_SIZE", 100)
    assert ids(client(callrail)) == found


def test_mistake_16_calls_older_than_the_default_seven_days_are_listed(callrail: CallRail) -> None:
    long_ago = NOW - timedelta(days=400)
    fill(callrail, 3, begun=long_ago)

    assert ids(client(callrail), since=long_ago - timedelta(days=1), until=long_ago) == ["CAL0", "CAL1", "CAL2"]


def test_mistake_17_the_oldest_window_of_a_backfill_is_inside_callrails_horizon(callrail: CallRail) -> None:
    assert ids(client(callrail), since=NOW - HORIZON) == []
    with pytest.raises(PermanentFailure, match="callrail_refused"):
        ids(client(callrail), since=NOW - timedelta(days=800))


def test_both_ends_of_a_window_belong_to_it(callrail: CallRail) -> None:
    fill(callrail, 3)
    first, last = NOW - timedelta(hours=1, minutes=2), NOW - timedelta(hours=1, minutes=1)

    assert ids(client(callrail), since=first, until=last) == ["CAL1", "CAL2"]


def test_moments_of_other_zones_mean_the_same(callrail: CallRail) -> None:
    from zoneinfo import ZoneInfo

    fill(callrail, 1)
    denver = ZoneInfo("America/Denver")

    assert ids(client(callrail), since=SINCE.astimezone(denver), until=NOW.astimezone(denver)) == ["CAL0"]


def test_a_company_sees_its_own_calls_only(callrail: CallRail) -> None:
    fill(callrail, 2)
    fill(callrail, 3, company=OTHER_COMPANY, name="OTHER")

    assert ids(client(callrail)) == ["CAL0", "CAL1"]
    assert ids(client(callrail), company=OTHER_COMPANY) == ["OTHER0", "OTHER1", "OTHER2"]


def test_callrail_knows_every_field_that_is_asked_for(callrail: CallRail) -> None:
    callrail.store.put_call(ACCOUNT, api_call(POST_CALL, account_id=ACCOUNT))
    window = {"since": datetime(2026, 11, 18, tzinfo=UTC), "until": datetime(2026, 11, 19, tzinfo=UTC)}

    ((call,),) = client(callrail).pages(ACCESS, company_id=COMPANY, **window)

    assert set(CALL_FIELDS) <= set(call)
    assert parse_webhook(call).call_id == CALL
    assert parse_webhook(call).marketing.campaign == "winter-furnace"


def test_one_unknown_field_fails_the_request(callrail: CallRail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callrail_api, "CALL_FIELDS", (*CALL_FIELDS, "no_such_field"))
    with pytest.raises(PermanentFailure, match="callrail_refused"):
        ids(client(callrail))


def test_calls_that_appear_while_pages_are_read_hide_no_other(callrail: CallRail) -> None:
    """The list is newest first: what is added pushes the rest down, so some are listed twice and none is lost."""
    fill(callrail, PAGE_SIZE + 10)
    pages = client(callrail).pages(ACCESS, company_id=COMPANY, since=SINCE, until=NOW)

    first = [str(call["id"]) for call in next(pages)]
    fill(callrail, 5, name="NEW", begun=NOW + timedelta(minutes=30))
    rest = [str(call["id"]) for page in pages for call in page]

    assert set(first) | set(rest) >= {f"CAL{index}" for index in range(PAGE_SIZE + 10)}
    assert len(set(first) & set(rest)) == 5


# -- answers that are none ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        (400, PermanentFailure, "callrail_refused"),
        (401, TenantBlocked, "callrail_key_refused"),
        (403, TenantBlocked, "callrail_forbidden"),
        (404, TenantBlocked, "callrail_not_found"),
        (405, PermanentFailure, "callrail_refused"),
        (406, PermanentFailure, "callrail_refused"),
        (408, TransientFailure, "callrail_unavailable"),
        (422, PermanentFailure, "callrail_refused"),
        (429, Deferred, "callrail_budget"),
        (500, TransientFailure, "callrail_unavailable"),
        (502, TransientFailure, "callrail_unavailable"),
        (503, TransientFailure, "callrail_unavailable"),
        (301, PermanentFailure, "callrail_refused"),
    ],
)
def test_every_status_has_its_meaning(callrail: CallRail, status: int, error: type[PipelineError], code: str) -> None:
    callrail.misbehaves({"operation": "calls.list", "kind": "status", "status": status, "times": 10})

    with pytest.raises(error) as caught:
        ids(client(callrail))

    assert caught.value.code == code
    assert LOCAL_API_KEY not in str(caught.value)
    if isinstance(caught.value, TenantBlocked):
        assert KEY_SECRET in caught.value.fix, "the person who mends it must know which secret"


@pytest.mark.parametrize("kind", ["status", "drop"])
def test_a_passing_weakness_is_not_noticed(callrail: CallRail, kind: str) -> None:
    fill(callrail, 3)
    callrail.misbehaves({"operation": "calls.list", "kind": kind, "status": 503, "times": 2})

    assert ids(client(callrail)) == ["CAL0", "CAL1", "CAL2"]


@pytest.mark.parametrize(
    "body",
    [
        "<html>maintenance</html>",
        [],
        {"calls": None, "has_next_page": False},
        {"calls": ["CAL1"], "has_next_page": False},
        {"calls": [], "page": 1, "total_pages": 3, "total_records": 700},
        {"calls": [], "has_next_page": True, "next_page": None},
        {"calls": [], "has_next_page": True, "next_page": "https://[::1"},
    ],
    ids=["page", "list", "no calls", "no objects", "offset paging", "no link", "no url"],
)
def test_an_answer_that_cannot_be_understood_never_ends_the_list(callrail: CallRail, body: Any) -> None:
    """To take it for an empty page would be to lose the calls that were to follow."""
    callrail.misbehaves({"operation": "calls.list", "kind": "rubbish", "body": body, "times": 10})

    with pytest.raises(TransientFailure, match="callrail_unreadable"):
        ids(client(callrail))


@pytest.mark.parametrize(
    "link",
    [
        "https://calls.example.com/v3/a/ACC1/calls.json?page=2",
        "https://api.callrail.com.example.com/v3/a/ACC1/calls.json",
        "https://api.callrail.com:8443/v3/a/ACC1/calls.json",
        "https://user@api.callrail.com/v3/a/ACC1/calls.json",
        "https://api.callrail.com/v3/a/ACC1/users.json",
        "https://api.callrail.com/elsewhere",
        "ftp://api.callrail.com/v3/a/ACC1/calls.json",
    ],
)
def test_mistake_20_the_key_follows_no_page_out_of_callrails_list(callrail: CallRail, link: str) -> None:
    callrail.misbehaves(page(has_next_page=True, next_page=link))

    with pytest.raises(PermanentFailure, match="callrail_next_page_forbidden"):
        ids(client(callrail))

    assert len(callrail.store.asked) == 1


def test_a_next_page_without_tls_is_asked_for_with_it(callrail: CallRail) -> None:
    fill(callrail, 1)
    link = f"http://api.callrail.com/v3/a/{ACCOUNT}/calls.json?relative_pagination=true&offset=0"
    callrail.misbehaves(page(has_next_page=True, next_page=link))

    assert ids(client(callrail)) == ["CAL0"]


def test_pages_that_lead_in_a_circle_come_to_an_end(callrail: CallRail) -> None:
    link = f"https://api.callrail.com/v3/a/{ACCOUNT}/calls.json?relative_pagination=true&offset=250"
    callrail.misbehaves({**page(has_next_page=True, next_page=link), "times": 100})

    with pytest.raises(TransientFailure, match="circle"):
        ids(client(callrail))
    assert len(callrail.store.asked) == 2


# -- key and budget -----------------------------------------------------------------------------------


def test_a_key_that_was_just_replaced_is_read_again(callrail: CallRail) -> None:
    fill(callrail, 1)
    secrets = DictSecrets({KEY_SECRET: LOCAL_API_KEY}, stale={KEY_SECRET: "revoked"})

    assert ids(client(callrail, secrets=secrets)) == ["CAL0"]


def test_a_wrong_key_is_asked_with_once(callrail: CallRail) -> None:
    with pytest.raises(TenantBlocked, match="callrail_key_refused"):
        ids(client(callrail, secrets=DictSecrets({KEY_SECRET: "wrong"})))
    assert len(callrail.store.asked) == 1


def test_without_the_secret_nothing_is_asked(callrail: CallRail) -> None:
    with pytest.raises(TenantBlocked, match="secret_missing"):
        ids(client(callrail, secrets=DictSecrets({})))
    assert callrail.store.asked == []


def test_callrails_429_closes_the_account_for_everybody_in_the_process(callrail: CallRail) -> None:
    httpx.put(f"{callrail.url}/_standin/budget", json={"requests": 0}, trust_env=False).raise_for_status()
    budgets = RequestBudgets()

    for _ in range(3):
        with pytest.raises(Deferred) as caught:
            ids(client(callrail, budgets=budgets))
        assert NOW + timedelta(minutes=4) < caught.value.until <= NOW + timedelta(minutes=5)

    assert len(callrail.store.asked) == 1, "an account that is over its limit is not asked again and again"


def test_our_own_budget_stops_before_callrail_does(callrail: CallRail) -> None:
    fill(callrail, 3 * PAGE_SIZE)
    budgets = RequestBudgets(per_hour=360, burst=2)
    api = client(callrail, budgets=budgets)
    pages = api.pages(ACCESS, company_id=COMPANY, since=SINCE, until=NOW)

    assert [len(next(pages)), len(next(pages))] == [PAGE_SIZE, PAGE_SIZE]
    with pytest.raises(Deferred) as caught:
        next(pages)

    assert caught.value.until - NOW <= timedelta(seconds=10)
    assert len(callrail.store.asked) == 2


def test_a_patient_client_waits_for_its_budget(callrail: CallRail) -> None:
    fill(callrail, 3 * PAGE_SIZE)
    clock, waits = [0.0], []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        clock[0] += seconds

    budgets = RequestBudgets(per_hour=360, burst=1, monotonic=lambda: clock[0])

    assert len(ids(client(callrail, budgets=budgets, patience_s=60, sleep=sleep))) == 3 * PAGE_SIZE
    assert waits == pytest.approx([10, 10])
