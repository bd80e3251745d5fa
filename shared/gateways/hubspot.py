"""HubSpot as a `CrmGateway`: the caller as a contact, the call as a call record on that contact's timeline.

Safe to repeat (reference §1.6): the call is upserted by our call id, a contact that we make by a digest of the number,
and an association that exists stays as it is. A blind second POST after a time-out is therefore harmless.
The requests are in hubspot_api.py, what they carry in hubspot_mapping.py, the table of errors in hubspot_errors.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from schemas.calls import CrmRecord, Provider
from schemas.crm import CrmCall
from shared.crm_erasure import CrmErased, CrmErasure
from shared.errors import PermanentFailure, TenantBlocked, TransientFailure
from shared.gateways.hubspot_api import Budget, HubSpotApi, Record
from shared.gateways.hubspot_erase import erase
from shared.gateways.hubspot_errors import RecordConflict, RecordMissing
from shared.gateways.hubspot_mapping import (
    call_properties,
    caller_key,
    first_properties,
    is_latest,
    latest_properties,
)
from shared.gateways.hubspot_schema import (
    CALL_KEY,
    CALLER_KEY,
    GROUP,
    GROUP_LABEL,
    LAST_CALL_AT,
    PROPERTIES,
    ObjectType,
    PropertySpec,
    fault_of,
)
from shared.phones import is_same_number, national_digits, to_e164
from shared.ports import Clock, Secrets

SYNC_BUDGET_S = 30.0
"""All requests of one sync with their retries; well under the stage's ack deadline."""
REQUEST_TIMEOUT_S = 10.0

NOBODY = "onboarding-asks-whether-it-may-write"
"""A key that no caller and no call can have: keys of callers are digests, those of calls begin with CAL."""
GROUP_PROBE = "ext_next_step"
"""A property of ours on both types; it is never written, because there is no such record."""

_READ_BACK = ["phone", "mobilephone", "createdate", LAST_CALL_AT]


@dataclass(frozen=True)
class _Person:
    contact_id: str = ""
    created: bool = False


class HubSpotGateway:
    """One tenant's HubSpot account, reached with the bearer token held in the secret `token_secret`."""

    provider: Provider = "hubspot"

    def __init__(
        self,
        client: httpx.Client,
        *,
        secrets: Secrets,
        token_secret: str,
        clock: Clock,
        budget_s: float = SYNC_BUDGET_S,
        request_timeout_s: float = REQUEST_TIMEOUT_S,
    ) -> None:
        self._api = HubSpotApi(
            client, secrets=secrets, token_secret=token_secret, clock=clock, request_timeout_s=request_timeout_s
        )
        self._clock = clock
        self._budget_s = budget_s

    def sync_call(self, call: CrmCall) -> CrmRecord:
        """See `CrmGateway.sync_call`. Takes at most `budget_s` seconds, and one request's time-out more."""
        budget = Budget.of(self._budget_s)
        try:
            return self._sync(call, budget)
        except RecordMissing as error:
            # Somebody deleted the contact or the call between two of our requests: the next delivery looks anew.
            raise TransientFailure("hubspot_record_vanished", error.detail) from error

    def _sync(self, call: CrmCall, budget: Budget) -> CrmRecord:
        person = self._person(call, budget)
        activity_id = self._upsert_call(call, budget)
        if person.contact_id and not _was_associated(call, person.contact_id, activity_id):
            self._api.associate(activity_id, person.contact_id, budget=budget)
        return CrmRecord(
            provider="hubspot",
            person_id=person.contact_id,
            person_type="contact" if person.contact_id else "",
            person_created=person.created or _was_created(call, person.contact_id),
            activity_id=activity_id,
            activity_type="call",
            synced_at=self._clock(),
        )

    # --- the caller -------------------------------------------------------------------------------

    def _person(self, call: CrmCall, budget: Budget) -> _Person:
        """The caller's contact, found or made; nobody when the number is withheld."""
        e164 = to_e164(call.details.caller_number)
        contact = self._known(call, budget) or self._find(e164, budget)
        if contact is None and e164:
            return self._create(call, e164, budget)
        if contact is None:
            return _Person()
        self._show_latest(call, contact, budget)
        return _Person(contact.record_id)

    def _known(self, call: CrmCall, budget: Budget) -> Record | None:
        """The contact of an earlier sync of this call, unless it was deleted since."""
        if call.previous is None or not call.previous.person_id:
            return None
        return self._api.read("contacts", call.previous.person_id, properties=_READ_BACK, budget=budget)

    def _find(self, e164: str, budget: Budget) -> Record | None:
        """By number, whoever typed it in; then by our own key, because the search index runs behind.

        Search over-matches, so every hit's numbers are compared again. Several true matches are usually one
        person entered twice: the oldest contact carries the history, so it gets the call.
        """
        if not e164:
            return None
        hits = self._api.search(
            "contacts", groups=_phone_groups(e164), properties=_READ_BACK, sort="createdate", budget=budget
        )
        for hit in hits:
            if any(is_same_number(e164, hit.properties.get(name, "")) for name in ("phone", "mobilephone")):
                return hit
        return self._by_key(e164, budget)

    def _by_key(self, e164: str, budget: Budget) -> Record | None:
        key = caller_key(e164)
        return self._api.read_by_key("contacts", CALLER_KEY, key, properties=_READ_BACK, budget=budget)

    def _create(self, call: CrmCall, e164: str, budget: Budget) -> _Person:
        """An upsert: two workers with the same new caller end at one contact."""
        values = {**first_properties(call, e164), **latest_properties(call)}
        try:
            contact = self._api.upsert("contacts", CALLER_KEY, caller_key(e164), values, budget=budget)
        except RecordConflict:
            winner = self._by_key(e164, budget)
            if winner is None:
                raise
            self._show_latest(call, winner, budget)
            return _Person(winner.record_id)
        return _Person(contact.record_id, created=contact.created)

    def _show_latest(self, call: CrmCall, contact: Record, budget: Budget) -> None:
        """Only our own properties: name, numbers and original source belong to whoever entered them."""
        if is_latest(call, contact.properties.get(LAST_CALL_AT, "")):
            self._api.update("contacts", contact.record_id, latest_properties(call), budget=budget)

    # --- the call ---------------------------------------------------------------------------------

    def _upsert_call(self, call: CrmCall, budget: Budget) -> str:
        values = call_properties(call, now=self._clock())
        try:
            return self._api.upsert("calls", CALL_KEY, call.call_id, values, budget=budget).record_id
        except RecordConflict:
            # Lost a race for the same call id: the record exists now, so once more is an update.
            return self._api.upsert("calls", CALL_KEY, call.call_id, values, budget=budget).record_id

    # --- erasure ----------------------------------------------------------------------------------

    def erase(self, wanted: CrmErasure) -> CrmErased:
        """See `CrmEraser.erase`."""
        return erase(self._api, wanted, budget_s=self._budget_s)

    # --- onboarding -------------------------------------------------------------------------------

    def prepare(self) -> list[str]:
        """Create what is missing of our properties; one line each, `created: …`, `ok: …` or `missing: …`.

        A `missing` line says what a person has to change in HubSpot. Raises `TenantBlocked` (token, scope).
        """
        lines: list[str] = []
        for kind, specs in PROPERTIES.items():
            lines += self._prepare_group(kind)
            lines += self._prepare_properties(kind, specs)
        return [*lines, *self._write_lines(lines)]

    def inspect(self) -> list[str]:
        """What `prepare` would report and do (`would create:`); changes nothing."""
        lines: list[str] = []
        for kind, specs in PROPERTIES.items():
            if GROUP not in self._api.groups(kind, budget=Budget.of(self._budget_s)):
                lines.append(f"would create: group {GROUP} of {kind}")
            existing = self._api.properties(kind, budget=Budget.of(self._budget_s))
            lines += [_inspected(kind, spec, existing.get(spec.name)) for spec in specs]
        return lines

    def _write_lines(self, lines: list[str]) -> list[str]:
        """Whether the token may write records, asked without writing one: changing nobody's record is a 404.

        HubSpot looks at scopes before it looks for the record, so a missing scope shows as 403.
        """
        keys: dict[ObjectType, str] = {"contacts": CALLER_KEY, "calls": CALL_KEY}
        unusable = {kind for kind, key in keys.items() for line in lines if line.startswith(f"missing: {kind}.{key} ")}
        return [self._write_line(kind, key) for kind, key in keys.items() if kind not in unusable]

    def _write_line(self, kind: ObjectType, key: str) -> str:
        try:
            self._api.update_by_key(kind, key, NOBODY, {GROUP_PROBE: ""}, budget=Budget.of(self._budget_s))
        except RecordMissing:
            return f"ok: {kind} may be written"
        except TenantBlocked as error:
            return f"missing: write access to {kind}: {error.detail}; {error.fix}"
        return f"note: somebody has a record of {kind} whose {key} is {NOBODY}"

    def _prepare_group(self, kind: ObjectType) -> list[str]:
        if GROUP in self._api.groups(kind, budget=Budget.of(self._budget_s)):
            return []
        try:
            self._api.create_group(kind, name=GROUP, label=GROUP_LABEL, budget=Budget.of(self._budget_s))
        except RecordConflict:
            return []
        return [f"created: group {GROUP} of {kind}"]

    def _prepare_properties(self, kind: ObjectType, specs: Sequence[PropertySpec]) -> list[str]:
        """What is missing at once; what HubSpot did not take then, one by one: only that says which it is and why."""
        existing = self._api.properties(kind, budget=Budget.of(self._budget_s))
        made = self._made_at_once(kind, [spec for spec in specs if spec.name not in existing])
        return [
            f"created: {kind}.{spec.name}"
            if spec.name in made
            else self._prepare_property(kind, spec, existing.get(spec.name))
            for spec in specs
        ]

    def _made_at_once(self, kind: ObjectType, specs: Sequence[PropertySpec]) -> set[str]:
        if not specs:
            return set()
        definitions = [spec.as_json() for spec in specs]
        try:
            return self._api.create_properties(kind, definitions, budget=Budget.of(self._budget_s))
        except PermanentFailure:
            return set()

    def _prepare_property(self, kind: ObjectType, spec: PropertySpec, existing: dict[str, Any] | None) -> str:
        if existing is None:
            try:
                self._api.create_property(kind, spec.as_json(), budget=Budget.of(self._budget_s))
            except RecordConflict:
                existing = self._api.property_(kind, spec.name, budget=Budget.of(self._budget_s))
            else:
                return f"created: {kind}.{spec.name}"
        return _judged(kind, spec, existing)


def _inspected(kind: ObjectType, spec: PropertySpec, existing: dict[str, Any] | None) -> str:
    return f"would create: {kind}.{spec.name}" if existing is None else _judged(kind, spec, existing)


def _judged(kind: ObjectType, spec: PropertySpec, existing: dict[str, Any]) -> str:
    fault = fault_of(spec, existing)
    return f"missing: {kind}.{spec.name} {fault}" if fault else f"ok: {kind}.{spec.name}"


def _phone_groups(e164: str) -> list[dict[str, Any]]:
    """Five OR groups, HubSpot's maximum. Its searchable forms hold the number as dialled within the country,
    without leading zeros; `phone` and `mobilephone` are matched literally (reference §1.5)."""
    national = national_digits(e164).lstrip("0")
    searchable, mobile = "hs_searchable_calculated_phone_number", "hs_searchable_calculated_mobile_number"
    alternatives = [
        (searchable, "EQ", national),
        (searchable, "CONTAINS_TOKEN", f"*{national}"),
        (mobile, "CONTAINS_TOKEN", f"*{national}"),
        ("phone", "EQ", e164),
        ("mobilephone", "EQ", e164),
    ]
    return [
        {"filters": [{"propertyName": name, "operator": operator, "value": value}]}
        for name, operator, value in alternatives
    ]


def _was_created(call: CrmCall, contact_id: str) -> bool:
    """An earlier sync of this call made the contact: what an erasure may remove."""
    previous = call.previous
    return previous is not None and previous.person_created and previous.person_id == contact_id != ""


def _was_associated(call: CrmCall, contact_id: str, activity_id: str) -> bool:
    """An earlier sync finished with this pair; doing it again would undo a person who has moved the call since."""
    previous = call.previous
    return previous is not None and (previous.person_id, previous.activity_id) == (contact_id, activity_id)
