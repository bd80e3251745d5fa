"""Takes a caller's records out of HubSpot: calls are emptied and archived, contacts deleted for good.

An archived record can be restored for 90 days, hence the emptying. The privacy deletion of a contact is final.
"""

from __future__ import annotations

from shared.crm_erasure import CrmErased, CrmErasure
from shared.gateways.hubspot_api import Budget, HubSpotApi
from shared.gateways.hubspot_errors import RecordMissing
from shared.gateways.hubspot_mapping import caller_key
from shared.gateways.hubspot_schema import CALL_KEY, CALLER_KEY, PROPERTIES

EMPTIED = {
    "hs_call_title": "Erased",
    "hs_call_body": "",
    "hs_call_from_number": "",
    "hs_call_to_number": "",
    **{spec.name: "" for spec in PROPERTIES["calls"] if spec.name != CALL_KEY},
}
"""What we write on a call and what tells of its caller."""


def erase(api: HubSpotApi, wanted: CrmErasure, *, budget_s: float) -> CrmErased:
    """Each record has a budget of its own: a caller may have had a hundred calls."""
    calls = dict.fromkeys([*wanted.activity_ids, *_calls_by_key(api, wanted, budget_s)])
    erased = tuple(call for call in calls if _erase_call(api, call, Budget.of(budget_s)))
    people = dict.fromkeys([*(record_id for _, record_id in wanted.people), *_contact_by_key(api, wanted, budget_s)])
    gone = tuple(person for person in people if _delete_contact(api, person, Budget.of(budget_s)))
    return CrmErased("hubspot", erased, gone)


def _calls_by_key(api: HubSpotApi, wanted: CrmErasure, budget_s: float) -> list[str]:
    found = (
        api.read_by_key("calls", CALL_KEY, call_id, properties=[CALL_KEY], budget=Budget.of(budget_s))
        for call_id in wanted.call_ids
    )
    return [record.record_id for record in found if record]


def _contact_by_key(api: HubSpotApi, wanted: CrmErasure, budget_s: float) -> list[str]:
    """Our key stands only on contacts that we made."""
    if not wanted.e164:
        return []
    key, budget = caller_key(wanted.e164), Budget.of(budget_s)
    found = api.read_by_key("contacts", CALLER_KEY, key, properties=[CALLER_KEY], budget=budget)
    return [found.record_id] if found else []


def _erase_call(api: HubSpotApi, record_id: str, budget: Budget) -> bool:
    try:
        api.update("calls", record_id, EMPTIED, budget=budget)
    except RecordMissing:
        return False
    api.archive("calls", record_id, budget=budget)
    return True


def _delete_contact(api: HubSpotApi, record_id: str, budget: Budget) -> bool:
    # Looked for first: the deletion of an unknown id is not documented, and one by e-mail would block the address.
    if api.read("contacts", record_id, properties=[CALLER_KEY], budget=budget) is None:
        return False
    api.delete_for_good("contacts", record_id, budget=budget)
    return True
