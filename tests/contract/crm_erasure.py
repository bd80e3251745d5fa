"""Erasing a caller from a CRM: what we made goes, what others entered stays, for every vendor."""

from __future__ import annotations

import pytest

from schemas.calls import CrmRecord
from shared.crm_erasure import CrmErasure, CrmPointer, erasure_of
from shared.errors import TenantBlocked
from tests.support.crm_calls import CALL_ID, CALLER, call_details, crm_call
from tests.support.crm_harness import CrmHarness, OfOneCrm


class CrmErasing(OfOneCrm):
    """A person's right, and no more than it."""

    def test_an_erased_caller_is_gone_and_another_tenants_stays(self, harness: CrmHarness) -> None:
        record = harness.gateway().sync_call(crm_call())
        harness.gateway("other").sync_call(crm_call())

        erased = harness.eraser().erase(_erasure_of(record, e164=CALLER))

        assert (erased.activity_ids, erased.person_ids) == ((record.activity_id,), (record.person_id,))
        assert (harness.persons(), harness.calls()) == ([], [])
        assert (len(harness.persons("other")), len(harness.calls("other"))) == (1, 1)

    def test_erasing_again_finds_nothing_and_harms_nobody(self, harness: CrmHarness) -> None:
        record = harness.gateway().sync_call(crm_call())
        harness.eraser().erase(_erasure_of(record, e164=CALLER))
        other = harness.gateway().sync_call(crm_call("CAL0other", details=call_details(caller_number="+12025550177")))

        again = harness.eraser().erase(_erasure_of(record, e164=CALLER))

        assert (again.activity_ids, again.person_ids) == ((), ())
        assert [person.person_id for person in harness.persons()] == [other.person_id]

    def test_without_our_pointers_the_keys_on_the_records_lead_to_them(self, harness: CrmHarness) -> None:
        harness.gateway().sync_call(crm_call())

        erased = harness.eraser().erase(CrmErasure((CALL_ID,), e164=CALLER))

        assert (len(erased.activity_ids), len(erased.person_ids)) == (1, 1)
        assert (harness.persons(), harness.calls()) == ([], [])

    def test_a_person_whom_somebody_else_entered_stays_unless_asked_for(self, harness: CrmHarness) -> None:
        person_id = harness.seed_person(phone=CALLER, name="Alex Example")
        record = harness.gateway().sync_call(crm_call())
        assert (record.person_id, record.person_created) == (person_id, False)

        careful = harness.eraser().erase(_erasure_of(record, e164=CALLER))
        assert [person.person_id for person in harness.persons()] == [person_id]
        thorough = harness.eraser().erase(_erasure_of(record, e164=CALLER, with_found_people=True))

        assert (len(careful.activity_ids), careful.person_ids) == (1, ())
        assert (thorough.activity_ids, thorough.person_ids) == ((), (person_id,))
        assert harness.persons() == []

    def test_one_calls_erasure_leaves_the_callers_other_calls(self, harness: CrmHarness) -> None:
        first = harness.gateway().sync_call(crm_call("CAL0a"))
        harness.gateway().sync_call(crm_call("CAL0b"))

        harness.eraser().erase(_erasure_of(first, e164="", call_id="CAL0a"))

        assert [call.call_id for call in harness.calls()] == ["CAL0b"]
        assert [person.person_id for person in harness.persons()] == [first.person_id]

    def test_an_erasure_that_was_refused_can_be_repeated(self, harness: CrmHarness) -> None:
        record = harness.gateway().sync_call(crm_call())
        harness.revoke_secret()
        with pytest.raises(TenantBlocked):
            harness.eraser().erase(_erasure_of(record, e164=CALLER))
        assert len(harness.calls()) == 1

    def test_whoever_made_a_person_is_remembered_after_a_second_sync(self, harness: CrmHarness) -> None:
        record = harness.gateway().sync_call(crm_call())

        again = harness.gateway().sync_call(crm_call(previous=record))

        assert (record.person_created, again.person_created) == (True, True)


def _erasure_of(record: CrmRecord, *, e164: str, call_id: str = CALL_ID, with_found_people: bool = False) -> CrmErasure:
    pointer = CrmPointer(
        record.provider,
        record.person_type,
        record.person_id,
        record.activity_type,
        record.activity_id,
        record.person_created,
    )
    return erasure_of([pointer], call_ids=[call_id], e164=e164, with_found_people=with_found_people)
