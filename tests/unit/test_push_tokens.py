"""Push tokens, minted here with real keys: the right one passes, and each wrong one fails for its own reason."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from google.auth import crypt, jwt

from shared.errors import TransientFailure
from shared.gateways.push_tokens import AllowAll, KeyCache, PlatformVerifier, PushRejected, TokenVerifier

AUDIENCE = "https://download.example.com/"
ACCOUNT = "push@test-project.iam.gserviceaccount.com"
KEY_ID = "key-1"
DAY = timedelta(days=1)


@dataclass(frozen=True)
class KeyPair:
    """A private key and its self-signed certificate, both PEM."""

    private: bytes
    certificate: str


@cache
def key_pair(name: str) -> KeyPair:
    """One pair per name and session: making a key takes a tenth of a second."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
        .sign(private, hashes.SHA256())
    )
    return KeyPair(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        certificate.public_bytes(serialization.Encoding.PEM).decode(),
    )


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    right = {
        "iss": "https://accounts.google.com",
        "aud": AUDIENCE,
        "email": ACCOUNT,
        "email_verified": True,
        "sub": "1122334455",
        "iat": now,
        "exp": now + 3600,
    }
    return {name: value for name, value in {**right, **changes}.items() if value is not None}


def minted(*, key: str = "google", key_id: str | None = KEY_ID, **changes: Any) -> str:
    signer = crypt.RSASigner.from_string(key_pair(key).private, key_id)
    token: bytes = jwt.encode(signer, claims(**changes))
    return "Bearer " + token.decode()


def unsigned(header: dict[str, Any], signature: bytes = b"") -> str:
    return "Bearer " + _joined(_coded(header), _coded(claims()), signature)


def _coded(document: dict[str, Any]) -> bytes:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=")


def _joined(header: bytes, payload: bytes, signature: bytes) -> str:
    return b".".join((header, payload, base64.urlsafe_b64encode(signature).rstrip(b"="))).decode()


@dataclass
class KeyServer:
    """Google's key server: `answer` says what it serves."""

    answer: Callable[[], httpx.Response] = field(
        default_factory=lambda: lambda: served({KEY_ID: key_pair("google").certificate})
    )
    asked: int = 0
    time_s: float = 1000.0

    def fetch(self) -> httpx.Response:
        self.asked += 1
        return self.answer()

    def verifier(self) -> TokenVerifier:
        keys = KeyCache(self.fetch, clock=lambda: self.time_s)
        return TokenVerifier(audience=AUDIENCE, service_account=ACCOUNT, keys=keys)


def served(document: Any, *, cache_control: str = "public, max-age=600, must-revalidate") -> httpx.Response:
    request = httpx.Request("GET", "https://keys.example.com")
    return httpx.Response(200, json=document, headers={"Cache-Control": cache_control}, request=request)


def rejection(authorization: str) -> str:
    with pytest.raises(PushRejected) as caught:
        KeyServer().verifier().check(authorization)
    return caught.value.code


# -- verify -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("issuer", ["https://accounts.google.com", "accounts.google.com"])
def test_pubsubs_own_token_passes(issuer: str) -> None:
    KeyServer().verifier().check(minted(iss=issuer))


def test_the_scheme_may_be_written_in_any_case() -> None:
    KeyServer().verifier().check(minted().replace("Bearer", "bearer"))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"aud": "https://analyze.example.com/"}, "push_token_invalid"),
        ({"aud": None}, "push_token_invalid"),
        ({"aud": [AUDIENCE]}, "push_token_invalid"),
        ({"iss": "https://accounts.example.com"}, "push_token_issuer"),
        ({"iss": None}, "push_token_issuer"),
        ({"email": "somebody@test-project.iam.gserviceaccount.com"}, "push_token_account"),
        ({"email": None}, "push_token_account"),
        ({"email_verified": False}, "push_token_account"),
        ({"email_verified": "true"}, "push_token_account"),
        ({"email_verified": None}, "push_token_account"),
        ({"iat": None}, "push_token_invalid"),
        ({"exp": None}, "push_token_invalid"),
        ({"exp": "tomorrow"}, "push_token_invalid"),
    ],
    ids=str,
)
def test_a_token_of_google_that_is_not_for_us_is_rejected(changes: dict[str, Any], code: str) -> None:
    assert rejection(minted(**changes)) == code


@pytest.mark.parametrize(("age_s", "passes"), [(5, True), (60, False)])
def test_a_token_is_good_until_it_expires_give_or_take_the_clocks(age_s: int, passes: bool) -> None:
    expired = minted(iat=int(time.time()) - 3600 - age_s, exp=int(time.time()) - age_s)
    if passes:
        KeyServer().verifier().check(expired)
    else:
        assert rejection(expired) == "push_token_invalid"


@pytest.mark.parametrize(("ahead_s", "passes"), [(5, True), (60, False)])
def test_a_token_issued_in_the_future_passes_only_within_the_clocks_difference(ahead_s: int, passes: bool) -> None:
    early = minted(iat=int(time.time()) + ahead_s)
    if passes:
        KeyServer().verifier().check(early)
    else:
        assert rejection(early) == "push_token_invalid"


def test_a_token_of_another_key_under_googles_key_id_is_rejected() -> None:
    assert rejection(minted(key="stranger")) == "push_token_invalid"
    assert rejection(minted(key="stranger", key_id=None)) == "push_token_invalid"


def test_an_unknown_key_id_is_rejected() -> None:
    assert rejection(minted(key_id="key-2")) == "push_token_invalid"


def test_algorithm_none_is_rejected() -> None:
    for algorithm in ("none", "None", None, ["RS256"]):
        assert rejection(unsigned({"alg": algorithm, "kid": KEY_ID, "typ": "JWT"})) == "push_token_invalid"


def test_hs256_with_the_public_certificate_as_its_key_is_rejected() -> None:
    header = {"alg": "HS256", "kid": KEY_ID, "typ": "JWT"}
    signed = _coded(header) + b"." + _coded(claims())
    for key in (key_pair("google").certificate, key_pair("google").certificate.strip()):
        signature = hmac.new(key.encode(), signed, hashlib.sha256).digest()
        assert rejection(unsigned(header, signature)) == "push_token_invalid"


def test_a_changed_claim_breaks_the_signature() -> None:
    header, _, signature = minted().removeprefix("Bearer ").split(".")
    forged = f"Bearer {header}.{_coded(claims(sub='someone-else')).decode()}.{signature}"
    assert rejection(forged) == "push_token_invalid"


DEEP = base64.urlsafe_b64encode(b'{"a":' + b"[" * 5000).decode()


@pytest.mark.parametrize(
    "token", ["x", "a.b", "a.b.c", "....", "e30.e30.e30", "ä.ö.ü", f"{DEEP}.e30.e30", f"e30.{DEEP}."]
)
def test_rubbish_is_rejected(token: str) -> None:
    assert rejection(f"Bearer {token}") == "push_token_invalid"


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer ", "Basic dXNlcjpwYXNz", "token"])
def test_a_request_without_a_bearer_token_is_rejected(authorization: str) -> None:
    assert rejection(authorization) == "push_token_missing"


def test_a_rejection_does_not_repeat_the_token() -> None:
    token = minted(email="somebody@example.com")
    with pytest.raises(PushRejected) as caught:
        KeyServer().verifier().check(token)
    assert "somebody@example.com" not in str(caught.value)


# -- keys ---------------------------------------------------------------------------------------------


def refuse_connection() -> httpx.Response:
    raise httpx.ConnectError("refused")


def answer_500() -> httpx.Response:
    return httpx.Response(500, request=httpx.Request("GET", "https://keys.example.com"))


def answer_html() -> httpx.Response:
    request = httpx.Request("GET", "https://keys.example.com")
    return httpx.Response(200, text="<html>sign in</html>", request=request)


@pytest.mark.parametrize(
    "answer", [refuse_connection, answer_500, answer_html, lambda: served(7), lambda: served(None)]
)
def test_when_the_keys_cannot_be_had_the_push_must_come_again(answer: Callable[[], httpx.Response]) -> None:
    with pytest.raises(TransientFailure) as caught:
        KeyServer(answer=answer).verifier().check(minted())
    assert caught.value.code == "push_keys_unavailable"


def test_the_keys_are_fetched_once_for_as_long_as_their_max_age_says() -> None:
    server = KeyServer()
    verifier = server.verifier()
    for _ in range(3):
        verifier.check(minted())
    server.time_s += 599
    verifier.check(minted())
    assert server.asked == 1
    server.time_s += 1
    verifier.check(minted())
    assert server.asked == 2


@pytest.mark.parametrize("cache_control", ["", "no-store", "max-age=soon"])
def test_without_a_max_age_the_keys_are_kept_for_an_hour(cache_control: str) -> None:
    server = KeyServer(answer=lambda: served({KEY_ID: key_pair("google").certificate}, cache_control=cache_control))
    verifier = server.verifier()
    verifier.check(minted())
    server.time_s += 3599
    verifier.check(minted())
    server.time_s += 1
    verifier.check(minted())
    assert server.asked == 2


def test_a_key_that_google_withdrew_is_no_longer_good_after_the_refresh() -> None:
    server = KeyServer()
    verifier = server.verifier()
    verifier.check(minted())
    server.answer = lambda: served({"key-2": key_pair("google-2").certificate})
    server.time_s += 600
    with pytest.raises(PushRejected):
        verifier.check(minted())
    verifier.check(minted(key="google-2", key_id="key-2"))


# -- platform -----------------------------------------------------------------------------------------


def platform(*, at_s: float | None = None) -> PlatformVerifier:
    clock = time.time if at_s is None else lambda: at_s
    return PlatformVerifier(audience=AUDIENCE, service_account=ACCOUNT, clock=clock)


def stripped(**changes: Any) -> str:
    """What Cloud Run hands on: the token with its signature removed."""
    header, payload, _ = minted(**changes).split(".")
    return f"{header}.{payload}.SIGNATURE_REMOVED_BY_GOOGLE"


def test_behind_cloud_runs_check_a_token_without_its_signature_passes() -> None:
    platform().check(stripped())


def test_where_we_check_ourselves_a_token_without_its_signature_is_rejected() -> None:
    assert rejection(stripped()) == "push_token_invalid"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"aud": "https://analyze.example.com/"}, "push_token_audience"),
        ({"aud": None}, "push_token_audience"),
        ({"iss": "https://accounts.example.com"}, "push_token_issuer"),
        ({"email": "somebody@example.com"}, "push_token_account"),
        ({"email_verified": False}, "push_token_account"),
        ({"exp": None}, "push_token_expired"),
        ({"exp": "tomorrow"}, "push_token_expired"),
    ],
    ids=str,
)
def test_behind_cloud_runs_check_the_claims_are_checked_again(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(PushRejected) as caught:
        platform().check(stripped(**changes))
    assert caught.value.code == code


def test_behind_cloud_runs_check_an_expired_token_is_rejected() -> None:
    token = stripped(exp=2_000_000_000)
    platform(at_s=2_000_000_010).check(token)
    with pytest.raises(PushRejected):
        platform(at_s=2_000_000_011).check(token)


@pytest.mark.parametrize("authorization", ["", "Bearer a.b", f"Bearer e30.{DEEP}."])
def test_behind_cloud_runs_check_rubbish_is_rejected(authorization: str) -> None:
    with pytest.raises(PushRejected):
        platform().check(authorization)


def test_on_a_laptop_the_emulators_tokenless_pushes_pass() -> None:
    AllowAll().check("")


def test_of_several_accounts_each_may_come_and_no_other() -> None:
    """The operator is called by Cloud Scheduler and by the receiver, each with its own account."""
    verifier = PlatformVerifier(audience=AUDIENCE, service_account=f"scheduler@example.com, {ACCOUNT}", clock=time.time)

    verifier.check(stripped())
    verifier.check(stripped(email="scheduler@example.com"))
    for wrong in ("scheduler@example.com, ", "", f"scheduler@example.com, {ACCOUNT}"):
        with pytest.raises(PushRejected):
            verifier.check(stripped(email=wrong))
