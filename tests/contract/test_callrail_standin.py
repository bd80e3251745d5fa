"""The CallRail stand-in behaves as CallRail is described: paging, dates, keys, budgets, recordings."""

from __future__ import annotations

import io
import wave
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from infra.local.standins.callrail_store import LOCAL_API_KEY
from tests.support.recordings import ACCOUNT, CALL, CallRail, running_callrail
from tests.support.webhooks import POST_CALL

KEY = {"Authorization": f'Token token="{LOCAL_API_KEY}"'}
CALLS = f"/v3/a/{ACCOUNT}/calls.json"


@pytest.fixture
def callrail() -> Iterator[CallRail]:
    with running_callrail() as standin:
        yield standin


@pytest.fixture
def api(callrail: CallRail) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=callrail.url, headers=KEY, trust_env=False) as client:
        yield client


def register(api: httpx.Client, *, count: int, account: str = ACCOUNT, age: timedelta = timedelta(hours=1)) -> None:
    """Calls `CAL0`, `CAL1`, … , each a minute older than the one before."""
    for index in range(count):
        started = datetime.now(UTC) - age - timedelta(minutes=index)
        call = {"id": f"CAL{index}", "start_time": started.isoformat(), "duration": 60, "company_id": f"COM{index % 2}"}
        api.post("/_standin/calls", json={"account_id": account, "call": call}).raise_for_status()


def ids(body: dict[str, Any]) -> list[str]:
    return [call["id"] for call in body["calls"]]


def test_offset_paging_counts_pages_and_records(api: httpx.Client) -> None:
    register(api, count=5)

    pages = [api.get(CALLS, params={"per_page": 2, "page": page}).json() for page in (1, 2, 3)]

    assert [ids(page) for page in pages] == [["CAL0", "CAL1"], ["CAL2", "CAL3"], ["CAL4"]]
    assert (pages[0]["total_pages"], pages[0]["total_records"], pages[0]["page"]) == (3, 5, 1)
    assert "has_next_page" not in pages[0]


def test_relative_paging_is_followed_by_its_link_to_the_end(api: httpx.Client) -> None:
    register(api, count=5)
    seen: list[str] = []
    link: str | None = f"{CALLS}?relative_pagination=true&per_page=2"

    while link:
        body = api.get(link).json()
        seen += ids(body)
        link = (body["next_page"] or "").removeprefix("https://api.callrail.com")

    assert seen == ["CAL0", "CAL1", "CAL2", "CAL3", "CAL4"]
    assert body["has_next_page"] is False


def test_only_the_last_seven_days_are_listed_unless_dates_are_given(api: httpx.Client) -> None:
    register(api, count=1, age=timedelta(days=8))

    assert ids(api.get(CALLS).json()) == []
    since = (datetime.now(UTC) - timedelta(days=9)).strftime("%Y-%m-%d")
    assert ids(api.get(CALLS, params={"start_date": since}).json()) == ["CAL0"]
    assert ids(api.get(CALLS, params={"start_date": since, "end_date": since}).json()) == []


def test_calls_are_listed_by_account_and_company(api: httpx.Client) -> None:
    register(api, count=3)
    register(api, count=1, account="ACC2")

    assert ids(api.get(CALLS, params={"company_id": "COM1"}).json()) == ["CAL1"]
    assert [account["id"] for account in api.get("/v3/a.json").json()["accounts"]] == [ACCOUNT, "ACC2"]


@pytest.mark.parametrize(
    "parameters",
    [
        {"fields": "company_id,nonsense"},
        {"start_date": "2026-11-01T10:00:00.123"},
        {"start_date": "2026-11-01T10:00:00+01:00"},
        {"start_date": "2020-01-01"},
        {"per_page": "251"},
        {"time_zone": "Mars/Base"},
    ],
)
def test_what_callrail_refuses_is_refused(api: httpx.Client, parameters: dict[str, str]) -> None:
    assert api.get(CALLS, params=parameters).status_code == 400


def test_a_call_can_be_registered_by_its_webhook_together_with_its_recording(api: httpx.Client, tmp_path: Any) -> None:
    (tmp_path / "a.mp3").write_bytes(b"ID3" + bytes(500))
    webhook = POST_CALL | {"recording": "", "recording_duration": ""}
    body = {"account_id": ACCOUNT, "webhook": webhook, "recording": {"path": str(tmp_path / "a.mp3")}}
    api.post("/_standin/calls", json=body).raise_for_status()

    call = api.get(f"/v3/a/{ACCOUNT}/calls/{CALL}.json", params={"fields": "company_id,tags"}).json()

    assert (call["id"], call["company_id"], call["duration"]) == (CALL, webhook["company_resource_id"], 214)
    assert (call["recording_duration"], call["tags"]) == (None, ["new customer"])
    link = call["recording"].removeprefix("https://api.callrail.com")
    assert api.get(link).json()["url"].startswith(f"http://app.callrail.com/calls/{CALL}/recording/redirect")


def test_a_call_marked_as_spam_disappears(api: httpx.Client) -> None:
    calls = [{"id": f"CAL{n}", "start_time": datetime.now(UTC).isoformat()} for n in range(2)]
    api.post("/_standin/calls", json={"account_id": ACCOUNT, "calls": calls}).raise_for_status()

    api.delete("/_standin/calls/CAL0").raise_for_status()

    assert ids(api.get(CALLS).json()) == ["CAL1"]
    assert api.get(f"/v3/a/{ACCOUNT}/calls/CAL0.json").status_code == 404


def test_a_single_call_shows_default_and_chosen_fields(api: httpx.Client) -> None:
    register(api, count=1)

    plain = api.get(f"/v3/a/{ACCOUNT}/calls/CAL0.json").json()
    chosen = api.get(f"/v3/a/{ACCOUNT}/calls/CAL0.json", params={"fields": "company_id"}).json()

    assert "company_id" not in plain
    assert chosen == {**plain, "company_id": "COM0"}
    assert api.get(f"/v3/a/{ACCOUNT}/calls/CAL9.json").status_code == 404


def test_the_api_wants_a_valid_key(callrail: CallRail, api: httpx.Client) -> None:
    for headers in ({}, {"Authorization": "Token token=wrong"}, {"Authorization": f"Bearer {LOCAL_API_KEY}"}):
        assert httpx.get(callrail.url + CALLS, headers=headers, trust_env=False).status_code == 401
    assert api.get(CALLS, headers={"Authorization": f"Token token={LOCAL_API_KEY}"}).status_code == 200

    api.put("/_standin/api_keys", json=["another"]).raise_for_status()
    assert api.get(CALLS).status_code == 401


def test_a_used_up_budget_throttles_until_it_is_raised(api: httpx.Client) -> None:
    api.put("/_standin/budget", json={"requests": 2}).raise_for_status()

    assert [api.get(CALLS).status_code for _ in range(4)] == [200, 200, 429, 429]
    api.put("/_standin/budget", json={"requests": None}).raise_for_status()
    assert api.get(CALLS).status_code == 200


@pytest.mark.parametrize("way", ["raw", "multipart", "path"])
def test_a_recording_can_be_registered_and_fetched(api: httpx.Client, tmp_path: Any, way: str) -> None:
    audio = b"ID3" + bytes(100_000)
    (tmp_path / "a.mp3").write_bytes(audio)
    sent: dict[str, dict[str, Any]] = {
        "raw": {"params": {"call_id": CALL}, "content": audio},
        "multipart": {"data": {"call_id": CALL}, "files": {"file": ("a.mp3", audio)}},
        "path": {"json": {"call_id": CALL, "path": str(tmp_path / "a.mp3")}},
    }
    registered = api.post("/_standin/recordings", **sent[way]).json()

    link = registered["recording"].removeprefix("https://app.callrail.com")
    redirect = api.get(link)
    assert redirect.status_code == 302
    assert redirect.headers["Location"].startswith("/s3/")
    answer = api.get(redirect.headers["Location"])
    assert answer.content == audio
    assert answer.headers["Content-Type"] == "audio/mpeg"
    fresh = api.get(f"/v3/a/{ACCOUNT}/calls/{CALL}/recording.json").json()["url"]
    assert fresh == registered["recording"].replace("https", "http")


def test_a_recording_becomes_ready_after_the_given_number_of_requests(api: httpx.Client) -> None:
    api.post("/_standin/recordings", params={"call_id": CALL, "ready_after": 2}, content=b"ID3").raise_for_status()
    link = f"/v3/a/{ACCOUNT}/calls/{CALL}/recording.json"

    assert [api.get(link).status_code for _ in range(3)] == [404, 404, 200]


def test_a_synthetic_recording_is_a_valid_wav_of_the_size_asked_for(api: httpx.Client) -> None:
    api.post("/_standin/recordings", json={"call_id": CALL, "synthetic_bytes": 1_600_044}).raise_for_status()
    data = api.get(f"/s3/recordings/{CALL}.mp3").content

    assert len(data) == 1_600_044
    with wave.open(io.BytesIO(data)) as file:
        assert (file.getnframes(), file.getframerate(), file.getnchannels()) == (800_000, 8000, 1)


def test_faults_hit_the_operation_they_name_and_a_cut_off_body_is_noticed(
    callrail: CallRail, api: httpx.Client
) -> None:
    callrail.holds(bytes(300_000))
    callrail.misbehaves(
        {"operation": "calls.list", "kind": "status", "status": 500, "headers": {"X-Test": "yes"}},
        {"operation": "recording.file", "kind": "drop_after"},
        {"operation": "recording.file", "kind": "drop"},
    )

    failed = api.get(CALLS)
    assert (failed.status_code, failed.headers["X-Test"]) == (500, "yes")
    assert api.get(CALLS).status_code == 200
    for _ in range(2):
        with pytest.raises(httpx.RemoteProtocolError):
            api.get(f"/s3/recordings/{CALL}.mp3")
    assert len(api.get(f"/s3/recordings/{CALL}.mp3").content) == 300_000


def test_state_tells_what_was_asked_but_no_keys(callrail: CallRail, api: httpx.Client) -> None:
    callrail.holds(b"ID3")
    api.get(f"/v3/a/{ACCOUNT}/calls/{CALL}/recording.json")

    answer = api.get("/_standin/state")

    assert answer.json()["requests"] == [{"operation": "recording.json", "call_id": CALL, "with_api_key": True}]
    assert answer.json()["recordings"] == {CALL: {"size": 3}}
    assert LOCAL_API_KEY not in answer.text
    api.post("/_standin/reset").raise_for_status()
    assert api.get("/_standin/state").json()["recordings"] == {}
