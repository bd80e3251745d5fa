"""Logging in to the Salesforce stand-in: client credentials and JWT bearer, and the sessions they open."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import jwt

from infra.local.standins.salesforce_store import Org, OrgSettings

JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
LONGEST_ASSERTION_S = 300


class LoginRefused(Exception):
    """An OAuth error answer: 400 with `error` and `error_description`."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(error)
        self.body = {"error": error, "error_description": description}


class Orgs:
    """One org per consumer key, made on its first login or when it is configured; and who is logged in where."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._orgs: dict[str, Org] = {}
        self._sessions: dict[str, str] = {}

    def clear(self) -> None:
        with self._lock:
            self._orgs.clear()
            self._sessions.clear()

    def org(self, consumer_key: str) -> Org:
        with self._lock:
            return self._orgs.setdefault(consumer_key, Org(len(self._orgs) + 1))

    def items(self) -> list[tuple[str, Org]]:
        with self._lock:
            return list(self._orgs.items())

    def by_token(self, token: str) -> Org | None:
        with self._lock:
            key = self._sessions.get(token)
            return self._orgs.get(key) if key is not None else None

    def expire_sessions(self, consumer_key: str) -> None:
        """End the sessions of one org, or of all when the key is empty."""
        with self._lock:
            self._sessions = {t: key for t, key in self._sessions.items() if consumer_key not in {"", key}}

    def login(self, form: Mapping[str, str]) -> tuple[str, Org]:
        """A new access token and its org. Raises `LoginRefused`."""
        match form.get("grant_type"):
            case "client_credentials":
                consumer_key = self._check_secret(form)
            case grant if grant == JWT_GRANT:
                consumer_key = self._check_assertion(form.get("assertion", ""))
            case _:
                raise LoginRefused("unsupported_grant_type", "grant type not supported")
        org = self.org(consumer_key)
        token = f"00D!{secrets.token_urlsafe(32)}"
        with self._lock:
            self._sessions[token] = consumer_key
        return token, org

    @contextmanager
    def standing_still(self) -> Iterator[dict[str, Any]]:
        """See keeping.py. The list of orgs first: who works on an org asks nothing more of the list."""
        with ExitStack() as still:
            still.enter_context(self._lock)
            yield {
                "sessions": self._sessions,
                "orgs": {key: still.enter_context(org.standing_still()) for key, org in self._orgs.items()},
            }

    def take_up(self, kept: Mapping[str, Any]) -> None:
        """Whoever was logged in still is: a vendor keeps its sessions where a restart of one server does not reach."""
        with self._lock:
            self._sessions = kept["sessions"]
            for key, org in kept["orgs"].items():
                self._orgs[key] = Org(org["org_number"])
                self._orgs[key].take_up(org)

    def _settings(self, consumer_key: str) -> OrgSettings:
        """An unknown key's org comes to life only by a successful login."""
        with self._lock:
            org = self._orgs.get(consumer_key)
            return org.settings if org is not None else OrgSettings()

    def _check_secret(self, form: Mapping[str, str]) -> str:
        consumer_key, secret = form.get("client_id", ""), form.get("client_secret", "")
        expected = self._settings(consumer_key).consumer_secret
        if not consumer_key or not secret:
            raise LoginRefused("invalid_client_id", "client identifier invalid")
        if expected and not secrets.compare_digest(secret.encode(), expected.encode()):
            raise LoginRefused("invalid_client", "invalid client credentials")
        return consumer_key

    def _check_assertion(self, assertion: str) -> str:
        claims = _claims(assertion, key="")
        consumer_key = str(claims["iss"])
        public_key = self._settings(consumer_key).public_key_pem
        if public_key:
            _claims(assertion, key=public_key)
        if not str(claims["aud"]).startswith("https://"):
            raise LoginRefused("invalid_grant", "audience is invalid")
        if claims["exp"] > time.time() + LONGEST_ASSERTION_S:
            raise LoginRefused("invalid_grant", "expiration too far in the future")
        return consumer_key


def _claims(assertion: str, *, key: str) -> dict[str, Any]:
    """The assertion's claims; with a key the RS256 signature is checked, without one only the structure."""
    options: Any = {"require": ["iss", "sub", "aud", "exp"], "verify_aud": False, "verify_signature": bool(key)}
    if not key:
        options |= {"verify_exp": True}
    try:
        if jwt.get_unverified_header(assertion).get("alg") != "RS256":
            raise LoginRefused("invalid_grant", "invalid assertion")
        return dict(jwt.decode(assertion, key=key, algorithms=["RS256"], options=options))
    except jwt.ExpiredSignatureError as error:
        raise LoginRefused("invalid_grant", "expired authorization code") from error
    except jwt.InvalidTokenError as error:
        raise LoginRefused("invalid_grant", "invalid assertion") from error
