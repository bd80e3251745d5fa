"""The Salesforce stand-in's doors: logging in, orgs apart, limits, and running as a process of its own."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from infra.local.standins.salesforce import create_app
from infra.local.standins.serving import serve_in_thread
from tests.support.salesforce_client import (
    DATA,
    SECRET,
    configure,
    create_lead,
    error,
    log_in,
    logged_in,
    query,
)


@pytest.fixture
def url() -> Iterator[str]:
    with serve_in_thread(create_app()) as address:
        yield address


@pytest.fixture
def org(url: str) -> Iterator[httpx.Client]:
    """A client logged in to org `own`."""
    with logged_in(url, "own") as client:
        yield client


class TestLogin:
    def test_no_session_no_answer(self, url: str) -> None:
        with httpx.Client(base_url=url, trust_env=False) as client:
            assert error(query(client, "SELECT Id FROM Lead")) == (401, "INVALID_SESSION_ID")

    def test_a_registered_secret_is_checked(self, org: httpx.Client) -> None:
        configure(org, consumer_secret=SECRET)

        assert log_in(org, "own", "wrong").json()["error"] == "invalid_client"
        assert log_in(org, "own").status_code == 200

    def test_expired_sessions_are_refused(self, org: httpx.Client) -> None:
        org.post("/_standin/sessions/expire", json={"consumer_key": "own"})

        assert error(query(org, "SELECT Id FROM Lead")) == (401, "INVALID_SESSION_ID")

    @pytest.mark.parametrize(
        ("changes", "description"),
        [
            ({"exp": datetime.now(UTC) + timedelta(hours=2)}, "expiration too far in the future"),
            ({"exp": datetime.now(UTC) - timedelta(minutes=5)}, "expired authorization code"),
            ({"aud": "login"}, "audience is invalid"),
            ({"sub": None}, "invalid assertion"),
        ],
    )
    def test_assertions_are_checked_in_structure(
        self, org: httpx.Client, changes: dict[str, Any], description: str
    ) -> None:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        claims = {
            "iss": "own",
            "sub": "integration@example.com",
            "aud": "https://login.salesforce.com",
            "exp": datetime.now(UTC) + timedelta(minutes=3),
        }
        good = org.post("/services/oauth2/token", data=_assertion(claims, key))
        bad = org.post("/services/oauth2/token", data=_assertion(claims | changes, key))

        assert good.status_code == 200
        assert (bad.status_code, bad.json()["error_description"]) == (400, description)

    def test_an_org_never_sees_anothers_records_and_state_holds_no_secrets(self, url: str, org: httpx.Client) -> None:
        lead_id = create_lead(org, Phone="+12025550143").json()["id"]
        with logged_in(url, "other") as other:
            assert query(other, "SELECT Id FROM Lead").json()["records"] == []
            assert error(other.get(f"{DATA}/sobjects/Lead/{lead_id}")) == (404, "NOT_FOUND")
            assert other.get(f"{DATA}/sobjects/Lead/{lead_id}").status_code == 404
            token = other.headers["Authorization"].removeprefix("Bearer ")

        text = org.get("/_standin/state").text
        assert SECRET not in text
        assert token not in text


class TestLimits:
    def test_every_answer_says_how_much_is_used(self, org: httpx.Client) -> None:
        configure(org, daily_limit=2)

        answers = [query(org, "SELECT Id FROM Lead") for _ in range(3)]

        assert [answer.headers["Sforce-Limit-Info"] for answer in answers] == [
            f"api-usage={used}/2" for used in (1, 2, 3)
        ]
        assert error(answers[2]) == (403, "REQUEST_LIMIT_EXCEEDED")

    @pytest.mark.parametrize("path", ["/services/data/v30.0/query/", "/services/data/v69.0/query/", f"{DATA}/nothing"])
    def test_unknown_versions_and_resources_are_not_found(self, org: httpx.Client, path: str) -> None:
        assert error(org.get(path)) == (404, "NOT_FOUND")

    def test_reset_forgets_everything(self, org: httpx.Client) -> None:
        create_lead(org)
        org.post("/_standin/reset")

        assert org.get("/_standin/state").json() == {"orgs": {}}


def test_it_runs_as_a_process_of_its_own(unused_port: int) -> None:
    command = [sys.executable, "-m", "infra.local.standins.salesforce", "--port", str(unused_port)]
    with subprocess.Popen(command) as process:
        try:
            assert _answers(f"http://127.0.0.1:{unused_port}/_standin/health")
        finally:
            process.terminate()


@pytest.fixture
def unused_port() -> int:
    with serve_in_thread(create_app()) as url:
        return int(url.rpartition(":")[2])


def _answers(url: str) -> bool:
    """Whether the address answers within twenty seconds."""
    transport = httpx.HTTPTransport(retries=0)
    deadline = time.monotonic() + 20
    with httpx.Client(transport=transport) as client:
        while time.monotonic() < deadline:
            try:
                return client.get(url).status_code == 200
            except httpx.ConnectError:
                continue
    return False


def _assertion(claims: dict[str, Any], key: rsa.RSAPrivateKey) -> dict[str, str]:
    present = {name: value for name, value in claims.items() if value is not None}
    grant = "urn:ietf:params:oauth:grant-type:jwt-bearer"
    return {"grant_type": grant, "assertion": jwt.encode(present, key, algorithm="RS256")}
