"""Vertex AI stand-in: speaks `google.cloud.aiplatform.v1.PredictionService.GenerateContent` over gRPC.

The answers come from a rule-based analyst, so they are free, instant and the same every time. What Vertex refuses
(retired models, wrong locations, missing contents, contradicting thinking settings) is refused here with its codes.

Faults for the operation `generate_content`: see `faults.py`. The body of `rubbish` is the text of the answer, or an
object with any of `text`, `finish_reason` (a `Candidate.FinishReason` name) and `block_reason` (no candidates then).
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from flask import Flask
from google.cloud.aiplatform_v1.types import content, prediction_service

from infra.local.standins import grpc_serving
from infra.local.standins.faults import FaultPlan, admin_blueprint
from infra.local.standins.vertex_analyst import analyse
from infra.local.standins.vertex_document import fill

SERVICE = "google.cloud.aiplatform.v1.PredictionService"
MODELS = frozenset(
    {
        "gemini-3.1-flash-lite",
        "gemini-3.5-flash",
        "gemini-3.5-flash-lite",
        "gemini-3.6-flash",
        "gemini-3.7-flash",
        "gemini-3.8-flash",
        "gemini-4-argon",
    }
)
"""Current on 2026-11-23 (reference: apis §4.2). Everything else, `gemini-2.5-*` and `gemini-pro` too, is unknown."""
LOCATIONS = frozenset({"global", "us", "eu"})
_MOST_OUTPUT_TOKENS = 65_536
_THINKING_TOKENS = {"MINIMAL": 0, "LOW": 32, "MEDIUM": 128, "HIGH": 512}
_MODEL_PATH = re.compile(r"^projects/[^/]+/locations/(?P<location>[^/]+)/publishers/google/models/(?P<model>[^/]+)$")
_LABEL = re.compile(r"^[a-z0-9_-]{0,63}$")

Request = prediction_service.GenerateContentRequest
Response = prediction_service.GenerateContentResponse


class VertexState:
    """What the stand-in was asked and would bill; texts of the last 200 requests are kept for assertions."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sequence = 0
        self.reset()

    def reset(self) -> None:
        with self._lock:
            self._requests = 0
            self._answers: Counter[str] = Counter()
            self._input: Counter[str] = Counter()
            self._output: Counter[str] = Counter()
            self._recent: deque[dict[str, Any]] = deque(maxlen=200)

    def asked(self, request: Request, *, timeout_s: float | None) -> int:
        """Remember a request and the caller's deadline; returns its running number, which makes response ids unique."""
        config = request.generation_config
        with self._lock:
            self._requests += 1
            self._sequence += 1
            self._recent.append(
                {
                    "model": request.model,
                    "labels": dict(request.labels),
                    "timeout_s": timeout_s,
                    "max_output_tokens": config.max_output_tokens,
                    "thinking_level": config.thinking_config.thinking_level.name,
                    "response_mime_type": config.response_mime_type,
                    "safety": {item.category.name: item.threshold.name for item in request.safety_settings},
                    "tools": len(request.tools),
                    "system_instruction": _text(request.system_instruction),
                    "user_text": _user_text(request),
                }
            )
            return self._sequence

    def billed(self, request: Request, usage: Any) -> None:
        tenant = request.labels.get("tenant", "")
        with self._lock:
            self._answers[tenant] += 1
            self._input[tenant] += usage.prompt_token_count
            self._output[tenant] += usage.candidates_token_count + usage.thoughts_token_count

    def document(self) -> dict[str, Any]:
        with self._lock:
            tenants = {
                name: {"answers": self._answers[name], "input_tokens": self._input[name], "output_tokens": spent}
                for name, spent in self._output.items()
            }
            return {"requests": self._requests, "tenants": tenants, "recent": list(self._recent)}


class VertexService:
    """The one method of PredictionService that the pipeline uses."""

    def __init__(self) -> None:
        self.plan = FaultPlan()
        self.state = VertexState()

    def methods(self) -> dict[str, grpc_serving.Handler]:
        handler = grpc_serving.unary(
            self._generate,
            request=Request,
            response=Response,
            plan=self.plan,
            operation="generate_content",
            rubbish=self._misanswer,
        )
        return {"GenerateContent": handler}

    def admin_app(self) -> Flask:
        app = Flask("vertex_standin")
        app.register_blueprint(admin_blueprint(self.plan, state=self.state.document, reset=self.state.reset))
        return app

    def _generate(self, request: Request, context: grpc.ServicerContext) -> Response:
        sequence = self.state.asked(request, timeout_s=context.time_remaining())
        _refuse_what_vertex_refuses(request, context)
        text = _write(request)
        return self._answer(request, sequence, text=text)

    def _misanswer(self, body: Any, request: Request, context: grpc.ServicerContext) -> Response:
        """The rule's answer in place of the analyst's, with the same envelope and the same bill."""
        sequence = self.state.asked(request, timeout_s=context.time_remaining())
        _refuse_what_vertex_refuses(request, context)
        told = body if isinstance(body, dict) else {"text": str(body)}
        if "block_reason" in told:
            return self._blocked(request, sequence, reason=told["block_reason"])
        return self._answer(
            request, sequence, text=str(told.get("text", "")), finish_reason=told.get("finish_reason", "STOP")
        )

    def _answer(self, request: Request, sequence: int, *, text: str, finish_reason: str = "STOP") -> Response:
        thoughts = _THINKING_TOKENS.get(request.generation_config.thinking_config.thinking_level.name, 128)
        allowed = request.generation_config.max_output_tokens or _MOST_OUTPUT_TOKENS
        if thoughts + _tokens(text) > allowed:
            text, finish_reason = text[: max(0, allowed - thoughts) * 4], "MAX_TOKENS"
        parts = [content.Part(text=text)] if text else []
        candidate = content.Candidate(
            content=content.Content(role="model", parts=parts),
            finish_reason=finish_reason,
        )
        usage = _usage(request, candidates=_tokens(text), thoughts=min(thoughts, allowed))
        self.state.billed(request, usage)
        return Response(
            candidates=[candidate],
            usage_metadata=usage,
            model_version=_model(request),
            response_id=_response_id(request, sequence),
        )

    def _blocked(self, request: Request, sequence: int, *, reason: str) -> Response:
        usage = _usage(request, candidates=0, thoughts=0)
        self.state.billed(request, usage)
        return Response(
            prompt_feedback=Response.PromptFeedback(block_reason=reason),
            usage_metadata=usage,
            model_version=_model(request),
            response_id=_response_id(request, sequence),
        )


def _refuse_what_vertex_refuses(request: Request, context: grpc.ServicerContext) -> None:
    path = _MODEL_PATH.match(request.model)
    if path is None:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "Invalid resource name in `model`.")
    if path["model"] not in MODELS or path["location"] not in LOCATIONS:
        message = (
            f"Publisher Model `{request.model}` was not found or your project does not have access to it. "
            "Please ensure you are using a valid model version."
        )
        context.abort(grpc.StatusCode.NOT_FOUND, message)
    problem = _problem(request, path["model"])
    if problem:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, problem)


def _problem(request: Request, model: str) -> str:
    """Why the request is malformed; empty when it is not."""
    config = request.generation_config
    thinking = config.thinking_config
    if not any(_text(item) for item in request.contents):
        return "at least one contents field is required"
    if any(item.role not in {"user", "model"} for item in request.contents):
        return "Please use a valid role: user, model."
    if config.response_schema.type_ and config.response_mime_type != "application/json":
        return "response_schema is only supported with response_mime_type application/json"
    if not 0 <= config.max_output_tokens <= _MOST_OUTPUT_TOKENS:
        return f"max_output_tokens must be between 1 and {_MOST_OUTPUT_TOKENS}"
    if "thinking_budget" in thinking and thinking.thinking_level:
        return "You can only set only one of thinking budget and thinking level."
    if thinking.thinking_level.name == "MINIMAL" and "lite" not in model:
        return f"Thinking level MINIMAL is not supported by {model}"
    if not all(_LABEL.match(value) for value in request.labels.values()):
        return "Label values may hold lower-case letters, digits, dashes and underscores, at most 63"
    return ""


def _write(request: Request) -> str:
    findings = analyse(_user_text(request))
    config = request.generation_config
    if config.response_mime_type != "application/json":
        return str(findings["summary"])
    schema = config.response_schema
    return json.dumps(fill(schema, findings) if schema.properties else findings, ensure_ascii=False)


def _usage(request: Request, *, candidates: int, thoughts: int) -> Any:
    prompt = _tokens(_text(request.system_instruction) + _user_text(request))
    return Response.UsageMetadata(
        prompt_token_count=prompt,
        candidates_token_count=candidates,
        thoughts_token_count=thoughts,
        total_token_count=prompt + candidates + thoughts,
    )


def _model(request: Request) -> str:
    return request.model.rsplit("/", 1)[-1]


def _response_id(request: Request, sequence: int) -> str:
    return hashlib.sha256(Request.serialize(request) + str(sequence).encode()).hexdigest()[:24]


def _tokens(text: str) -> int:
    """Four letters a token, Google's own rule of thumb."""
    return -(-len(text) // 4)


def _user_text(request: Request) -> str:
    return "\n".join(_text(item) for item in request.contents if item.role == "user")


def _text(item: content.Content) -> str:
    return "\n".join(part.text for part in item.parts if part.text)


@contextmanager
def serve_vertex() -> Iterator[grpc_serving.RunningStandin]:
    """The stand-in on free ports while the block runs, for tests."""
    service = VertexService()
    with grpc_serving.serve_grpc_in_thread(
        SERVICE, service.methods(), admin=service.admin_app(), plan=service.plan
    ) as running:
        yield running


def main() -> None:
    """`python -m infra.local.standins.vertex --port N --admin-port M`."""
    arguments = grpc_serving.grpc_arguments("vertex").parse_args()
    service = VertexService()
    grpc_serving.serve_grpc_forever(
        SERVICE,
        service.methods(),
        admin=service.admin_app(),
        port=arguments.port,
        admin_port=arguments.admin_port,
    )


if __name__ == "__main__":
    main()
