"""What a CRM's stand-in must offer so that the suite of tests/contract/crm_suite.py can run against it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import pytest

from schemas.calls import Provider
from shared.crm_erasure import CrmEraser
from shared.ports import CrmGateway

Step = Literal["search", "person", "call"]
"""`search`: looking for the caller; `person`: writing a new person; `call`: writing the call. A vendor that writes
person and call in one request maps both to that request."""

Owner = Literal["own", "other"]
"""Two tenants, each with an account of its own at the same vendor."""

SAFE_MARKUP = frozenset({"p", "strong", "ul", "li", "br", "div", "em"})


@dataclass(frozen=True)
class PersonView:
    """A contact or lead as the CRM holds it."""

    person_id: str
    name: str
    """First and last name as shown, one string."""
    phone: str


@dataclass(frozen=True)
class CallView:
    """A logged call as the CRM holds it."""

    call_id: str
    """Our call id, from the unique field."""
    person_ids: tuple[str, ...]
    title: str
    body: str
    """The field exactly as stored."""
    body_text: str
    """What a person reads, after the CRM rendered the field (the same as `body` in a plain-text field)."""
    markup: frozenset[str]
    """Names of the HTML elements that the CRM would render; empty for a plain-text field."""
    score: str


class CrmHarness(Protocol):
    """One running stand-in with two tenants; made anew for each test."""

    provider: Provider
    body_limit: int
    """Longest body the CRM's field takes, in characters."""

    def gateway(self, owner: Owner = "own") -> CrmGateway:
        """A gateway of the tenant in a portal where `prepare` was run. Gateways of one tenant share their secrets."""
        ...

    def eraser(self, owner: Owner = "own") -> CrmEraser:
        """The same tenant's connection, for removing."""
        ...

    def persons(self, owner: Owner = "own") -> list[PersonView]: ...

    def calls(self, owner: Owner = "own") -> list[CallView]: ...

    def seed_person(self, *, phone: str, name: str) -> str:
        """A person typed in by a human in the own tenant's account, searchable at once; returns the id."""
        ...

    def delete_person(self, person_id: str) -> None:
        """A human deletes the person in the own tenant's account."""
        ...

    def lag_search(self) -> None:
        """From now on, what is written does not show up in searches."""
        ...

    def fault(self, step: Step, **rule: Any) -> None:
        """Add a `FaultRule` (kind, times, skip, status, headers, body…) to the requests of `step`."""
        ...

    def clear_faults(self) -> None: ...

    def requests(self, step: Step) -> int:
        """How many requests of `step` the stand-in has been sent so far."""
        ...

    def rotate_secret(self) -> None:
        """The vendor accepts only a new credential; the secret store holds it, caches hold the old one."""
        ...

    def revoke_secret(self) -> None:
        """The vendor refuses what the secret store holds, cached or not."""
        ...


class OfOneCrm:
    """A part of the suite. A vendor's test class overrides `harness`; only such classes are collected."""

    @pytest.fixture
    def harness(self) -> CrmHarness:
        pytest.fail(f"{type(self).__name__} inherits the suite of every CRM and has to say which: override `harness`")
