"""Taking a caller out of a tenant's CRMs: what is asked for, and what a CRM says it removed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from schemas.calls import Provider
from schemas.tenant import Tenant

REMAINS_IN_CRM = {
    "hubspot": "HubSpot: calls were emptied and archived (restorable there for 90 days); contacts were deleted for good"
    " by its privacy deletion, which may take HubSpot up to 30 days to finish",
    "salesforce": "Salesforce: records were emptied and deleted; the recycle bin holds them for 15 days, and field"
    " history, where the customer tracks it, longer",
}
REMAINS_FOUND_PEOPLE = "people whom somebody else had entered in the CRMs: --crm-found-people removes them too"


@dataclass(frozen=True)
class CrmPointer:
    """A record of a call in a CRM. `person_created` tells people that the pipeline made from those it found there."""

    provider: str
    person_type: str
    person_id: str
    activity_type: str
    activity_id: str
    person_created: bool = False


@dataclass(frozen=True)
class CrmErasure:
    """What is to go. Calls are found by our call id as well, people of ours by our key of `e164` (empty: nobody)."""

    call_ids: tuple[str, ...]
    activity_ids: tuple[str, ...] = ()
    people: tuple[tuple[str, str], ...] = ()
    """Type and id."""
    e164: str = ""


@dataclass(frozen=True)
class CrmErased:
    """What a CRM no longer shows; empty when it was gone before."""

    provider: Provider
    activity_ids: tuple[str, ...] = ()
    person_ids: tuple[str, ...] = ()


class CrmEraser(Protocol):
    """One tenant's connection to one CRM, for removing."""

    def erase(self, wanted: CrmErasure) -> CrmErased:
        """Remove the records; those that are gone already are fine.

        Raises `TenantBlocked` (token, scope), `PermanentFailure`, `TransientFailure`: then repeat the command.
        """
        ...


class CrmErasers(Protocol):
    """Makes the eraser of a tenant's integration."""

    def for_tenant(self, tenant: Tenant, provider: Provider) -> CrmEraser: ...


def erasure_of(
    pointers: Iterable[CrmPointer], *, call_ids: Iterable[str], e164: str, with_found_people: bool
) -> CrmErasure:
    """What of one CRM goes. A person goes only with a number (`e164`): one call's erasure leaves its caller's rest."""
    known = list(pointers)
    people = {
        (one.person_type, one.person_id)
        for one in known
        if e164 and one.person_id and (one.person_created or with_found_people)
    }
    activities = dict.fromkeys(one.activity_id for one in known if one.activity_id)
    return CrmErasure(tuple(call_ids), tuple(activities), tuple(sorted(people)), e164)
