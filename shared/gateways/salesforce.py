"""The `CrmGateway` for Salesforce: calls become Tasks, callers become Leads or Contacts (reference: apis.md §2)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from schemas.calls import CrmRecord, Provider
from schemas.crm import CrmCall
from schemas.tenant import SalesforceConfig
from shared.crm_erasure import CrmErased, CrmErasure
from shared.gateways.retry import with_short_retries
from shared.gateways.salesforce_erase import erase
from shared.gateways.salesforce_errors import Refusal
from shared.gateways.salesforce_fields import PERSON_FIELDS, TASK_FIELDS, PersonObject
from shared.gateways.salesforce_maker import FieldMaker, Wanted
from shared.gateways.salesforce_people import PERSON_OBJECTS
from shared.gateways.salesforce_rest import API_VERSION, ObjectFacts, SalesforceRest
from shared.gateways.salesforce_session import Deadline, SalesforceSession
from shared.gateways.salesforce_setup import OUR_FIELDS, lacking, person_report, task_report
from shared.gateways.salesforce_sync import CallSync
from shared.ports import Clock, Secrets

SYNC_BUDGET_S = 25.0
"""For one synchronisation, retries and logins included; well under the push request's deadline."""

PREPARE_BUDGET_S = 120.0
"""For checking and making fields, which people wait for: making one takes Salesforce a second or two."""
ERASE_BUDGET_S = 120.0
"""For all records of one person; a person at a terminal waits for it."""

DESCRIBE_LIFE_S = 900.0
"""How long an object's fields are remembered: an administrator's change is noticed within a quarter of an hour."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


class SalesforceGateway:
    """One tenant's connection to one org. Thread-safe; keep it, because it holds the session and the HTTP client."""

    provider: Provider = "salesforce"

    def __init__(
        self,
        config: SalesforceConfig,
        secrets: Secrets,
        *,
        clock: Clock = _utc_now,
        login_url_override: str = "",
        budget_s: float = SYNC_BUDGET_S,
    ) -> None:
        """`login_url_override` sends everything to a stand-in on this machine; leave it empty in production."""
        self._clock = clock
        self._person_object: PersonObject = "Contact" if config.person_type == "contact" else "Lead"
        self._session = SalesforceSession(
            secret_name=config.credentials_secret, secrets=secrets, clock=clock, login_url_override=login_url_override
        )
        self._budget_s = budget_s
        self._facts_lock = threading.Lock()
        self._facts: dict[str, tuple[float, ObjectFacts]] = {}

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def sync_call(self, call: CrmCall) -> CrmRecord:
        """Find or create the caller, upsert the call's Task by call id; both in one transaction (see `CrmGateway`)."""
        deadline = Deadline.after(self._budget_s)
        return with_short_retries(lambda: self._sync_once(call, deadline), budget_s=self._budget_s)

    def _sync_once(self, call: CrmCall, deadline: Deadline) -> CrmRecord:
        sync = CallSync(
            self._rest(deadline),
            call,
            person_object=self._person_object,
            facts_of=self._facts_of,
            clock=self._clock,
        )
        try:
            return sync.run()
        except Refusal as refusal:
            raise refusal.as_error(self._clock()) from refusal

    def erase(self, wanted: CrmErasure) -> CrmErased:
        """See `CrmEraser.erase`."""
        return with_short_retries(lambda: self._erase_once(wanted), budget_s=ERASE_BUDGET_S)

    def _erase_once(self, wanted: CrmErasure) -> CrmErased:
        rest = self._rest(Deadline.after(ERASE_BUDGET_S))
        try:
            return erase(rest, wanted, {name: self._facts_of(rest, name) for name in PERSON_OBJECTS})
        except Refusal as refusal:
            raise refusal.as_error(self._clock()) from refusal

    def prepare(self) -> list[str]:
        """Make our custom fields where the user may, and report (`ok:`, `created:`, `missing:`, `note:`).

        A `missing` line says what a person has to click. Raises `TenantBlocked` (login), `TransientFailure`.
        """
        return self._looked_at(self._prepare_once)

    def inspect(self) -> list[str]:
        """What `prepare` would report and do (`would create:`); changes nothing."""
        return self._looked_at(self._inspect_once)

    def _looked_at(self, look: Callable[[SalesforceRest], list[str]]) -> list[str]:
        deadline = Deadline.after(PREPARE_BUDGET_S)

        def once() -> list[str]:
            try:
                return look(self._rest(deadline))
            except Refusal as refusal:
                raise refusal.as_error(self._clock()) from refusal

        return with_short_retries(once, budget_s=PREPARE_BUDGET_S)

    def _prepare_once(self, rest: SalesforceRest) -> list[str]:
        lacked = self._lacking(rest)
        outcomes = FieldMaker(rest).make(lacked) if lacked else {}
        with self._facts_lock:
            self._facts.clear()
        return self._report(rest, outcomes)

    def _inspect_once(self, rest: SalesforceRest) -> list[str]:
        outcomes = {f"{name}.{field.name}": "would create" for name, field in self._lacking(rest)}
        return self._report(rest, outcomes)

    def _lacking(self, rest: SalesforceRest) -> list[Wanted]:
        wanted = (("Task", TASK_FIELDS), (self._person_object, PERSON_FIELDS))
        return [(name, field) for name, fields in wanted for field in lacking(rest.describe(name), fields)]

    def _report(self, rest: SalesforceRest, outcomes: Mapping[str, str]) -> list[str]:
        task, person = rest.describe("Task"), rest.describe(self._person_object)
        usage = rest.api_usage.removeprefix("api-usage=").replace("/", " of ")
        note = f"note: API {API_VERSION}; requests used in the last 24 h: {usage or 'unknown'}"
        return [*task_report(task, outcomes), *person_report(person, self._person_object, outcomes), note]

    def _rest(self, deadline: Deadline) -> SalesforceRest:
        return SalesforceRest(self._session, deadline, OUR_FIELDS)

    def _facts_of(self, rest: SalesforceRest, object_name: str) -> ObjectFacts:
        """An object's fields, remembered. Two threads may both ask; the answers are the same."""
        with self._facts_lock:
            known = self._facts.get(object_name)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        facts = rest.describe(object_name)
        with self._facts_lock:
            self._facts[object_name] = (time.monotonic() + DESCRIBE_LIFE_S, facts)
        return facts
