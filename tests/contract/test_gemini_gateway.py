"""The Gemini gateway against the stand-in: what it asks, what it understands, what each refusal becomes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.cloud.aiplatform_v1.types import GenerateContentResponse

from infra.local.standins.faults import FaultRule
from infra.local.standins.grpc_serving import RunningStandin
from infra.local.standins.vertex import serve_vertex
from schemas.analysis import ModelReply
from shared.errors import ConfigurationError, PermanentFailure, PipelineError, TransientFailure
from shared.gateways.gemini import GeminiModel, endpoint_of
from shared.gateways.gemini_messages import read_answer, to_schema
from shared.ports import ModelRequest, ModelTruncated
from stages.analyze.prompt import make_question, response_schema
from tests.support.analysis_calls import HOT_LEAD, details, transcript_of

QUESTION = make_question(details=details(), transcript=transcript_of(*HOT_LEAD), instructions="")


@pytest.fixture(scope="module")
def running() -> Iterator[RunningStandin]:
    with serve_vertex() as standin:
        yield standin


@pytest.fixture
def standin(running: RunningStandin) -> RunningStandin:
    httpx.post(f"{running.admin_url}/_standin/reset").raise_for_status()
    return running


@pytest.fixture
def model(standin: RunningStandin) -> GeminiModel:
    return GeminiModel(project="p", location="us", local_address=standin.address)


def _impatient(standin: RunningStandin, *, budget_s: float, timeout_s: float = 45.0) -> GeminiModel:
    return GeminiModel(
        project="p", location="us", local_address=standin.address, timeout_s=timeout_s, budget_s=budget_s
    )


def _request(**changes: Any) -> ModelRequest:
    known: dict[str, Any] = {
        "model": "gemini-3.5-flash-lite",
        "system_instruction": QUESTION.system_instruction,
        "user_text": QUESTION.user_text,
        "response_schema": response_schema(),
        "max_output_tokens": 4096,
        "tenant_label": "acme-plumbing",
    }
    return ModelRequest(**(known | changes))


def _response(*, finish_reason: int, thought: str = "") -> Any:
    parts = [{"text": thought, "thought": True}] if thought else []
    return GenerateContentResponse(
        candidates=[{"content": {"parts": [*parts, {"text": "{}"}]}, "finish_reason": finish_reason}],
        usage_metadata={"prompt_token_count": 5, "candidates_token_count": 7, "thoughts_token_count": 30},
    )


def _fault(standin: RunningStandin, **rule: Any) -> None:
    standin.plan.add(FaultRule(operation="generate_content", **rule))


def _state(standin: RunningStandin) -> dict[str, Any]:
    state: dict[str, Any] = httpx.get(f"{standin.admin_url}/_standin/state").json()
    return state


def test_the_answer_is_a_reply_with_its_cost(model: GeminiModel, standin: RunningStandin) -> None:
    answer = model.generate(_request())
    reply = ModelReply.model_validate(json.loads(answer.text))
    assert reply.intent == "booking"
    assert answer.model_version == "gemini-3.5-flash-lite"
    assert _state(standin)["tenants"]["acme-plumbing"] == {
        "answers": 1,
        "input_tokens": answer.input_tokens,
        "output_tokens": answer.output_tokens,
    }


def test_rules_and_words_travel_apart_with_bounds_label_and_filters(
    model: GeminiModel, standin: RunningStandin
) -> None:
    model.generate(_request(max_output_tokens=10))
    asked = _state(standin)["recent"][0]
    assert asked["model"] == "projects/p/locations/us/publishers/google/models/gemini-3.5-flash-lite"
    assert asked["system_instruction"] == QUESTION.system_instruction
    assert asked["user_text"] == QUESTION.user_text
    assert asked["max_output_tokens"] == 2048
    assert asked["thinking_level"] == "LOW"
    assert asked["response_mime_type"] == "application/json"
    assert asked["labels"] == {"tenant": "acme-plumbing"}
    assert asked["tools"] == 0
    assert set(asked["safety"].values()) == {"OFF"}
    assert len(asked["safety"]) == 4


@pytest.mark.parametrize(
    "code",
    ["RESOURCE_EXHAUSTED", "UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL", "ABORTED", "CANCELLED", "UNKNOWN"],
)
def test_what_time_mends_is_asked_again_and_answered(model: GeminiModel, standin: RunningStandin, code: str) -> None:
    _fault(standin, kind="status", grpc_code=code)
    assert model.generate(_request()).text
    assert _state(standin)["requests"] == 1


def test_lasting_throttling_is_transient_and_the_ring_is_small(standin: RunningStandin) -> None:
    _fault(standin, kind="status", grpc_code="RESOURCE_EXHAUSTED", times=50, body={"retry_delay_s": 0.01})
    with pytest.raises(TransientFailure) as caught:
        _impatient(standin, budget_s=2).generate(_request())
    assert caught.value.code == "vertex_resource_exhausted"
    assert caught.value.retry_after_s == pytest.approx(0.01)
    left = 0
    while standin.plan.take("generate_content"):
        left += 1
    assert left == 46


def test_a_retry_hint_beyond_the_budget_goes_to_the_outer_ring_at_once(standin: RunningStandin) -> None:
    _fault(standin, kind="status", grpc_code="RESOURCE_EXHAUSTED", body={"retry_delay_s": 30}, times=2)
    with pytest.raises(TransientFailure) as caught:
        _impatient(standin, budget_s=5).generate(_request())
    assert caught.value.retry_after_s == 30
    assert standin.plan.take("generate_content") is not None


@pytest.mark.parametrize(
    ("code", "ours"),
    [
        ("NOT_FOUND", "model_not_found"),
        ("INVALID_ARGUMENT", "model_request_invalid"),
        ("PERMISSION_DENIED", "vertex_forbidden"),
        ("FAILED_PRECONDITION", "vertex_failed_precondition"),
    ],
)
def test_a_final_no_is_not_asked_again(model: GeminiModel, standin: RunningStandin, code: str, ours: str) -> None:
    _fault(standin, kind="status", grpc_code=code)
    with pytest.raises(PermanentFailure) as caught:
        model.generate(_request())
    assert caught.value.code == ours
    assert _state(standin)["requests"] == 0


@pytest.mark.parametrize("retired", ["gemini-pro", "gemini-2.5-flash"])
def test_a_retired_model_names_the_setting_to_change(model: GeminiModel, retired: str) -> None:
    with pytest.raises(PermanentFailure) as caught:
        model.generate(_request(model=retired))
    assert caught.value.code == "model_not_found"
    assert retired in caught.value.detail
    assert "PIPELINE_ANALYSIS_MODEL" in caught.value.fix


def test_an_empty_question_is_refused_by_vertex(model: GeminiModel) -> None:
    with pytest.raises(PermanentFailure) as caught:
        model.generate(_request(user_text=""))
    assert caught.value.code == "model_request_invalid"


@pytest.mark.parametrize(
    "reason", ["SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "OTHER", "MODEL_ARMOR"]
)
def test_a_refusal_to_write_is_final(model: GeminiModel, standin: RunningStandin, reason: str) -> None:
    _fault(standin, kind="rubbish", body={"finish_reason": reason, "text": '{"summary": "half'})
    with pytest.raises(PermanentFailure) as caught:
        model.generate(_request())
    assert caught.value.code == "model_refused"
    assert reason in caught.value.detail


def test_a_refusal_to_read_is_final(model: GeminiModel, standin: RunningStandin) -> None:
    _fault(standin, kind="rubbish", body={"block_reason": "PROHIBITED_CONTENT"})
    with pytest.raises(PermanentFailure) as caught:
        model.generate(_request())
    assert caught.value.code == "prompt_blocked"


@pytest.mark.parametrize("text", ["", '{"summary": "Wants a'])
def test_an_answer_that_was_cut_off_is_truncated(model: GeminiModel, standin: RunningStandin, text: str) -> None:
    _fault(standin, kind="rubbish", body={"finish_reason": "MAX_TOKENS", "text": text})
    with pytest.raises(ModelTruncated):
        model.generate(_request())


@pytest.mark.parametrize("text", ["", " \n "])
def test_an_empty_answer_is_asked_for_again(model: GeminiModel, standin: RunningStandin, text: str) -> None:
    _fault(standin, kind="rubbish", body={"text": text})
    assert model.generate(_request()).text.strip()
    assert _state(standin)["requests"] == 2


def test_rubbish_text_comes_back_unjudged(model: GeminiModel, standin: RunningStandin) -> None:
    _fault(standin, kind="rubbish", body={"text": "Sure! {"})
    assert model.generate(_request()).text == "Sure! {"


def test_a_stalled_answer_ends_with_the_budget(standin: RunningStandin) -> None:
    _fault(standin, kind="stall", delay_s=1, times=10)
    with pytest.raises(TransientFailure) as caught:
        _impatient(standin, timeout_s=0.3, budget_s=0.4).generate(_request())
    assert caught.value.code == "vertex_deadline_exceeded"


@pytest.mark.parametrize(("timeout_s", "budget_s", "most"), [(45.0, 75.0, 45.0), (45.0, 3.0, 3.0)])
def test_each_attempt_has_a_deadline_within_the_budget(
    standin: RunningStandin, timeout_s: float, budget_s: float, most: float
) -> None:
    _impatient(standin, timeout_s=timeout_s, budget_s=budget_s).generate(_request())
    # gRPC rounds a deadline up a little on the wire.
    assert _state(standin)["recent"][0]["timeout_s"] == pytest.approx(most, abs=1.0)


def test_an_answer_lost_on_the_way_is_asked_for_again(model: GeminiModel, standin: RunningStandin) -> None:
    _fault(standin, kind="drop_after")
    assert model.generate(_request()).text
    assert _state(standin)["requests"] == 2


def test_a_service_that_is_not_there_is_transient() -> None:
    """Port 1 on loopback refuses connections."""
    gateway = GeminiModel(project="p", location="us", local_address="127.0.0.1:1", timeout_s=1, budget_s=0.1)
    with pytest.raises(TransientFailure) as caught:
        gateway.generate(_request())
    assert caught.value.code == "vertex_unavailable"


@pytest.mark.parametrize("address", ["vertex.example.com:443", "127.0.0.1", "10.0.0.7:8080"])
def test_a_stray_local_address_never_sends_calls_off_this_machine(address: str) -> None:
    with pytest.raises(ConfigurationError):
        GeminiModel(project="p", location="us", local_address=address).generate(_request())


@pytest.mark.parametrize("code", ["UNAVAILABLE", "INVALID_ARGUMENT", "NOT_FOUND"])
def test_no_error_repeats_words_of_the_call(standin: RunningStandin, code: str) -> None:
    _fault(standin, kind="status", grpc_code=code, times=4)
    with pytest.raises(PipelineError) as caught:
        _impatient(standin, budget_s=0.5).generate(_request())
    assert "water" not in str(caught.value)


def test_thoughts_are_paid_but_are_no_part_of_the_answer() -> None:
    answer = read_answer(_response(finish_reason=1, thought="let me see"), model="gemini-x")
    assert answer.text == "{}"
    assert answer.output_tokens == 7 + 30


@pytest.mark.filterwarnings("ignore:Unrecognized FinishReason")  # proto-plus says so too, which is its good right
def test_an_end_that_this_client_has_no_name_for_is_a_refusal() -> None:
    with pytest.raises(PermanentFailure, match="model_refused"):
        read_answer(_response(finish_reason=42), model="gemini-x")


def test_an_end_without_a_reason_is_worth_another_try() -> None:
    with pytest.raises(TransientFailure, match="model_answer_unfinished"):
        read_answer(_response(finish_reason=0), model="gemini-x")


def test_an_answer_without_candidates_is_worth_another_try() -> None:
    with pytest.raises(TransientFailure, match="model_answer_empty"):
        read_answer(GenerateContentResponse(), model="gemini-x")


def test_missing_credentials_lose_no_call_and_say_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
    with pytest.raises(TransientFailure) as caught:
        GeminiModel(project="p", location="us").generate(_request())
    assert caught.value.code == "vertex_no_credentials"


@pytest.mark.parametrize(
    ("location", "endpoint"),
    [
        ("global", "aiplatform.googleapis.com"),
        ("us", "aiplatform.us.rep.googleapis.com"),
        ("eu", "aiplatform.eu.rep.googleapis.com"),
        ("europe-west4", "europe-west4-aiplatform.googleapis.com"),
    ],
)
def test_each_location_has_its_endpoint(location: str, endpoint: str) -> None:
    assert endpoint_of(location) == endpoint


def test_the_reply_schema_keeps_types_enums_bounds_and_order() -> None:
    schema = to_schema(response_schema())
    score = schema.properties["lead_score"]
    assert (score.type_.name, score.minimum, score.maximum) == ("INTEGER", 0, 100)
    assert "spam" in schema.properties["intent"].enum
    reasons = schema.properties["lead_score_reasons"]
    assert (reasons.items.type_.name, reasons.min_items, reasons.max_items) == ("STRING", 1, 8)
    assert list(schema.property_ordering) == list(schema.required)
    assert schema.properties["summary"].description


def test_a_schema_keyword_that_vertex_would_lose_is_an_error() -> None:
    with pytest.raises(ValueError, match="patternProperties"):
        to_schema({"type": "object", "patternProperties": {}})


def test_importing_and_making_the_gateway_loads_no_vertex_client() -> None:
    """The other services must not pay 2 s and 190 MiB for it."""
    program = (
        "import sys; from shared.gateways.gemini import GeminiModel; GeminiModel(project='p', location='us');"
        "print([name for name in sys.modules if name.startswith('google.cloud.')])"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert shown.stdout.strip() == "[]"
