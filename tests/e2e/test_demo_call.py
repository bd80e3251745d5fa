"""The product's main job on real speech: signed webhooks go in, and the CRMs hold the calls."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

import pytest

from infra.local.demo import run
from infra.local.demo_tenant import GUIDE_COMPANY_ID
from infra.local.recordings.word_errors import is_heard, words_of
from infra.local.senders import new_call_id, post_webhook, put_recording
from schemas.calls import CallRecord
from shared.names import first_request_id
from tests.e2e.calls import (
    ONE_OF_EACH,
    PostedCall,
    accepted,
    held,
    let_the_queue_pass,
    missed_call,
    sample,
    sample_payload,
    speech_operations,
)
from tests.e2e.command_line import pipeline
from tests.support.audio import mp3
from tests.support.stack import LocalStack
from tests.support.webhooks import FORM_SUBMISSION, GUIDES_TEST, PRE_CALL, TEXT_MESSAGE, as_form

pytestmark = pytest.mark.emulators

RECORDED = ("burst-pipe", "voicemail-quote")
SAMPLES = (*RECORDED, "missed-call")


@pytest.fixture(scope="module")
def samples(local_stack: LocalStack) -> Mapping[str, PostedCall]:
    """Sample calls that have reached their end; the voicemail's webhook came three times while it was under way."""
    posted = {name: accepted(local_stack, sample_payload(local_stack, sample(name))) for name in SAMPLES}
    for _ in range(2):
        accepted(local_stack, posted["voicemail-quote"].payload)
    for name, call in posted.items():
        state = local_stack.end_of(call.request_id, call_id=call.call_id)
        assert state == "done", f"{name}: {local_stack.story(call.call_id)}"
    return posted


def record_of(stack: LocalStack, call: PostedCall) -> CallRecord:
    record = stack.calls().get(stack.tenant_id, call.call_id)
    assert record is not None
    return record


@pytest.mark.parametrize("name", SAMPLES)
def test_a_call_is_judged_as_its_script_expects(
    local_stack: LocalStack, samples: Mapping[str, PostedCall], name: str
) -> None:
    analysis = record_of(local_stack, samples[name]).analysis

    expect = sample(name).script.expect
    assert analysis is not None
    assert analysis.intent == expect.intent
    assert expect.min_score <= analysis.lead_score <= expect.max_score
    assert analysis.qualified == (analysis.lead_score >= 70)
    assert all(analysis.lead_score_reasons)
    assert analysis.summary
    assert analysis.next_step


@pytest.mark.parametrize("name", SAMPLES)
def test_a_call_appears_in_both_crms_with_score_and_caller(
    local_stack: LocalStack, samples: Mapping[str, PostedCall], name: str
) -> None:
    crm = held(local_stack, samples[name].call_id)

    assert crm.counts() == ONE_OF_EACH
    analysis = record_of(local_stack, samples[name]).analysis
    assert analysis is not None
    assert crm.hubspot_calls[0]["properties"]["ext_lead_score"] == str(analysis.lead_score)
    assert analysis.next_step in crm.hubspot_calls[0]["properties"]["ext_next_step"]
    assert crm.salesforce_tasks[0]["Ext_Lead_Score__c"] == analysis.lead_score
    assert analysis.summary in crm.salesforce_tasks[0]["Description"]
    number = sample(name).script.call.customer_number
    assert crm.hubspot_contacts[0]["properties"]["phone"] == number
    assert crm.salesforce_people[0]["Phone"] == number


def test_what_each_party_said_stands_under_its_name(local_stack: LocalStack, samples: Mapping[str, PostedCall]) -> None:
    transcript = record_of(local_stack, samples["burst-pipe"]).transcript

    assert transcript is not None
    script = sample("burst-pipe").script
    heard = {
        party: words_of(" ".join(turn.text for turn in transcript.turns if turn.speaker == party))
        for party in script.speakers
    }
    assert {turn.speaker for turn in transcript.turns} == script.speakers
    for phrase in script.expect.words:
        party = next(party for party in script.speakers if is_heard(phrase, words_of(script.text_of(party))))
        assert is_heard(phrase, heard[party]), f"{party} said {phrase!r}, heard {heard[party]}"


def test_a_voicemail_is_transcribed_with_one_speaker(
    local_stack: LocalStack, samples: Mapping[str, PostedCall]
) -> None:
    transcript = record_of(local_stack, samples["voicemail-quote"]).transcript

    assert transcript is not None
    assert len({turn.speaker for turn in transcript.turns}) == 1
    text = " ".join(turn.text for turn in transcript.turns)
    unheard = [
        phrase for phrase in sample("voicemail-quote").script.expect.words if not is_heard(phrase, words_of(text))
    ]
    assert unheard == ["555 0148"]
    assert "[number]" in text, "a long number is masked unless the tenant says otherwise"


@pytest.mark.parametrize("name", RECORDED)
def test_turns_follow_one_another_within_the_recording(
    local_stack: LocalStack, samples: Mapping[str, PostedCall], name: str
) -> None:
    record = record_of(local_stack, samples[name])

    assert record.transcript is not None
    assert record.recording is not None
    starts = [turn.start_s for turn in record.transcript.turns]
    assert starts == sorted(starts)
    assert all(turn.start_s < turn.end_s <= record.recording.duration_s + 0.5 for turn in record.transcript.turns)


def test_a_missed_call_is_judged_from_its_details_alone(
    local_stack: LocalStack, samples: Mapping[str, PostedCall]
) -> None:
    record = record_of(local_stack, samples["missed-call"])

    assert record.recording is None
    assert record.transcript is None
    assert record.no_audio_reason == "missed_call"
    assert record.analysis is not None
    assert record.analysis.basis == "metadata"
    assert speech_operations(local_stack, samples["missed-call"].call_id) == []


def test_the_same_webhook_three_times_and_once_more_is_one_call(
    local_stack: LocalStack, samples: Mapping[str, PostedCall]
) -> None:
    call = samples["voicemail-quote"]
    again = accepted(local_stack, call.payload)
    let_the_queue_pass(local_stack, number="+13035550170")

    assert again.request_id == call.request_id
    assert {line.request_id for line in local_stack.story(call.call_id)} == {call.request_id}
    assert held(local_stack, call.call_id).counts() == ONE_OF_EACH
    assert len(speech_operations(local_stack, call.call_id)) == 1


def test_a_modified_call_is_updated_in_the_crms_and_not_transcribed_again(
    local_stack: LocalStack, samples: Mapping[str, PostedCall]
) -> None:
    call = samples["burst-pipe"]
    transcript = record_of(local_stack, call).transcript
    before = held(local_stack, call.call_id)

    changes = {"changes": ["tags", "note"], "tags": ["booked"], "note": "Technician on Tuesday at nine"}
    modified = accepted(local_stack, call.payload | changes, event="call-modified")

    assert local_stack.end_of(modified.request_id, call_id=call.call_id) == "done"
    after = held(local_stack, call.call_id)
    assert after.counts() == ONE_OF_EACH
    assert after.hubspot_calls[0]["id"] == before.hubspot_calls[0]["id"]
    assert after.salesforce_tasks[0]["Id"] == before.salesforce_tasks[0]["Id"]
    assert "Technician on Tuesday at nine" not in before.hubspot_calls[0]["properties"]["hs_call_body"]
    assert "Technician on Tuesday at nine" in after.hubspot_calls[0]["properties"]["hs_call_body"]
    assert "Tags: booked" in after.salesforce_tasks[0]["Description"]
    assert len(speech_operations(local_stack, call.call_id)) == 1
    assert record_of(local_stack, call).transcript == transcript


def test_a_form_encoded_webhook_is_a_call_like_any_other(local_stack: LocalStack) -> None:
    payload = missed_call(number="+13035550171")
    answer = post_webhook(
        local_stack.env["WEBHOOK_URL"],
        as_form(payload),
        key=local_stack.env["DEMO_WEBHOOK_SECRET"],
        content_type="application/x-www-form-urlencoded",
    )

    assert answer.status_code == 202, answer.text
    call_id = payload["resource_id"]
    assert local_stack.end_of(answer.json()["request_id"], call_id=call_id) == "done"
    crm = held(local_stack, call_id)
    assert crm.counts() == ONE_OF_EACH
    assert crm.hubspot_contacts[0]["properties"]["phone"] == "+13035550171"
    assert "Tags: new customer" in crm.salesforce_tasks[0]["Description"]


def test_a_call_that_began_with_a_pre_call_webhook_is_one_call(local_stack: LocalStack) -> None:
    payload = missed_call(number="+13035550174")
    names = ("resource_id", "company_resource_id", "start_time")
    began = accepted(local_stack, PRE_CALL | {name: payload[name] for name in names})
    assert local_stack.end_of(began.request_id, call_id=began.call_id) == "done"

    ended = accepted(local_stack, payload)

    assert local_stack.end_of(ended.request_id, call_id=ended.call_id) == "done"
    assert held(local_stack, ended.call_id).counts() == ONE_OF_EACH


def test_a_modification_stands_in_for_a_lost_post_call_webhook(local_stack: LocalStack, tmp_path: Path) -> None:
    payload = missed_call(number="+13035550175") | {"answered": True, "call_type": "answered", "duration": "40"}
    call_id = str(payload["resource_id"])
    link = spoken(local_stack, tmp_path, call_id=call_id, text="When is my appointment on Monday?")

    modified = accepted(local_stack, payload | {"recording": link, "changes": ["note"], "note": "Called back"})

    assert local_stack.end_of(modified.request_id, call_id=call_id) == "done"
    first = first_request_id(local_stack.tenant_id, call_id)
    assert local_stack.end_of(first, call_id=call_id) == "done"
    crm = held(local_stack, call_id)
    assert crm.counts() == ONE_OF_EACH
    assert "Monday" in crm.salesforce_tasks[0]["Description"]
    assert "Note: Called back" in crm.salesforce_tasks[0]["Description"]


@pytest.mark.parametrize(
    ("body", "kind"), [(TEXT_MESSAGE, "text_message"), (FORM_SUBMISSION, "form_submission")], ids=["text", "form"]
)
def test_what_is_no_call_is_kept_as_not_processed(
    local_stack: LocalStack, body: Mapping[str, object], kind: str
) -> None:
    subject = new_call_id().replace("CAL", "SCI")
    company = local_stack.env["DEMO_COMPANY_ID"]
    kept = accepted(local_stack, {**body, "resource_id": subject, "company_resource_id": company})

    assert local_stack.end_of(kept.request_id, call_id=subject) == "not_processed"
    assert [line.kind for line in local_stack.story(subject)] == [kind]
    assert held(local_stack, subject).counts() == (0, 0, 0, 0)


def test_the_guides_test_payload_is_a_call_with_its_recording(local_stack: LocalStack, tmp_path: Path) -> None:
    """The production guide's names and types; the recording lies on a host that may be asked."""
    call_id = str(GUIDES_TEST["call_id"])
    link = spoken(local_stack, tmp_path, call_id=call_id, text="I need a quote for a new water heater today.")

    call = accepted(
        local_stack,
        GUIDES_TEST
        | {"tenant_id": local_stack.tenant_id, "callrail_company_id": GUIDE_COMPANY_ID, "recording_url": link},
    )

    assert local_stack.end_of(call.request_id, call_id=call_id) == "done"
    record = record_of(local_stack, call)
    assert record.transcript is not None
    assert "water heater" in record.transcript.text
    assert record.details.duration_s == 180
    assert held(local_stack, call_id).counts() == ONE_OF_EACH


def spoken(stack: LocalStack, folder: Path, *, call_id: str, text: str) -> str:
    """The link of a two-second recording in which Speech's stand-in is told to hear `text`."""
    audio = folder / f"{call_id}.mp3"
    audio.write_bytes(mp3(2.0))
    said = {"turns": [{"start_s": 0, "end_s": 2, "text": text}]}
    stack.tell("speech", "transcripts", {"audio_uri": f"*/{call_id}.mp3", "transcript": said})
    return put_recording(stack.env["CALLRAIL_URL"], call_id=call_id, audio=audio)


def test_a_call_that_cannot_end_fails_the_demo(
    local_stack: LocalStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the session's stack; that the demo brings up one of its own is seen in tests/e2e/test_own_stacks.py."""
    rubbish = tmp_path / "broken.wav"
    rubbish.write_bytes(b"RIFF\x00\x00\x00\x00WAVE" + b"These are words, but nobody speaks them. " * 50)
    monkeypatch.setattr(run, "_stack", lambda _options, _console: nullcontext(local_stack.env))

    ran = pipeline("demo", "--json", "--audio", str(rubbish))

    assert ran.status == 1, ran.err
    (call,) = json.loads(ran.out)
    assert call["status"] == "failed"
    assert call["problems"]["download"].startswith("recording_unreadable")
    assert "failed recording_unreadable" in " ".join(ran.err.split())
    assert "Traceback" not in ran.err
