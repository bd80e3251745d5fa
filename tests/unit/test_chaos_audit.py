"""The audit of a chaos run finds what it is there for: a lost call, a second record, an open row, a bill paid twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from infra.local.chaos.audit import Verdict, judge
from infra.local.chaos.calls import MARK, PlannedCall, Post
from infra.local.chaos.evidence import CallRow, CrmEntry, Evidence, Recognition, RequestRow, RunRow
from infra.local.chaos.sender import Accepted, Ledger
from infra.local.chaos.tenants import ChaosTenant

TENANT = ChaosTenant("chaos-both", ("hubspot", "salesforce"), "secret", "portal", "consumer")
POST = Post(at_s=0.0, call="CAL1", tenant="chaos-both", kind="post_call", body={})
CALL = PlannedCall("CAL1", "chaos-both", "answered", "+13035550101", 0, (POST,))
LEDGER = Ledger(accepted=[Accepted("chaos-both", "CAL1", "post_call", "r-1")])
HUBSPOT, SALESFORCE = ("chaos-both", "hubspot", "CAL1"), ("chaos-both", "salesforce", "CAL1")
WHOLE = CrmEntry('{"title": "Call: new lead"}', has_person=True)
CLEAN = Evidence(
    requests=[RequestRow("chaos-both", "r-1", "CAL1", "post_call", "done", "crm_sync")],
    runs=[RunRow("chaos-both", "r-1", "CAL1", "crm_sync", "done", 1, None, None)],
    calls=[CallRow("chaos-both", "CAL1", "recordings/chaos-both/CAL1.wav", has_transcript=True, has_analysis=True)],
    letters=[],
    objects=["recordings/chaos-both/CAL1.wav", "transcripts/chaos-both/r-1/out.json"],
    entries=[(HUBSPOT, WHOLE), (SALESFORCE, WHOLE)],
    people=Counter({("chaos-both", "hubspot", "+13035550101"): 1, ("chaos-both", "salesforce", "+13035550101"): 1}),
    recognitions=[Recognition("CAL1", usable=True, billed_s=1, request_id="r-1")],
    model_answers=1,
    announced=frozenset({("chaos-both", "r-1")}),
)


def verdict_on(evidence: Evidence, ledger: Ledger = LEDGER) -> Verdict:
    return judge(evidence, ledger, [CALL], [TENANT])


def broken(verdict: Verdict) -> list[str]:
    return [invariant.name for invariant in verdict.invariants if not invariant.holds]


def test_a_clean_run_holds() -> None:
    verdict = verdict_on(CLEAN)

    assert broken(verdict) == []
    assert verdict.summary() == "lost=0 duplicated=0 double_paid=0 stuck=0"


def without_salesforce(evidence: Evidence) -> Evidence:
    return replace(evidence, entries=[(HUBSPOT, WHOLE)])


def without_request(evidence: Evidence) -> Evidence:
    return replace(evidence, requests=[])


def with_two_records(evidence: Evidence) -> Evidence:
    return replace(evidence, entries=[*evidence.entries, (HUBSPOT, WHOLE)])


def with_two_people(evidence: Evidence) -> Evidence:
    twice = Counter({("chaos-both", "salesforce", "+13035550101"): 1})
    return replace(evidence, people=evidence.people + twice)


def in_a_strangers_account(evidence: Evidence) -> Evidence:
    return replace(evidence, entries=[*evidence.entries, (("portal-of-nobody", "hubspot", "CAL1"), WHOLE)])


def still_marked(evidence: Evidence) -> Evidence:
    half = CrmEntry('{"title": "Call from +13035550101: not analyzed yet"}', has_person=True)
    return replace(evidence, entries=[(HUBSPOT, WHOLE), (SALESFORCE, half)])


def of_nobody(evidence: Evidence) -> Evidence:
    return replace(evidence, entries=[(HUBSPOT, WHOLE._replace(has_person=False)), (SALESFORCE, WHOLE)])


def unfinished(evidence: Evidence) -> Evidence:
    return replace(evidence, runs=[evidence.runs[0]._replace(state="retrying")])


def paid_twice(evidence: Evidence) -> Evidence:
    return replace(evidence, recognitions=[*evidence.recognitions, *evidence.recognitions])


def with_an_orphan(evidence: Evidence) -> Evidence:
    return replace(evidence, objects=[*evidence.objects, "inbox/chaos-both/r-2-0123.json"])


def without_transcript(evidence: Evidence) -> Evidence:
    return replace(evidence, calls=[evidence.calls[0]._replace(has_transcript=False)])


def with_words_from_nowhere(evidence: Evidence) -> Evidence:
    return replace(evidence, recognitions=[Recognition("CAL1", usable=False, billed_s=1, request_id="r-1")])


def without_announcement(evidence: Evidence) -> Evidence:
    return replace(evidence, announced=frozenset({("chaos-other", "r-1")}))


@pytest.mark.parametrize(
    ("spoil", "name", "summary"),
    [
        (without_salesforce, "no taken call is lost", "lost=1 duplicated=0 double_paid=0 stuck=0"),
        (without_request, "no taken call is lost", "lost=1 duplicated=0 double_paid=0 stuck=0"),
        (with_two_records, "one record for a call", "lost=0 duplicated=1 double_paid=0 stuck=0"),
        (with_two_people, "one record for a call", "lost=0 duplicated=1 double_paid=0 stuck=0"),
        (in_a_strangers_account, "no tenant's call in another's", "lost=0 duplicated=0 double_paid=0 stuck=0"),
        (still_marked, "every record tells the whole call", "lost=0 duplicated=0 double_paid=0 stuck=0"),
        (of_nobody, "every record tells the whole call", "lost=0 duplicated=0 double_paid=0 stuck=0"),
        (unfinished, "every request has ended", "lost=0 duplicated=0 double_paid=0 stuck=1"),
        (without_announcement, "every synced call is announced", "lost=0 duplicated=0 double_paid=0 stuck=0"),
        (paid_twice, "no audio is paid for twice", "lost=0 duplicated=0 double_paid=1 stuck=0"),
        (with_an_orphan, "no object belongs to nobody", "lost=0 duplicated=0 double_paid=0 stuck=0"),
        (without_transcript, "every call with audio", "lost=0 duplicated=0 double_paid=0 stuck=0"),
        (with_words_from_nowhere, "every call with audio", "lost=0 duplicated=0 double_paid=0 stuck=0"),
    ],
)
def test_what_is_wrong_is_named(spoil: Callable[[Evidence], Evidence], name: str, summary: str) -> None:
    verdict = verdict_on(spoil(CLEAN))

    assert any(one.startswith(name) for one in broken(verdict)), broken(verdict)
    assert verdict.summary() == summary
    assert not verdict.holds


def test_a_webhook_that_nobody_ever_took_is_named() -> None:
    ledger = Ledger(accepted=list(LEDGER.accepted), given_up=[POST])

    assert broken(verdict_on(CLEAN, ledger)) == ["every webhook was taken in the end"]


def test_a_repeated_recognition_of_lost_output_is_no_second_payment() -> None:
    lost = Recognition("CAL1", usable=False, billed_s=1, request_id="r-1")

    assert verdict_on(replace(CLEAN, recognitions=[lost, *CLEAN.recognitions])).double_paid == 0


def test_a_note_that_never_reached_the_crm_is_named() -> None:
    noted = Accepted("chaos-both", "CAL1", "call_modified", "r-1")
    ledger = Ledger(accepted=[*LEDGER.accepted, noted])
    with_note = CrmEntry(f'{{"tags": "{MARK}"}}', has_person=True)

    assert broken(verdict_on(replace(CLEAN, entries=[(HUBSPOT, with_note), (SALESFORCE, with_note)]), ledger)) == []
    assert broken(verdict_on(CLEAN, ledger)) == ["every record tells the whole call"]
