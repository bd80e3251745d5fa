"""What to do about a call's audio, and what can be said of a call without any."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.analysis import CallAnalysis
from schemas.calls import CallDetails, Marketing, Marks
from stages.download.logic import LookAt, LookSoon, StopWaiting, after_not_ready, reason_for_no_audio
from stages.download.metadata_analysis import analysis_from_metadata

STARTED = datetime(2026, 11, 18, 16, 14, tzinfo=UTC)
"""A Wednesday, 9:14 in Denver."""
DENVER = "America/Denver"
CALLER = "+13035550142"


def call(**fields: Any) -> CallDetails:
    given_: dict[str, Any] = {"call_id": "CAL1", "started_at": STARTED, "caller_number": CALLER, **fields}
    return CallDetails(**given_)


# --- is audio to be expected? -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"answered": True, "duration_s": 60, "recording_url": "https://x"}, ""),
        ({"answered": True, "duration_s": 60}, ""),
        ({"answered": False, "voicemail": True}, ""),
        ({"call_type": "voicemail", "answered": False}, ""),
        ({"call_type": "voicemail_transcription", "answered": False}, ""),
        ({"answered": False, "recording_url": "https://x"}, ""),
        ({}, ""),
        ({"answered": False}, "missed_call"),
        ({"call_type": "missed"}, "missed_call"),
        ({"call_type": "abandoned", "answered": False, "duration_s": 40}, "abandoned_call"),
        ({"direction": "outbound", "answered": False, "call_type": "outbound"}, "outbound_unanswered"),
        ({"answered": True, "duration_s": 0}, "no_conversation"),
    ],
)
def test_which_calls_can_have_no_audio(fields: dict[str, Any], reason: str) -> None:
    assert reason_for_no_audio(call(**fields)) == reason


# --- the recording is late ----------------------------------------------------------------------------


def plan(*, age_s: float, deadline_s: int = 3600, **fields: Any) -> LookSoon | LookAt | StopWaiting:
    details = call(duration_s=60, **fields)
    ended = STARTED + timedelta(seconds=60)
    now = ended + timedelta(seconds=age_s)
    return after_not_ready(details, received_at=ended, now=now, wait_deadline_s=deadline_s)


def test_right_after_the_call_one_looks_again_within_seconds() -> None:
    assert plan(age_s=5) == LookSoon()


def test_later_the_steps_grow_up_to_a_quarter_of_an_hour() -> None:
    ended = STARTED + timedelta(seconds=60)
    assert plan(age_s=120) == LookAt(ended + timedelta(seconds=120 + 60))
    assert plan(age_s=1200) == LookAt(ended + timedelta(seconds=1200 + 300))
    assert plan(age_s=20_000, deadline_s=86_400) == LookAt(ended + timedelta(seconds=20_000 + 900))


def test_the_last_look_is_at_the_deadline_and_then_one_goes_on_without_audio() -> None:
    ended = STARTED + timedelta(seconds=60)
    assert plan(age_s=3590) == LookAt(ended + timedelta(hours=1))
    assert plan(age_s=3600) == StopWaiting()


def test_a_tenant_may_choose_not_to_wait() -> None:
    assert plan(age_s=0, deadline_s=0) == StopWaiting()


def test_without_a_start_time_the_wait_counts_from_the_webhook() -> None:
    details = CallDetails(call_id="CAL1")
    wait: dict[str, Any] = {"received_at": STARTED, "wait_deadline_s": 600}
    assert after_not_ready(details, now=STARTED + timedelta(seconds=599), **wait) == LookAt(
        STARTED + timedelta(seconds=600)
    )
    assert after_not_ready(details, now=STARTED + timedelta(seconds=600), **wait) == StopWaiting()


@pytest.mark.parametrize(
    "fields",
    [{"started_at": STARTED + timedelta(days=2)}, {"duration_s": 1_000_000}],
    ids=["a start in the future", "longer than it can have been"],
)
def test_a_call_that_seems_not_to_be_over_yet_is_not_looked_for_every_few_seconds_for_ever(
    fields: dict[str, Any],
) -> None:
    """Clocks and time zones differ. The webhook came after the call: the wait counts from there at the latest."""
    wait: dict[str, Any] = {"received_at": STARTED, "wait_deadline_s": 3600}
    details = call(**fields)
    assert after_not_ready(details, now=STARTED + timedelta(minutes=1), **wait) == LookSoon()
    assert isinstance(after_not_ready(details, now=STARTED + timedelta(minutes=10), **wait), LookAt)
    assert after_not_ready(details, now=STARTED + timedelta(hours=1), **wait) == StopWaiting()


@given(deadline_s=st.integers(0, 86_400))
def test_waiting_always_moves_forward_and_always_ends(deadline_s: int) -> None:
    details, now, looks = call(duration_s=0), STARTED + timedelta(minutes=2), 0
    while isinstance(
        step := after_not_ready(details, received_at=STARTED, now=now, wait_deadline_s=deadline_s), LookAt
    ):
        assert step.moment > now
        now, looks = step.moment, looks + 1
    assert step == StopWaiting()
    assert looks < 120


# --- what metadata tell -------------------------------------------------------------------------------


def judged(threshold: int = 70, **fields: Any) -> CallAnalysis:
    return analysis_from_metadata(call(**fields), threshold=threshold, time_zone=DENVER)


def test_a_missed_first_time_caller_from_an_ad_in_business_hours_is_a_hot_lead() -> None:
    analysis = judged(answered=False, first_call=True, duration_s=35, marketing=Marketing(medium="cpc"))

    assert analysis.lead_score == 95
    assert analysis.qualified
    assert analysis.intent == "missed_call"
    assert analysis.basis == "metadata"
    assert analysis.model == "rules"
    assert "Call back as soon as possible" in analysis.next_step
    assert len(analysis.lead_score_reasons) == 5


def test_every_point_of_the_score_has_its_reason() -> None:
    analysis = judged(answered=False, first_call=False, duration_s=2, marketing=Marketing(gclid="G1"))

    points = [int(reason.rpartition("(")[2].rstrip(")")) for reason in analysis.lead_score_reasons]
    assert sum(points) == analysis.lead_score


@pytest.mark.parametrize(
    ("started_at", "zone", "bonus"),
    [
        (STARTED, DENVER, 10),
        (STARTED, "", 0),
        (STARTED, "Nowhere/Land", 0),
        (STARTED, "../../etc/passwd", 0),
        (STARTED - timedelta(hours=3), DENVER, 0),
        (STARTED + timedelta(days=3), DENVER, 0),
        (None, DENVER, 0),
    ],
)
def test_business_hours_are_those_of_the_company(started_at: datetime | None, zone: str, bonus: int) -> None:
    details = call(answered=False, started_at=started_at)
    assert analysis_from_metadata(details, threshold=70, time_zone=zone).lead_score == 50 + bonus


@pytest.mark.parametrize(
    "fields",
    [{"marks": Marks(tags=("Spam",))}, {"caller_name": "SPAM RISK"}, {"caller_name": "Scam Likely"}],
)
def test_spam_scores_low_whatever_else_speaks_for_it(fields: dict[str, Any]) -> None:
    analysis = judged(answered=False, first_call=True, marketing=Marketing(medium="cpc"), **fields)

    assert analysis.intent == "spam"
    assert analysis.lead_score <= 5
    assert not analysis.qualified


def test_a_withheld_number_is_said_honestly() -> None:
    analysis = judged(answered=False, caller_number="")

    assert "withheld" in analysis.next_step
    assert analysis.lead_score < judged(answered=False).lead_score


def test_an_unheard_voicemail_an_unheard_call_and_an_outbound_call_ask_for_different_things() -> None:
    voicemail = judged(voicemail=True, answered=False)
    answered = judged(answered=True, duration_s=240)
    outbound = judged(direction="outbound", answered=False)

    assert (voicemail.intent, answered.intent, outbound.intent) == ("incomplete",) * 3
    assert "voicemail" in voicemail.next_step
    assert "colleague who took the call" in answered.next_step
    assert "Call again" in outbound.next_step
    assert outbound.lead_score < answered.lead_score


def test_people_are_believed_more_than_rules() -> None:
    good = judged(answered=False, marks=Marks(lead_status="good_lead"))
    bad = judged(answered=False, first_call=True, marks=Marks(lead_status="not_a_lead"))

    assert good.qualified
    assert not bad.qualified


def test_the_tenants_threshold_decides_what_is_qualified() -> None:
    assert judged(threshold=60, answered=False).qualified
    assert not judged(threshold=61, answered=False).qualified


def test_the_text_claims_no_more_than_is_known_and_names_nobody() -> None:
    analysis = judged(answered=False, caller_name="EXAMPLE CALLER", city="Denver", state="CO")

    text = analysis.model_dump_json()
    assert "Missed call from Denver, CO" in analysis.summary
    assert "not known" in analysis.summary
    assert "EXAMPLE CALLER" not in text
    assert CALLER not in text


@given(
    st.builds(
        CallDetails,
        call_id=st.just("CAL1"),
        direction=st.sampled_from(["inbound", "outbound"]),
        answered=st.sampled_from([True, False, None]),
        voicemail=st.booleans(),
        call_type=st.sampled_from(["", "missed", "abandoned", "voicemail", "answered", "outbound", "in_progress"]),
        duration_s=st.none() | st.integers(0, 10**6),
        first_call=st.sampled_from([True, False, None]),
        caller_number=st.sampled_from(["", CALLER]),
        caller_name=st.text(max_size=20),
        started_at=st.none() | st.datetimes(min_value=datetime(2020, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - hypothesis wants naive bounds
        marks=st.builds(Marks, lead_status=st.sampled_from(["", "good_lead", "not_a_lead"])),
    )
)
def test_every_call_gets_a_complete_analysis(details: CallDetails) -> None:
    analysis = analysis_from_metadata(details, threshold=70, time_zone=DENVER)

    assert 0 <= analysis.lead_score <= 100
    assert analysis.qualified == (analysis.lead_score >= 70)
    assert analysis.lead_score_reasons
    assert all((analysis.summary, analysis.next_step))
