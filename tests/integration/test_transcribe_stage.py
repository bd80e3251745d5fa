"""The transcribe stage on real parts: its two steps, notices that are no use to it, and what ends as a dead letter."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from infra.local.recordings.catalogue import load_catalogue
from infra.local.standins.faults import FaultRule
from infra.local.standins.speech import RunningSpeech
from schemas.events import CallTranscribed
from schemas.tenant import TenantConfig
from shared.errors import InvalidEvent, NotReady, PermanentFailure
from shared.gateways.objects import GcsObjectStore
from shared.gateways.speech import SpeechV2Recognizer
from shared.names import transcript_prefix
from tests.support.transcribe_runs import (
    NOW,
    KnownCalls,
    Run,
    new_run,
    objects,
    run,
    running,
    speakers,
    speech,
    standin,
    storage_url,
)

__all__ = ["objects", "run", "running", "speech", "standin", "storage_url"]


# --- the two steps ------------------------------------------------------------------------------


def test_submit_sleeps_with_the_operation_and_collect_finishes(run: Run) -> None:
    waiting = run.wait()
    assert waiting.until == NOW + timedelta(minutes=15, seconds=4)

    completed = run.collect(run.output())

    assert speakers(completed) == ["agent", "caller"]
    assert completed.next_event == CallTranscribed(tenant_id="acme", request_id=run.request_id, call_id=run.call_id)
    assert completed.usage.audio_s == 8.0
    assert completed.usage.model == "chirp_3"
    assert run.times_paid() == 1


def test_checkpoint_is_plain_json(run: Run) -> None:
    run.wait()
    assert json.loads(json.dumps(run.checkpoint)) == run.checkpoint


def test_collect_needs_no_call_record(run: Run) -> None:
    run.wait()
    run.deps = replace(run.deps, calls=KnownCalls())
    assert speakers(run.collect(run.output())) == ["agent", "caller"]


def test_tenants_own_settings_decide_model_language_and_agent(run: Run) -> None:
    config = TenantConfig.model_validate(
        {
            "callrail_company_ids": ["COM1"],
            "webhook_secret_names": ["acme-webhook"],
            "ai_config": {"speech_model": "long", "language_codes": ["en-GB"]},
            "recordings": {"agent_channel": 2},
        }
    )
    run.tenant = run.tenant.model_copy(update={"config": config})
    run.wait()

    completed = run.collect(run.output())

    assert speakers(completed) == ["caller", "agent"]
    assert completed.usage.model == "long"
    assert run.standin.book.state()["operations"][0]["language_codes"] == ["en-GB"]


def test_nobody_spoke_finishes_with_an_empty_transcript(
    standin: RunningSpeech, objects: GcsObjectStore, speech: SpeechV2Recognizer
) -> None:
    silent = new_run(
        standin, objects, speech, audio=b"-", sidecar={"turns": [], "duration_s": 9}, duration_s=9, channels=1
    )
    silent.wait()
    completed = silent.collect(silent.output())
    assert speakers(completed) == []
    assert completed.next_event is not None


@pytest.mark.speech
def test_real_conversation_arrives_with_its_speakers(
    standin: RunningSpeech, objects: GcsObjectStore, speech: SpeechV2Recognizer
) -> None:
    sample = next(one for one in load_catalogue() if one.script.id == "burst-pipe")
    assert sample.audio_path is not None
    call = new_run(standin, objects, speech, audio=sample.audio_path.read_bytes(), duration_s=28.7)
    call.wait()

    transcript = call.collect(call.output()).changes.transcript

    assert transcript is not None
    assert [turn.speaker for turn in transcript.turns] == ["agent", "caller"] * 3
    said = transcript.text.lower()
    assert [word for word in sample.script.expect.words if word.lower() not in said] == []


# --- notices that are early, late, foreign or no transcript -----------------------------------------


def test_output_that_overtakes_submit_is_put_back(run: Run) -> None:
    with pytest.raises(NotReady):
        run.collect(transcript_prefix("acme", run.request_id) + "call_transcript_1.json")


def test_object_of_another_request_is_refused(run: Run) -> None:
    run.wait()
    with pytest.raises(InvalidEvent):
        run.collect(transcript_prefix("rival", run.request_id) + "call_transcript_1.json")


@pytest.mark.parametrize("name", ["", "captions.vtt"])
def test_object_that_is_no_transcript_changes_nothing(run: Run, name: str) -> None:
    asleep = run.wait()
    again = run.wait(after=transcript_prefix("acme", run.request_id) + name)
    assert again.checkpoint == asleep.checkpoint
    assert again.until == asleep.until


# --- dead letters -------------------------------------------------------------------------------


def test_call_without_recording_is_a_dead_letter(run: Run) -> None:
    run.deps = replace(run.deps, calls=KnownCalls())
    with pytest.raises(PermanentFailure, match="no_recording"):
        run.submit()


def test_output_spoiled_twice_is_a_dead_letter_that_a_replay_completes(run: Run) -> None:
    run.standin.plan.add(FaultRule(operation="output", kind="rubbish", times=2))
    run.wait()
    run.wait(after=run.output())
    with pytest.raises(PermanentFailure, match="speech_output_unreadable"):
        run.collect(run.output())
    assert run.times_paid() == 2

    run.wait()  # an operator replays the stage's own event

    assert speakers(run.collect(run.output())) == ["agent", "caller"]
    assert run.times_paid() == 3


def test_final_error_of_the_recording_is_a_dead_letter_that_a_replay_tries_again(run: Run) -> None:
    run.standin.plan.add(FaultRule(operation="output", kind="status", grpc_code="PERMISSION_DENIED"))
    run.wait()
    run.standin.book.wait_until_done(run.checkpoint["operation"])
    with pytest.raises(PermanentFailure) as failure:
        run.submit()
    assert failure.value.code == "speech_failed"
    assert "service agent" in failure.value.fix
    assert run.times_paid() == 1

    run.wait()

    assert speakers(run.collect(run.output())) == ["agent", "caller"]
