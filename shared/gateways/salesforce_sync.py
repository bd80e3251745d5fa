"""One call into Salesforce: who the caller is, then person and Task in one transaction, mending what has changed.

The happy path asks little: one search and one composite call. When Salesforce says that the Task exists already, or
that a record we knew is gone, the plan is corrected and written again, a few times at most.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from schemas.calls import CrmRecord
from schemas.crm import CrmCall
from shared.errors import TransientFailure
from shared.gateways.salesforce_errors import MULTIPLE_CHOICES, Refusal
from shared.gateways.salesforce_fields import (
    CALL_KEY,
    CALLER_KEY,
    PersonObject,
    new_person_values,
    rating,
    score_values,
    task_values,
)
from shared.gateways.salesforce_people import (
    PERSON_OBJECTS,
    Facts,
    NewPerson,
    Person,
    find_by_id,
    find_by_phone,
    find_own,
)
from shared.gateways.salesforce_rest import ObjectFacts, SalesforceRest, Write, Written, soql_string
from shared.phones import to_e164
from shared.ports import Clock

MOST_CORRECTIONS = 4
_GONE = frozenset({"NOT_FOUND", "ENTITY_IS_DELETED", "CANNOT_UPDATE_CONVERTED_LEAD", "INVALID_CROSS_REFERENCE_KEY"})
_PERSON, _TASK = "person", "task"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Plan:
    """What is about to be written. `task_id` empty: upsert by call id, with the create-only subtype when `as_call`."""

    person: Person | NewPerson | None
    task_id: str = ""
    as_call: bool = True
    links: bool = True
    """Whether the Task is (re)linked: not when it already hangs where it should, maybe moved there by a human."""


class CallSync:
    """The synchronisation of one call; made anew for each attempt."""

    def __init__(
        self,
        rest: SalesforceRest,
        call: CrmCall,
        *,
        person_object: PersonObject,
        facts_of: Callable[[SalesforceRest, str], ObjectFacts],
        clock: Clock,
    ) -> None:
        self._rest = rest
        self._call = call
        self._person_object = person_object
        self._facts_of = facts_of
        self._clock = clock
        self._phone = to_e164(call.details.caller_number)

    def run(self) -> CrmRecord:
        """Raises `Refusal` for what cannot be mended here, `TransientFailure` when the org keeps changing."""
        plan = self._first_plan()
        for _ in range(MOST_CORRECTIONS):
            try:
                return self._write(plan)
            except Refusal as refusal:
                plan = self._corrected(plan, refusal)
        raise TransientFailure("salesforce_unsettled", "records of this call keep changing while it is written")

    # --- planning --------------------------------------------------------------------------------

    def _first_plan(self) -> Plan:
        previous = self._call.previous
        if previous is None:
            return Plan(self._find_person())
        known = find_by_id(self._rest, self._facts(), previous.person_id)
        if known is None:
            return Plan(self._find_person(), task_id=previous.activity_id)
        return Plan(known, task_id=previous.activity_id, links=False)

    def _find_person(self) -> Person | NewPerson | None:
        """None when the number is withheld: the call is logged without a person."""
        if not self._phone:
            return None
        facts = self._facts()
        found = find_by_phone(self._rest, facts, self._phone)
        return found or find_own(self._rest, facts, self._person_object, self._phone)

    def _facts(self) -> Facts:
        return {name: self._facts_of(self._rest, name) for name in PERSON_OBJECTS}

    def _corrected(self, plan: Plan, refusal: Refusal) -> Plan:
        """The next plan after a refusal that says our knowledge was old; any other refusal goes on up."""
        if refusal.part == _TASK and _says_task_exists(refusal):
            return self._with_existing_task(plan)
        if refusal.code not in _GONE or (refusal.problem and refusal.problem.names_missing_key):
            raise refusal
        if refusal.part == _TASK and plan.task_id and not _concerns_person(refusal):
            return replace(plan, task_id="", links=True)
        if isinstance(plan.person, Person):
            return replace(plan, person=self._find_person(), links=True)
        raise refusal

    def _with_existing_task(self, plan: Plan) -> Plan:
        """The oldest Task of this call, and the person it hangs on; a lost answer or a second worker made it."""
        rows = self._rest.query(
            f"SELECT Id, WhoId FROM Task WHERE {CALL_KEY} = {soql_string(self._call.call_id)}"  # noqa: S608 - escaped
            " ORDER BY CreatedDate LIMIT 50"
        )
        if not rows:
            return replace(plan, task_id="", as_call=False)
        task_ids = [str(row["Id"]) for row in rows]
        if len(task_ids) > 1:
            _log.warning("salesforce_tasks_share_call_id", kept=task_ids[0], others=task_ids[1:])
        linked = find_by_id(self._rest, self._facts(), str(rows[0].get("WhoId") or ""))
        return Plan(linked or plan.person, task_id=task_ids[0], as_call=False, links=linked is None)

    # --- writing ---------------------------------------------------------------------------------

    def _write(self, plan: Plan) -> CrmRecord:
        person_write = self._person_write(plan.person)
        writes = [person_write] if person_write else []  # before the Task, which refers to it
        results = self._rest.write([*writes, self._task_write(plan)])
        return self._record(plan, results)

    def _person_write(self, person: Person | NewPerson | None) -> Write | None:
        if person is None:
            return None
        facts = self._facts_of(self._rest, person.object_name)
        scores = self._scores(facts)
        if isinstance(person, NewPerson):
            return self._creation(person, facts, scores)
        if person.was_called_after(self._call.details.started_at):
            return None
        if person.lacks_rating and self._rating and facts.takes("Rating", self._rating):
            scores["Rating"] = self._rating
        return Write(_PERSON, person.object_name, scores, record_id=person.record_id) if scores else None

    def _creation(self, person: NewPerson, facts: ObjectFacts, scores: dict[str, object]) -> Write:
        values = {**new_person_values(person.object_name, self._call, phone=self._phone), **scores}
        if person.object_name == "Lead" and self._rating:
            values["Rating"] = self._rating
        for name in ("LeadSource", "Rating"):
            # An org may restrict its picklists; the same facts stand in Description and score.
            if name in values and not facts.takes(name, str(values[name])):
                del values[name]
        if not person.by_key:
            return Write(_PERSON, person.object_name, values)
        return Write(_PERSON, person.object_name, values, external_field=CALLER_KEY, external_value=self._phone)

    def _scores(self, facts: ObjectFacts) -> dict[str, object]:
        """Required on the object that the tenant chose; on the other one, where they happen to be installed."""
        values: dict[str, object] = dict(score_values(self._call))
        if facts.name == self._person_object:
            return values
        return {name: value for name, value in values.items() if name in facts.fields and facts.fields[name].updateable}

    @property
    def _rating(self) -> str:
        """Empty while nobody has judged the call."""
        return rating(self._call.analysis.lead_score) if self._call.analysis else ""

    def _task_write(self, plan: Plan) -> Write:
        values = task_values(self._call)
        if plan.links and plan.person is not None:
            values["WhoId"] = plan.person.record_id if isinstance(plan.person, Person) else f"@{{{_PERSON}.id}}"
        if plan.task_id:
            return Write(_TASK, "Task", values, record_id=plan.task_id)
        if plan.as_call:
            values["TaskSubtype"] = "Call"
        return Write(_TASK, "Task", values, external_field=CALL_KEY, external_value=self._call.call_id)

    def _record(self, plan: Plan, results: dict[str, Written]) -> CrmRecord:
        written = results.get(_PERSON)
        person = plan.person
        person_id = person.record_id if isinstance(person, Person) else written.record_id if written else ""
        previous = self._call.previous
        was_created = previous is not None and previous.person_created and previous.person_id == person_id
        return CrmRecord(
            provider="salesforce",
            person_id=person_id,
            person_type=_person_type(person),
            person_created=was_created or (written is not None and written.created),
            activity_id=results[_TASK].record_id,
            activity_type="task",
            synced_at=self._clock(),
        )


def _person_type(person: Person | NewPerson | None) -> str:
    return person.object_name.lower() if person else ""


def _says_task_exists(refusal: Refusal) -> bool:
    """TaskSubtype can be set only on creation, so its refusal means the Task is there; 300, that there are several."""
    return refusal.code == MULTIPLE_CHOICES or (
        refusal.code == "INVALID_FIELD_FOR_INSERT_UPDATE" and refusal.fields == ("TaskSubtype",)
    )


def _concerns_person(refusal: Refusal) -> bool:
    return "WhoId" in refusal.fields or refusal.code in {"CANNOT_UPDATE_CONVERTED_LEAD", "INVALID_CROSS_REFERENCE_KEY"}
