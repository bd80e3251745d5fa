"""Asks the operator service how the receiver's neighbours are; whatever goes wrong, the answer is "unknown"."""

from __future__ import annotations

from collections.abc import Mapping

import httpx
import structlog

log = structlog.get_logger()

_TIMEOUT = httpx.Timeout(3.0, connect=1.0)


class OperatorClient:
    """`with_identity` adds a Google identity token for the operator service's URL."""

    def __init__(self, base_url: str, *, with_identity: bool) -> None:
        self._base_url = base_url.rstrip("/")
        self._with_identity = with_identity

    def neighbours(self) -> Mapping[str, str]:
        """State by neighbour; empty when the operator service cannot be reached."""
        if not self._base_url:
            return {}
        try:
            answer = httpx.get(
                f"{self._base_url}/internal/neighbours", headers=self._headers(), timeout=_TIMEOUT, trust_env=False
            )
            answer.raise_for_status()
            states = answer.json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            log.warning("operator_unreachable", error=type(error).__name__)
            return {}
        return {str(name): str(state) for name, state in states.items()} if isinstance(states, dict) else {}

    def _headers(self) -> dict[str, str]:
        if not self._with_identity:
            return {}
        from google.auth.exceptions import GoogleAuthError
        from google.auth.transport.requests import Request
        from google.oauth2 import id_token

        try:
            token = id_token.fetch_id_token(Request(), self._base_url)
        except GoogleAuthError as error:
            raise httpx.RequestError("no identity token") from error
        return {"Authorization": f"Bearer {token}"}
