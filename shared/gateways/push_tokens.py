"""Checks the OIDC token of a Pub/Sub push request, in one of two explicit modes (reference: apis.md §5.3).

`verify` checks everything itself. `platform` is for services behind Cloud Run's IAM, which verifies the token and
strips its signature before it reaches us: there the claims alone are checked again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import httpx

from shared.errors import PipelineError, TransientFailure

GOOGLE_CERTS_URL = "https://www.googleapis.com/oauth2/v1/certs"
ISSUERS = frozenset({"accounts.google.com", "https://accounts.google.com"})
CLOCK_SKEW_S = 10
_DEFAULT_MAX_AGE_S = 3600.0
_FETCH_TIMEOUT_S = 5.0


class PushRejected(PipelineError):
    """The push request is not Pub/Sub's for this service: answered 401, never processed."""


class PushVerifier(Protocol):
    """Raises `PushRejected` for a wrong token, `TransientFailure` when the keys cannot be had."""

    def check(self, authorization: str) -> None: ...


class AllowAll:
    """Only with `PIPELINE_ENVIRONMENT=local`: the emulator sends no token."""

    def check(self, authorization: str) -> None:
        del authorization


class KeyCache:
    """Google's certificates by key id, kept as long as their `max-age` says."""

    def __init__(
        self, fetch: Callable[[], httpx.Response] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fetch = fetch or (lambda: httpx.get(GOOGLE_CERTS_URL, timeout=_FETCH_TIMEOUT_S))
        self._clock = clock
        self._lock = threading.Lock()
        self._certs: dict[str, str] = {}
        self._fresh_until = 0.0

    def certs(self) -> Mapping[str, str]:
        with self._lock:
            if self._clock() >= self._fresh_until:
                self._refresh()
            return self._certs

    def _refresh(self) -> None:
        try:
            response = self._fetch()
            response.raise_for_status()
            certs = {str(key_id): str(pem) for key_id, pem in dict(response.json()).items()}
        except (httpx.HTTPError, ValueError, TypeError) as error:
            raise TransientFailure("push_keys_unavailable", "Google's signing keys could not be fetched") from error
        self._certs = certs
        self._fresh_until = self._clock() + _max_age_s(response.headers.get("Cache-Control", ""))


def _max_age_s(cache_control: str) -> float:
    for part in cache_control.split(","):
        name, _, value = part.strip().partition("=")
        if name == "max-age" and value.isdigit():
            return float(value)
    return _DEFAULT_MAX_AGE_S


class TokenVerifier:
    """Signature, issuer, audience, expiry, service account e-mail and `email_verified`."""

    def __init__(self, *, audience: str, service_account: str, keys: KeyCache) -> None:
        self._audience = audience
        self._service_account = service_account
        self._keys = keys

    def check(self, authorization: str) -> None:
        from google.auth import exceptions, jwt

        token = _bearer(authorization)
        try:
            claims = jwt.decode(
                token, certs=self._keys.certs(), audience=self._audience, clock_skew_in_seconds=CLOCK_SKEW_S
            )
        except (exceptions.GoogleAuthError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise PushRejected("push_token_invalid", type(error).__name__) from error
        _check_claims(claims, audience=self._audience, service_account=self._service_account)


class PlatformVerifier:
    """Claims only: Cloud Run has verified the signature and removed it. Refuses to exist anywhere else."""

    def __init__(self, *, audience: str, service_account: str, clock: Callable[[], float] = time.time) -> None:
        self._audience = audience
        self._service_account = service_account
        self._clock = clock

    def check(self, authorization: str) -> None:
        from google.auth import exceptions, jwt

        try:
            claims = jwt.decode(_bearer(authorization), verify=False)
        except (exceptions.GoogleAuthError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise PushRejected("push_token_invalid", type(error).__name__) from error
        _check_claims(claims, audience=self._audience, service_account=self._service_account)
        expiry = claims.get("exp")
        # Said the other way round, NaN would be a time that never comes.
        if not isinstance(expiry, (int, float)) or not expiry >= self._clock() - CLOCK_SKEW_S:
            raise PushRejected("push_token_expired", "the token's time is over")


def _bearer(authorization: str) -> str:
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise PushRejected("push_token_missing", "no bearer token")
    return token.strip()


def _check_claims(claims: Mapping[str, Any], *, audience: str, service_account: str) -> None:
    """Claims are any JSON: a list where a text belongs is no text of ours."""
    if not isinstance(claims, Mapping):
        raise PushRejected("push_token_invalid", "the claims are no JSON object")
    issuer = claims.get("iss")
    if not isinstance(issuer, str) or issuer not in ISSUERS:
        raise PushRejected("push_token_issuer", "not issued by Google")
    if claims.get("aud") != audience:
        raise PushRejected("push_token_audience", "made for another audience")
    if claims.get("email") != service_account or claims.get("email_verified") is not True:
        raise PushRejected("push_token_account", "not from the push service account")
