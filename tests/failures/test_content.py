"""Failures of content seen in other call pipelines (PCA, sonic-brief, SAF): models, audio, languages."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import httpx
import pytest
from google.cloud.spanner_v1 import JsonObject

from infra.local.standins.faults import FaultRule
from schemas.analysis import CallAnalysis
from schemas.calls import CallRecord
from schemas.events import CallReceived
from schemas.tenant import Tenant
from shared.capacity import PATIENCE
from shared.gateways.calls import SpannerCalls
from tests.support.audio import mp3, tone, wav, wav_header
from tests.support.flaky import Chain
from tests.support.office import STAGE_OF_TOPIC, Office

pytestmark = pytest.mark.emulators


def call_of(chain: Chain, event: CallReceived) -> CallRecord:
    call = SpannerCalls(chain.database.open, chain.database.vault).get(event.tenant_id, event.call_id)
    assert call is not None
    return call


# -- error text stored as content ------------------------------------------------------------------------------------

MODEL_TROUBLE: dict[str, dict[str, Any]] = {
    "no capacity": {"kind": "status", "grpc_code": "RESOURCE_EXHAUSTED"},
    "down": {"kind": "status", "grpc_code": "UNAVAILABLE"},
    "no such model": {"kind": "status", "grpc_code": "NOT_FOUND"},
    "refuses": {"kind": "rubbish", "body": {"finish_reason": "SAFETY", "text": "I cannot help with that."}},
    "talks instead of answering": {"kind": "rubbish", "body": {"text": "An error occurred. Please try again later."}},
    "answers another schema": {"kind": "rubbish", "body": {"text": '{"summary": "Unable to summarize this call."}'}},
    "is cut off": {"kind": "rubbish", "body": {"finish_reason": "MAX_TOKENS", "text": '{"summary": "The caller'}},
}


@pytest.mark.parametrize("trouble", MODEL_TROUBLE)
def test_error_text_stored_as_content(
    chain: Chain, office: Office, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PCA#303, #307: a failed model is a state. No sentence of it is ever stored, and the call is completed later."""
    monkeypatch.setattr("shared.gateways.retry._BACKOFF", lambda _state: 0.01)
    chain.neighbours.plans["vertex"].add(
        FaultRule(operation="generate_content", times=10_000, **MODEL_TROUBLE[trouble])
    )
    event = office.received(chain.new_tenant(), audio=wav(2.0, channels=2))

    office.carry(event, tries=2)

    call = call_of(chain, event)
    assert call.transcript is not None, "what is known is kept"
    assert call.analysis is None
    state = office.runs(event)["analyze"]
    assert state in {"retrying", "failed", "deferred"}
    assert state != "failed" or len(office.letters()) == 1
    in_crm = json.dumps(chain.neighbours.state("hubspot")["calls"])
    for words in ("An error occurred", "Unable to summarize", "cannot help with that"):
        assert words not in in_crm


NO_CAPACITY = {
    "vertex": ("generate_content", "analyze", "vertex_resource_exhausted"),
    "speech": ("batch_recognize", "transcribe", "speech_throttled"),
}


def sent_again(office: Office, event: CallReceived, stage: str) -> list[int]:
    """The answers to the stage's own event, as the sweeper sends it, until it is acknowledged."""
    own = (item for item in office.publisher.messages if STAGE_OF_TOPIC.get(item.topic) == stage)
    message = next(item for item in own if item.attributes["request_id"] == event.request_id)
    answers = [office.take(message, swept="true")]
    while answers[-1] != 204 and len(answers) < 50:
        answers.append(office.take(message, swept="true"))
    return answers


@pytest.mark.parametrize("vendor", NO_CAPACITY)
def test_no_capacity_costs_no_attempt_and_no_redelivery(
    chain: Chain, office: Office, vendor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message is acknowledged, however often it is tried, and the call goes on once there is capacity."""
    operation, stage, code = NO_CAPACITY[vendor]
    monkeypatch.setattr("shared.gateways.retry._BACKOFF", lambda _state: 0.01)
    none = FaultRule(operation=operation, kind="status", grpc_code="RESOURCE_EXHAUSTED", times=10_000)
    chain.neighbours.plans[vendor].add(none)
    event = office.received(chain.new_tenant(), audio=wav(2.0, channels=2))

    office.carry(event)
    for _ in range(2):
        office.clock.advance(60)
        assert sent_again(office, event, stage) == [204]

    row = f"FROM stage_runs WHERE request_id = '{event.request_id}' AND stage = '{stage}'"
    assert chain.database.rows(f"SELECT state, attempt, error_code {row}") == [["deferred", 1, code]]
    assert office.letters() == []

    chain.neighbours.plans[vendor].clear()
    office.clock.advance(60)
    assert sent_again(office, event, stage) == [204]
    office.chain.neighbours.speech.book.wait_until_idle()
    office.notify(event)
    office.carry(event)
    assert office.request_state(event) == "done"
    assert call_of(chain, event).analysis is not None


def test_after_hours_without_capacity_the_call_goes_to_the_crm_unfinished(
    chain: Chain, office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.gateways.retry._BACKOFF", lambda _state: 0.01)
    none = FaultRule(operation="generate_content", kind="status", grpc_code="RESOURCE_EXHAUSTED", times=10_000)
    chain.neighbours.plans["vertex"].add(none)
    event = office.received(chain.new_tenant(), audio=wav(2.0, channels=2))
    office.carry(event)

    office.clock.advance((PATIENCE + timedelta(minutes=1)).total_seconds())
    answers = sent_again(office, event, "analyze")
    office.carry(event)

    assert answers == [503] * 20 + [204]
    assert len(office.letters()) == 1
    assert office.crm_calls(event) == (1, 1)
    assert call_of(chain, event).analysis is None


def test_a_call_whose_model_failed_reaches_the_crm_marked_and_is_completed_by_the_next_answer(
    chain: Chain, office: Office
) -> None:
    chain.neighbours.plans["vertex"].add(
        FaultRule(operation="generate_content", kind="status", grpc_code="UNAVAILABLE", times=3)
    )
    event = office.received(chain.new_tenant(), audio=wav(2.0, channels=2))
    office.carry(event)
    assert office.request_state(event) == "done"
    assert call_of(chain, event).analysis is not None
    assert office.crm_calls(event) == (1, 1)


# -- audio format or channels refused --------------------------------------------------------------------------------

AUDIO: dict[str, bytes] = {
    "mp3, mono": mp3(2.0),
    "mp3, stereo": mp3(2.0, channels=2),
    "wav, 8 kHz, mono": wav(2.0),
    "wav, 8 kHz, stereo": wav(2.0, channels=2),
    "wav, 16 kHz": wav(2.0, rate=16_000),
    "wav, 44 kHz, stereo": wav(2.0, rate=44_100, channels=2),
    "ogg": tone("ogg", "libopus", seconds=2.0, rate=48_000),
    "flac": tone("flac", "flac", seconds=2.0),
    "one second": wav(1.0),
    "silence": wav_header(32_000, channels=1, rate=8000, bytes_per_sample=2) + bytes(32_000),
    "truncated": wav(4.0)[:20_000],
}


@pytest.mark.parametrize("kind", AUDIO)
def test_audio_format_or_channels_refused(chain: Chain, office: Office, kind: str) -> None:
    """sonic-brief#17: every second upload failed because of its format."""
    event = office.received(chain.new_tenant(), audio=AUDIO[kind])
    office.carry(event)
    assert office.letters() == []
    assert office.request_state(event) == "done"
    assert office.crm_calls(event) == (1, 1)


@pytest.mark.parametrize("audio", [b"<html>Log in</html>", b"\x00" * 44], ids=["a page", "44 bytes of nothing"])
def test_what_is_no_audio_is_a_dead_letter_and_the_call_still_reaches_the_crm(
    chain: Chain, office: Office, audio: bytes
) -> None:
    """LCA#211: recordings of 44 bytes. Nobody is told that it was transcribed."""
    event = office.received(chain.new_tenant(), audio=audio)
    office.carry(event)
    assert office.runs(event)["download"] == "failed"
    assert len(office.letters()) == 1
    assert call_of(chain, event).transcript is None
    assert office.crm_calls(event) == (1, 1)


# -- languages fall off a cliff --------------------------------------------------------------------------------------

SAID = {
    "en-US": ("Example Plumbing, how can I help you?", "My water heater burst, I need somebody today."),
    "es-US": ("Example Plumbing, ¿en qué puedo ayudarle?", "Se rompió mi calentador, necesito a alguien hoy."),
    "fr-CA": ("Example Plumbing, comment puis-je vous aider?", "Mon chauffe-eau a éclaté, il me faut quelqu'un."),
}


@pytest.mark.parametrize("language", SAID)
def test_languages_fall_off_a_cliff(chain: Chain, office: Office, language: str) -> None:
    """PCA#172, #325: whatever is spoken, the same insight is there, and the transcript says which language it is."""
    tenant = speaking(chain, chain.new_tenant(), language)
    event = office.received(tenant, audio=wav(4.0, channels=2))
    greeting, need = SAID[language]
    turns = [
        {"channel": 1, "start_s": 0, "end_s": 1.5, "text": greeting},
        {"channel": 2, "start_s": 1.6, "end_s": 4, "text": need},
    ]
    said = {"audio_uri": f"*{event.call_id}*", "transcript": {"turns": turns}}
    admin = chain.neighbours.speech.admin_url
    httpx.post(f"{admin}/_standin/transcripts", json=said, trust_env=False).raise_for_status()

    office.carry(event)

    call = call_of(chain, event)
    assert call.transcript is not None
    assert call.transcript.language == language
    assert [turn.speaker for turn in call.transcript.turns] == ["agent", "caller"]
    assert call.analysis is not None
    assert filled(call.analysis) >= {"summary", "sentiment", "intent", "lead_score", "next_step", "model"}
    assert office.crm_calls(event) == (1, 1)


def filled(analysis: CallAnalysis) -> set[str]:
    return {name for name, value in analysis.model_dump().items() if value not in (None, "", ())}


def speaking(chain: Chain, tenant: Tenant, language: str) -> Tenant:
    ai = tenant.config.ai_config.model_copy(update={"language_codes": (language,)})
    changed = tenant.model_copy(update={"config": tenant.config.model_copy(update={"ai_config": ai})})
    with chain.database.database.batch() as batch:
        batch.update(
            table="tenants",
            columns=("tenant_id", "config"),
            values=[(tenant.tenant_id, JsonObject(json.loads(changed.config.model_dump_json())))],
        )
    return changed
