"""Companies and webhooks of a CallRail account through our client, against the stand-in; and what the stand-in says."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from infra.local.standins.callrail_store import LOCAL_API_KEY
from shared.backfill import ApiAccess
from shared.errors import Deferred, TenantBlocked, TransientFailure
from shared.gateways.callrail_account import CallRailAccount
from shared.gateways.callrail_budget import RequestBudgets
from tests.support.recordings import ACCOUNT, KEY_SECRET, CallRail, DictSecrets, running_callrail
from tests.support.tenants import COMPANY, OTHER_COMPANY, SIGNING_KEY

ACCESS = ApiAccess(ACCOUNT, KEY_SECRET)
URLS = {"post_call_webhook": ["https://one.example.com/a", "https://two.example.com/b"]}


@pytest.fixture
def callrail() -> Iterator[CallRail]:
    with running_callrail() as standin:
        put_company(standin, signing_key=SIGNING_KEY, urls=URLS)
        yield standin


def put_company(callrail: CallRail, **company: Any) -> None:
    document = {"account_id": ACCOUNT, "company_id": COMPANY, "name": "Acme Plumbing", **company}
    httpx.put(f"{callrail.url}/_standin/companies", json=document, trust_env=False).raise_for_status()


def account(callrail: CallRail, *, key: str = LOCAL_API_KEY) -> CallRailAccount:
    secrets = DictSecrets({KEY_SECRET: key})
    return CallRailAccount(secrets, RequestBudgets(), now=lambda: datetime.now(UTC), local_base_url=callrail.url)


def test_a_company_is_found_with_its_name(callrail: CallRail) -> None:
    found = account(callrail).company(ACCESS, COMPANY)

    assert (found.company_id, found.name, found.is_active) == (COMPANY, "Acme Plumbing", True)


def test_a_company_that_is_switched_off_says_so(callrail: CallRail) -> None:
    put_company(callrail, status="disabled")

    assert not account(callrail).company(ACCESS, COMPANY).is_active


def test_the_webhooks_of_a_company_come_with_addresses_and_signing_key(callrail: CallRail) -> None:
    found = account(callrail).webhooks(ACCESS, COMPANY)

    assert found is not None
    assert found.is_on
    assert found.urls == {"post_call_webhook": tuple(URLS["post_call_webhook"])}
    assert found.signing_key == SIGNING_KEY
    assert SIGNING_KEY not in repr(found)


def test_a_company_without_webhooks_has_none(callrail: CallRail) -> None:
    put_company(callrail, company_id=OTHER_COMPANY)

    assert account(callrail).webhooks(ACCESS, OTHER_COMPANY) is None


@pytest.mark.parametrize(
    ("company_id", "key", "code"),
    [
        ("COM0", LOCAL_API_KEY, "callrail_not_found"),
        (COMPANY, "a-wrong-key", "callrail_key_refused"),
        (COMPANY, "no-administrators-key", "callrail_forbidden"),
    ],
)
def test_what_a_key_may_not_see_needs_a_person(callrail: CallRail, company_id: str, key: str, code: str) -> None:
    put_company(callrail, signing_key=SIGNING_KEY, api_key="no-administrators-key", is_restricted=True)

    with pytest.raises(TenantBlocked) as caught:
        account(callrail, key=key).webhooks(ACCESS, company_id)

    assert caught.value.code == code
    assert key not in str(caught.value)


@pytest.mark.parametrize(
    ("rule", "error"),
    [
        ({"kind": "status", "status": 429}, Deferred),
        ({"kind": "rubbish", "body": {"integrations": "none"}}, TransientFailure),
        ({"kind": "rubbish", "body": "<html>"}, TransientFailure),
    ],
)
def test_trouble_at_callrail_is_no_answer(callrail: CallRail, rule: dict[str, Any], error: type[Exception]) -> None:
    callrail.misbehaves({"operation": "integrations.list", "times": 5, **rule})

    with pytest.raises(error):
        account(callrail).webhooks(ACCESS, COMPANY)


# --- the stand-in -------------------------------------------------------------------------------------


def test_the_stand_in_lists_integrations_by_company_and_hands_out_the_key_only_by_name(callrail: CallRail) -> None:
    headers = {"Authorization": f'Token token="{LOCAL_API_KEY}"'}
    with httpx.Client(base_url=f"{callrail.url}/v3/a/{ACCOUNT}", headers=headers, trust_env=False) as api:
        (listed,) = api.get("/integrations.json", params={"company_id": COMPANY}).json()["integrations"]
        shown = api.get(f"/integrations/{listed['id']}.json").json()
        named = api.get(f"/integrations/{listed['id']}.json", params={"fields": "signing_key"}).json()

        assert api.get("/integrations.json").status_code == 400
        assert api.get("/integrations/0.json").status_code == 404
        assert (listed["type"], listed["state"], listed["config"]) == ("Webhooks", "active", URLS)
        assert "signing_key" not in listed | shown
        assert named["signing_key"] == SIGNING_KEY
