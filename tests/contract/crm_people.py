"""Whom a call belongs to in the CRM, and that doing it twice changes nothing: for every vendor."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from schemas.calls import CrmRecord
from shared.errors import TransientFailure
from shared.phones import is_same_number
from tests.support.crm_calls import CALL_ID, CALLER, call_details, crm_call
from tests.support.crm_harness import CrmHarness, OfOneCrm, Step


class CrmPeople(OfOneCrm):
    """One caller is one person, one call is one record."""

    # --- people -----------------------------------------------------------------------------------

    def test_unknown_caller_becomes_a_person_with_the_call(self, harness: CrmHarness) -> None:
        record = harness.gateway().sync_call(crm_call())

        (person,) = harness.persons()
        (call,) = harness.calls()
        assert is_same_number(CALLER, person.phone)
        assert person.name == "Dana Example"
        assert call.person_ids == (person.person_id,)
        assert (call.call_id, call.title) == (CALL_ID, "Inbound call: new lead, score 82")
        assert "Call back before noon." in call.body_text
        assert float(call.score) == 82
        assert record.provider == harness.provider
        assert (record.person_id, record.person_created) == (person.person_id, True)

    @pytest.mark.parametrize(
        "written", ["(202) 555-0143", "202-555-0143", "2025550143", "+1 202 555 0143", "+12025550143", "1.202.555.0143"]
    )
    def test_a_humans_record_is_found_however_the_number_is_written(self, harness: CrmHarness, written: str) -> None:
        seeded = harness.seed_person(phone=written, name="Dana Q. Humanly-Entered")

        record = harness.gateway().sync_call(crm_call())

        (person,) = harness.persons()
        assert (person.person_id, person.name) == (seeded, "Dana Q. Humanly-Entered")
        assert (record.person_id, record.person_created) == (seeded, False)
        assert [call.person_ids for call in harness.calls()] == [(seeded,)]

    def test_same_digits_in_another_country_are_another_person(self, harness: CrmHarness) -> None:
        stranger = harness.seed_person(phone="+44 20 2555 0143", name="Somebody Else")

        record = harness.gateway().sync_call(crm_call())

        assert record.person_id != stranger
        assert len(harness.persons()) == 2

    def test_of_several_people_with_the_number_the_oldest_gets_the_call(self, harness: CrmHarness) -> None:
        oldest = harness.seed_person(phone="(202) 555-0143", name="First Entered")
        harness.seed_person(phone="+12025550143", name="Entered Later")

        record = harness.gateway().sync_call(crm_call())

        assert record.person_id == oldest
        assert len(harness.persons()) == 2

    def test_junk_from_the_caller_id_is_no_name(self, harness: CrmHarness) -> None:
        harness.gateway().sync_call(crm_call(details=call_details(caller_name="WIRELESS CALLER")))

        (person,) = harness.persons()
        assert "WIRELESS" not in person.name.upper()

    def test_withheld_number_leaves_a_call_without_a_person(self, harness: CrmHarness) -> None:
        record = harness.gateway().sync_call(crm_call(details=call_details(caller_number="", caller_name="Anonymous")))

        assert harness.persons() == []
        (call,) = harness.calls()
        assert call.person_ids == ()
        assert (record.person_id, record.person_type) == ("", "")

    # --- safe twice -------------------------------------------------------------------------------

    def test_same_call_twice_is_one_record_with_the_newer_text(self, harness: CrmHarness) -> None:
        gateway = harness.gateway()
        first = gateway.sync_call(crm_call())
        second = gateway.sync_call(crm_call(title="Inbound call: booked"))

        assert [call.title for call in harness.calls()] == ["Inbound call: booked"]
        assert len(harness.persons()) == 1
        assert (first.activity_id, first.person_id) == (second.activity_id, second.person_id)

    def test_two_workers_at_once_leave_one_person_and_one_call(self, harness: CrmHarness) -> None:
        records = _at_once(
            lambda: harness.gateway().sync_call(crm_call()), lambda: harness.gateway().sync_call(crm_call())
        )

        assert (len(harness.persons()), len(harness.calls())) == (1, 1)
        assert len({(record.person_id, record.activity_id) for record in records}) == 1

    def test_two_calls_of_one_new_caller_at_once_share_a_person(self, harness: CrmHarness) -> None:
        records = _at_once(
            lambda: harness.gateway().sync_call(crm_call("CAL0a")),
            lambda: harness.gateway().sync_call(crm_call("CAL0b")),
        )

        assert (len(harness.persons()), len(harness.calls())) == (1, 2)
        assert len({record.person_id for record in records}) == 1

    def test_second_call_before_the_search_index_caught_up_keeps_person_and_name(self, harness: CrmHarness) -> None:
        harness.lag_search()
        gateway = harness.gateway()
        first = gateway.sync_call(crm_call("CAL0a"))
        second = gateway.sync_call(crm_call("CAL0b", details=call_details(caller_name="Other Guess")))

        assert [person.name for person in harness.persons()] == ["Dana Example"]
        assert first.person_id == second.person_id

    @pytest.mark.parametrize("step", ["person", "call"])
    def test_answer_lost_after_the_write_leaves_one_record(self, harness: CrmHarness, step: Step) -> None:
        harness.fault(step, kind="drop_after")

        harness.gateway().sync_call(crm_call())

        assert (len(harness.persons()), len(harness.calls())) == (1, 1)

    @pytest.mark.parametrize("step", ["person", "call"])
    def test_answers_lost_for_long_are_left_to_the_next_delivery(self, harness: CrmHarness, step: Step) -> None:
        harness.fault(step, kind="drop_after", times=50)
        with pytest.raises(TransientFailure):
            harness.gateway().sync_call(crm_call())
        harness.clear_faults()

        harness.gateway().sync_call(crm_call())

        (person,) = harness.persons()
        assert [call.person_ids for call in harness.calls()] == [(person.person_id,)]

    def test_ids_of_an_earlier_sync_save_the_search(self, harness: CrmHarness) -> None:
        gateway = harness.gateway()
        record = gateway.sync_call(crm_call())
        searches = harness.requests("search")

        again = gateway.sync_call(crm_call(previous=record, title="Inbound call: tagged"))

        assert harness.requests("search") == searches
        assert (again.person_id, again.activity_id) == (record.person_id, record.activity_id)
        assert [call.title for call in harness.calls()] == ["Inbound call: tagged"]

    def test_person_deleted_since_the_last_sync_is_replaced(self, harness: CrmHarness) -> None:
        gateway = harness.gateway()
        record = gateway.sync_call(crm_call())
        harness.delete_person(record.person_id)

        again = gateway.sync_call(crm_call(previous=record))

        (person,) = harness.persons()
        assert person.person_id == again.person_id != record.person_id
        assert [call.person_ids for call in harness.calls()] == [(person.person_id,)]


def _at_once(*syncs: Callable[[], CrmRecord]) -> list[CrmRecord]:
    """Run all syncs from behind one barrier; their records in order."""
    barrier = threading.Barrier(len(syncs))

    def run(sync: Callable[[], CrmRecord]) -> CrmRecord:
        barrier.wait(timeout=10)
        return sync()

    with ThreadPoolExecutor(len(syncs)) as pool:
        return list(pool.map(run, syncs))
