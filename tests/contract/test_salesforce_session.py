"""Salesforce sessions: renewed once, shared, opened by secret or signed assertion, and never another tenant's."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from shared.errors import Deferred, TenantBlocked, TransientFailure
from shared.gateways.salesforce_session import Deadline, SalesforceSession
from tests.support.crm_calls import crm_call
from tests.support.salesforce_org import (
    FIRST_SECRET,
    KEYS,
    SECRET_NAMES,
    SalesforceOrgs,
    client_credentials,
    salesforce_orgs,
    utc_now,
)

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.fixture
def orgs() -> Iterator[SalesforceOrgs]:
    with salesforce_orgs() as running:
        yield running


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class TestSession:
    def test_expired_session_is_renewed_once_and_the_call_arrives(self, orgs: SalesforceOrgs) -> None:
        gateway = orgs.gateway()
        gateway.sync_call(crm_call("CAL0a"))
        orgs.expire_sessions()

        gateway.sync_call(crm_call("CAL0b"))

        assert len(orgs.calls()) == 2
        assert orgs.count("oauth.token") == 2

    def test_a_session_that_is_refused_at_once_ends_after_one_renewal(self, orgs: SalesforceOrgs) -> None:
        orgs.refuse("search", "INVALID_SESSION_ID", status=401, times=1000)

        with pytest.raises(TenantBlocked) as caught:
            orgs.gateway().sync_call(crm_call())

        assert caught.value.code == "salesforce_session_refused"
        assert (orgs.count("oauth.token"), orgs.count("search")) == (2, 2)

    def test_workers_that_meet_an_expired_session_share_one_login(self, orgs: SalesforceOrgs) -> None:
        gateway = orgs.gateway()
        gateway.sync_call(crm_call())
        orgs.expire_sessions()

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda number: gateway.sync_call(crm_call(f"CAL0{number}")), range(6)))

        assert orgs.count("oauth.token") == 2
        assert len(orgs.calls()) == 7

    def test_credentials_that_say_nothing_block_the_tenant_without_being_quoted(self, orgs: SalesforceOrgs) -> None:
        orgs.secrets.write(
            SECRET_NAMES["own"], '{"flow": "client_credentials", "consumer_key": "k3y", "extra": "s3cret"}'
        )

        with pytest.raises(TenantBlocked) as caught:
            orgs.gateway().sync_call(crm_call())

        assert "consumer_secret" in caught.value.detail
        assert "s3cret" not in str(caught.value)
        assert "salesforce-setup.md" in caught.value.fix

    @pytest.mark.parametrize("status", [500, 503])
    def test_one_failed_login_is_ridden_out(self, orgs: SalesforceOrgs, status: int) -> None:
        orgs.fault_on("oauth.token", kind="status", status=status, body="<html>later</html>")

        orgs.gateway().sync_call(crm_call())

        assert len(orgs.calls()) == 1

    def test_too_many_logins_wait_an_hour(self, orgs: SalesforceOrgs) -> None:
        body = {"error": "invalid_grant", "error_description": "login rate exceeded"}
        orgs.fault_on("oauth.token", kind="status", status=400, body=body, times=50)

        with pytest.raises(Deferred) as caught:
            orgs.gateway(clock=lambda: NOON).sync_call(crm_call())

        assert caught.value.until == NOON + timedelta(hours=1)

    def test_a_stalled_answer_ends_with_the_deadline(self, orgs: SalesforceOrgs) -> None:
        orgs.fault_on("search", kind="stall", delay_s=3)
        session = SalesforceSession(
            secret_name=SECRET_NAMES["own"], secrets=orgs.secrets, clock=utc_now, login_url_override=orgs.url
        )
        began = time.monotonic()

        with pytest.raises(TransientFailure):
            session.request("GET", "/services/data/v66.0/search/", deadline=Deadline.after(0.4))

        session.close()
        assert time.monotonic() - began < 2.5


class TestJwtBearer:
    def test_signed_assertion_opens_a_session(self, orgs: SalesforceOrgs, key: rsa.RSAPrivateKey) -> None:
        orgs.configure(public_key_pem=_public_pem(key))
        orgs.secrets.write(SECRET_NAMES["own"], _jwt_document(_private_pem(key)))

        orgs.gateway().sync_call(crm_call())

        assert len(orgs.calls()) == 1

    def test_a_key_the_org_does_not_know_blocks_the_tenant(self, orgs: SalesforceOrgs, key: rsa.RSAPrivateKey) -> None:
        stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        orgs.configure(public_key_pem=_public_pem(key))
        orgs.secrets.write(SECRET_NAMES["own"], _jwt_document(_private_pem(stranger)))

        with pytest.raises(TenantBlocked) as caught:
            orgs.gateway().sync_call(crm_call())

        assert caught.value.code == "salesforce_login_refused"
        assert orgs.calls() == []

    def test_a_key_that_is_none_is_not_quoted(self, orgs: SalesforceOrgs) -> None:
        orgs.secrets.write(SECRET_NAMES["own"], _jwt_document("-----BEGIN s3cret-----"))

        with pytest.raises(TenantBlocked) as caught:
            orgs.gateway().sync_call(crm_call())

        assert caught.value.code == "salesforce_bad_private_key"
        assert "s3cret" not in str(caught.value)


def _jwt_document(private_key_pem: str) -> str:
    return json.dumps(
        {
            "flow": "jwt_bearer",
            "consumer_key": KEYS["own"],
            "username": "integration@example.com",
            "private_key_pem": private_key_pem,
            "audience": "https://login.salesforce.com",
        }
    )


def _private_pem(key: rsa.RSAPrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def _public_pem(key: rsa.RSAPrivateKey) -> str:
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


def test_secret_of_one_tenant_opens_no_other_org(orgs: SalesforceOrgs) -> None:
    orgs.configure("other", consumer_secret="theirs")
    orgs.secrets.write(SECRET_NAMES["own"], client_credentials(KEYS["other"], FIRST_SECRET))

    with pytest.raises(TenantBlocked):
        orgs.gateway().sync_call(crm_call())

    assert orgs.calls("other") == []
