"""What every CRM gateway must do, whatever the vendor: one suite, run against each stand-in over HTTP.

A vendor's test module implements `CrmHarness` and inherits the tests:

    class TestHubSpot(CrmSuite):
        @pytest.fixture
        def harness(self) -> CrmHarness: ...
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import pytest

from schemas.calls import CrmRecord, Provider
from schemas.crm import CrmSection
from shared.crm_erasure import CrmEraser, CrmErasure, CrmPointer, erasure_of
from shared.errors import TenantBlocked, TransientFailure
from shared.phones import is_same_number
from shared.ports import CrmGateway
from tests.support.crm_calls import CALL_ID, CALLER, call_details, crm_call

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


class CrmSuite:
    """Inherit, override `harness`."""

    @pytest.fixture
    def harness(self) -> CrmHarness:
        raise NotImplementedError

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

    # --- credentials ------------------------------------------------------------------------------

    def test_rotated_secret_is_picked_up(self, harness: CrmHarness) -> None:
        gateway = harness.gateway()
        gateway.sync_call(crm_call("CAL0a"))
        harness.rotate_secret()

        gateway.sync_call(crm_call("CAL0b"))

        assert sorted(call.call_id for call in harness.calls()) == ["CAL0a", "CAL0b"]

    def test_refused_secret_blocks_the_tenant_and_says_what_to_mend(self, harness: CrmHarness) -> None:
        harness.revoke_secret()

        with pytest.raises(TenantBlocked) as caught:
            harness.gateway().sync_call(crm_call())

        assert caught.value.fix
        assert CALLER not in str(caught.value)

    def test_the_other_tenants_account_is_untouched(self, harness: CrmHarness) -> None:
        harness.gateway("other").sync_call(crm_call(title="theirs"))
        theirs = (harness.persons("other"), harness.calls("other"))

        harness.gateway("own").sync_call(crm_call(title="ours"))

        assert (harness.persons("other"), harness.calls("other")) == theirs
        assert [call.title for call in harness.calls("own")] == ["ours"]
        assert len(harness.persons("own")) == 1

    # --- a bad day at the vendor ------------------------------------------------------------------

    @pytest.mark.parametrize("step", ["search", "person", "call"])
    @pytest.mark.parametrize("status", [500, 503])
    def test_one_server_error_is_ridden_out(self, harness: CrmHarness, step: Step, status: int) -> None:
        harness.fault(step, kind="status", status=status)

        harness.gateway().sync_call(crm_call())

        assert (len(harness.persons()), len(harness.calls())) == (1, 1)

    @pytest.mark.parametrize("step", ["search", "person", "call"])
    def test_lasting_server_errors_go_to_the_outer_ring(self, harness: CrmHarness, step: Step) -> None:
        harness.fault(step, kind="status", status=503, times=50)
        with pytest.raises(TransientFailure):
            harness.gateway().sync_call(crm_call())
        harness.clear_faults()

        harness.gateway().sync_call(crm_call())

        assert (len(harness.persons()), len(harness.calls())) == (1, 1)

    def test_throttling_with_a_short_hint_is_waited_out(self, harness: CrmHarness) -> None:
        harness.fault("call", kind="status", status=429, headers={"Retry-After": "1"})

        harness.gateway().sync_call(crm_call())

        assert len(harness.calls()) == 1

    def test_throttling_with_a_long_hint_is_passed_on(self, harness: CrmHarness) -> None:
        harness.fault("call", kind="status", status=429, headers={"Retry-After": "120"}, times=50)

        with pytest.raises(TransientFailure) as caught:
            harness.gateway().sync_call(crm_call())

        assert caught.value.retry_after_s == 120
        assert harness.calls() == []

    @pytest.mark.parametrize("step", ["search", "person", "call"])
    @pytest.mark.parametrize("body", ["<html>maintenance</html>", {"surprise": 1}, [], None])
    def test_an_answer_that_makes_no_sense_is_not_taken_for_success(
        self, harness: CrmHarness, step: Step, body: Any
    ) -> None:
        harness.fault(step, kind="rubbish", body=body, times=50)

        with pytest.raises(TransientFailure):
            harness.gateway().sync_call(crm_call())

    # --- text -------------------------------------------------------------------------------------

    def test_markup_in_texts_is_shown_not_obeyed(self, harness: CrmHarness) -> None:
        attack = "<img src=x onerror=alert(1)><a href='https://evil.example.com'>win</a> & <script>x</script>"
        sections = (CrmSection(heading="Summary <b>", lines=(attack,)),)
        details = call_details(caller_name="<b>Dana</b> Example")

        harness.gateway().sync_call(crm_call(details=details, sections=sections))

        (call,) = harness.calls()
        (person,) = harness.persons()
        assert attack in call.body_text
        assert "Summary <b>" in call.body_text
        assert call.markup <= SAFE_MARKUP
        assert "<" not in person.name

    @pytest.mark.parametrize("letter", ["x", "&", "💧"])
    def test_texts_longer_than_the_field_are_cut_from_the_end(self, harness: CrmHarness, letter: str) -> None:
        sections = (
            CrmSection(heading="Summary", lines=("most important",)),
            CrmSection(heading="Transcript", lines=tuple(letter * 900 for _ in range(120))),
        )

        harness.gateway().sync_call(crm_call(title="t" * 400, sections=sections))

        (call,) = harness.calls()
        assert len(call.title) <= 255
        assert harness.body_limit // 3 < len(call.body) <= harness.body_limit
        assert "most important" in call.body_text

    # --- erasure ----------------------------------------------------------------------------------

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


def _at_once(*syncs: Callable[[], CrmRecord]) -> list[CrmRecord]:
    """Run all syncs from behind one barrier; their records in order."""
    barrier = threading.Barrier(len(syncs))

    def run(sync: Callable[[], CrmRecord]) -> CrmRecord:
        barrier.wait(timeout=10)
        return sync()

    with ThreadPoolExecutor(len(syncs)) as pool:
        return list(pool.map(run, syncs))


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
