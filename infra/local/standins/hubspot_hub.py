"""All portals of the HubSpot stand-in, who may enter which, and what was asked how often."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from infra.local.standins.faults import FaultPlan
from infra.local.standins.hubspot_schema import OBJECT_TYPES, Refused
from infra.local.standins.hubspot_store import IndexLag, Portal


def portal_name(token: str) -> str:
    """How the state calls the portal of a token that was not given a portal by name; tells nothing of the token."""
    return "portal-" + hashlib.sha256(token.encode()).hexdigest()[:12]


class HubSpot:
    """Portals by name, tokens, and what was asked so often."""

    def __init__(self, *, tokens: Mapping[str, str] | None, plan: FaultPlan, lag: IndexLag) -> None:
        self.plan = plan
        self.lag = lag
        self._at_start = (tokens, lag)
        self._lock = threading.Lock()
        self._tokens = None if tokens is None else dict(tokens)
        self._lacks: dict[str, frozenset[str]] = {}
        self._portals: dict[str, Portal] = {}
        self._requests: Counter[str] = Counter()

    def accept_tokens(
        self, tokens: Mapping[str, str] | None, lacks: Mapping[str, Collection[str]] | None = None
    ) -> None:
        """From now on only these (token to portal name); None takes any that starts with `pat-`.

        `lacks` names the scopes that a token was not granted; all others it has.
        """
        with self._lock:
            self._tokens = None if tokens is None else dict(tokens)
            self._lacks = {token: frozenset(scopes) for token, scopes in (lacks or {}).items()}

    def check_scope(self, token: str, scope: str) -> None:
        """Raises `Refused` as HubSpot does, before anybody looks for a record."""
        with self._lock:
            lacks = self._lacks.get(token, frozenset())
        if scope in lacks:
            message = "This app hasn't been granted all required scopes to make this call."
            needed = {
                "message": "One or more of the following scopes are required.",
                "context": {"requiredGranularScopes": [scope]},
            }
            raise Refused(403, "MISSING_SCOPES", message, errors=[needed])

    def portal(self, name: str) -> Portal:
        with self._lock:
            # Ids of different portals overlap at HubSpot too: a mix-up of portals must not look like a miss.
            if name not in self._portals:
                self._portals[name] = Portal(first_id=1001)
            return self._portals[name]

    def portal_of(self, token: str) -> Portal:
        with self._lock:
            accepted = self._tokens
        if accepted is None and token.startswith("pat-"):
            return self.portal(portal_name(token))
        name = (accepted or {}).get(token)
        if name is None:
            raise Refused(401, "INVALID_AUTHENTICATION", "Authentication credentials not found.")
        return self.portal(name)

    def count(self, operation: str) -> None:
        with self._lock:
            self._requests[operation] += 1

    def set_lag(self, lag: IndexLag) -> None:
        """For what is written from now on."""
        with self._lock:
            self.lag = lag

    def reset(self) -> None:
        """Empty portals, and tokens and lag as they were at the start."""
        tokens, lag = self._at_start
        self.accept_tokens(tokens)
        self.set_lag(lag)
        with self._lock:
            self._portals.clear()
            self._requests.clear()

    def state(self) -> dict[str, Any]:
        """Everything held. Each record names its portal, so that a test can tell the tenants apart."""
        with self._lock:
            portals, requests = dict(self._portals), dict(self._requests)
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in OBJECT_TYPES}
        for name, portal in sorted(portals.items()):
            for object_type in OBJECT_TYPES:
                found[object_type] += _records_of(portal, name, object_type)
        return {**found, "requests": requests}

    # --- over a restart (keeping.py) --------------------------------------------------------------

    @contextmanager
    def standing_still(self) -> Iterator[dict[str, Any]]:
        """The hub first: who is inside a portal asks nothing more of the hub before it leaves."""
        with ExitStack() as still:
            still.enter_context(self._lock)
            yield {
                "lag": self.lag,
                "tokens": self._tokens,
                "lacks": self._lacks,
                "requests": self._requests,
                "portals": {
                    name: still.enter_context(portal.standing_still()) for name, portal in self._portals.items()
                },
            }

    def take_up(self, kept: dict[str, Any]) -> None:
        with self._lock:
            self.lag, self._tokens, self._lacks = kept["lag"], kept["tokens"], kept["lacks"]
            self._requests = kept["requests"]
            for name, portal in kept["portals"].items():
                self._portals[name] = Portal(first_id=1)
                self._portals[name].take_up(portal)


def _records_of(portal: Portal, name: str, object_type: str) -> list[dict[str, Any]]:
    other = "contacts" if object_type == "calls" else "calls"
    with portal.lock:
        return [
            {
                "portal": name,
                "id": record.record_id,
                "properties": dict(record.properties),
                "associations": {other: portal.linked(object_type, record.record_id, other)},
            }
            for record in portal.records[object_type].values()
        ]
