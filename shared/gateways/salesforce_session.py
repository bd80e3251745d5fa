"""A tenant's Salesforce session: one token shared by all threads, renewed once when Salesforce says it is over."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx

from shared.errors import Deferred, TenantBlocked, TransientFailure
from shared.gateways.http import TIMEOUT, json_body, json_client, retry_after_s, send
from shared.gateways.salesforce_auth import (
    INSTANCE_DOMAINS,
    check_override,
    is_https_host_of,
    parse_credentials,
    sign_in_form,
)
from shared.ports import Clock, Secrets

VENDOR = "salesforce"
LOGIN_PAUSE = timedelta(hours=1)
"""Salesforce counts logins per user and hour."""

_PASSING_LOGIN_ERRORS = {"server_error", "temporarily_unavailable", "unknown_error"}


@dataclass(frozen=True)
class Deadline:
    """When the caller's patience ends (monotonic seconds)."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        return cls(time.monotonic() + seconds)

    def left_s(self) -> float:
        """Raises `TransientFailure` when nothing is left: the outer ring goes on."""
        left = self.at - time.monotonic()
        if left <= 0:
            raise TransientFailure("salesforce_timeout", "the time for one synchronisation with Salesforce is used up")
        return left

    def timeout(self) -> httpx.Timeout:
        left = self.left_s()
        return httpx.Timeout(min(TIMEOUT.read or left, left), connect=min(TIMEOUT.connect or left, left))


@dataclass(frozen=True)
class Session:
    """An access token and the host that honours it."""

    access_token: str
    base_url: str
    user_id: str = ""
    """Whom the token acts for; the last part of the answer's identity URL."""


class SalesforceSession:
    """Sends requests as the tenant. Thread-safe; holds one HTTP client, closed by `close`."""

    def __init__(self, *, secret_name: str, secrets: Secrets, clock: Clock, login_url_override: str = "") -> None:
        self._secret_name = secret_name
        self._secrets = secrets
        self._clock = clock
        self._override = check_override(login_url_override) if login_url_override else ""
        self._client = json_client("")
        self._lock = threading.Lock()
        self._session: Session | None = None

    def close(self) -> None:
        self._client.close()

    def request(self, method: str, path: str, *, deadline: Deadline, **options: Any) -> httpx.Response:
        """Send with the session's token; on 401 renew the session once and send again.

        Raises `TenantBlocked` when the new session is refused too, `TransientFailure` when no answer came.
        """
        session = self._current(deadline)
        response = self._send(session, method, path, deadline, options)
        if response.status_code != 401:
            return response
        session = self._renew(session, deadline)
        response = self._send(session, method, path, deadline, options)
        if response.status_code == 401:
            raise TenantBlocked(
                "salesforce_session_refused",
                "Salesforce gave a session and refused it at once",
                fix="check the integration user's login hours, IP ranges and API permission",
            )
        return response

    def user_id(self, deadline: Deadline) -> str:
        """The user that the session acts for; empty when Salesforce did not say."""
        return self._current(deadline).user_id

    def _send(
        self, session: Session, method: str, path: str, deadline: Deadline, options: dict[str, Any]
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {session.access_token}"}
        url = f"{session.base_url}{path}"
        return send(self._client, method, url, vendor=VENDOR, headers=headers, timeout=deadline.timeout(), **options)

    def _current(self, deadline: Deadline) -> Session:
        return self._session or self._renew(None, deadline)

    def _renew(self, stale: Session | None, deadline: Deadline) -> Session:
        """A session newer than `stale`: one thread logs in, the others take what it got."""
        if not self._lock.acquire(timeout=deadline.left_s()):
            raise TransientFailure("salesforce_timeout", "waited too long for another thread's login to Salesforce")
        try:
            if self._session is None or self._session is stale:
                self._session = self._log_in(deadline)
            return self._session
        finally:
            self._lock.release()

    def _log_in(self, deadline: Deadline) -> Session:
        """Log in; when refused, read the secret afresh and try once more if it has changed since."""
        text = self._secrets.read(self._secret_name)
        try:
            return self._log_in_with(text, deadline)
        except TenantBlocked:
            newer = self._secrets.reread(self._secret_name)
            if newer == text:
                raise
        return self._log_in_with(newer, deadline)

    def _log_in_with(self, text: str, deadline: Deadline) -> Session:
        credentials = parse_credentials(text, secret_name=self._secret_name)
        form = sign_in_form(credentials, self._clock(), secret_name=self._secret_name)
        url = f"{self._override or credentials.token_host}/services/oauth2/token"
        response = send(self._client, "POST", url, vendor=VENDOR, data=form, timeout=deadline.timeout())
        body = json_body(response)
        if response.status_code != 200:
            raise self._login_error(response, body)
        token = body.get("access_token") if isinstance(body, dict) else None
        if not isinstance(token, str) or not token:
            raise TransientFailure("salesforce_bad_answer", "Salesforce's token answer holds no token")
        return Session(token, self._override or _instance_url(body), user_id=_user_id(body))

    def _login_error(self, response: httpx.Response, body: Any) -> TenantBlocked | TransientFailure | Deferred:
        """OAuth errors have codes of their own: `{error, error_description}`."""
        error = str(body.get("error", "")) if isinstance(body, dict) else ""
        description = str(body.get("error_description", "")).lower() if isinstance(body, dict) else ""
        if "rate" in description and "exceeded" in description:
            until = self._clock() + LOGIN_PAUSE
            return Deferred("salesforce_login_rate", "Salesforce limits this user's logins for now", until=until)
        status = response.status_code
        if status >= 500 or status in {408, 429} or status < 400 or error in _PASSING_LOGIN_ERRORS:
            hint = retry_after_s(response)
            return TransientFailure("salesforce_login_failed", f"HTTP {status} at login", retry_after_s=hint)
        return TenantBlocked(
            "salesforce_login_refused",
            f"Salesforce refused the login with secret {self._secret_name}: {_safe_word(error) or f'HTTP {status}'}",
            fix="check key, secret or user in that secret and the app's policies; see docs/api/salesforce-setup.md",
        )


def _instance_url(body: dict[str, Any]) -> str:
    """Where the token is valid; refused when it points outside Salesforce."""
    url = str(body.get("instance_url", ""))
    if not is_https_host_of(url, INSTANCE_DOMAINS):
        raise TenantBlocked(
            "salesforce_foreign_instance",
            "the token answer points to a host outside salesforce.com and force.com",
            fix="check the login address in the credentials secret",
        )
    return url.rstrip("/")


def _user_id(body: dict[str, Any]) -> str:
    """From `https://login.salesforce.com/id/<org>/<user>`; only the id's form is believed."""
    last = str(body.get("id", "")).rstrip("/").rpartition("/")[2]
    return last if last.startswith("005") and last.isalnum() and len(last) in {15, 18} else ""


def _safe_word(error: str) -> str:
    """OAuth error codes are short snake_case words; anything else is not repeated."""
    return error if error.replace("_", "").isalnum() and len(error) <= 40 else ""
