"""Our question as Vertex's request message, Vertex's response message as our answer.

`google.cloud.aiplatform_v1` is imported inside the functions: see `GeminiModel`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.errors import PermanentFailure, TransientFailure
from shared.ports import ModelAnswer, ModelRequest, ModelTruncated

MIN_OUTPUT_TOKENS = 2048
"""Thinking counts as output: a smaller bound can be used up before the first letter (reference: apis §4.3)."""

THINKING_LEVEL = "LOW"
"""Enough to judge a call; MINIMAL is refused by some current models, and thinking is billed as output."""

FILTERED_HARMS = ("HATE_SPEECH", "DANGEROUS_CONTENT", "HARASSMENT", "SEXUALLY_EXPLICIT")
SAFETY_THRESHOLD = "OFF"
"""Deliberate: callers swear, threaten and talk of bodies and burst gas pipes, and those calls matter most. The model
only describes them to the business that took the call. Filters that cannot be switched off still answer with
PROHIBITED_CONTENT or SPII, which becomes a `PermanentFailure`."""

_TYPES = {
    "string": "STRING",
    "number": "NUMBER",
    "integer": "INTEGER",
    "boolean": "BOOLEAN",
    "array": "ARRAY",
    "object": "OBJECT",
}
_RENAMED = {
    "minItems": "min_items",
    "maxItems": "max_items",
    "minimum": "minimum",
    "maximum": "maximum",
    "description": "description",
    "enum": "enum",
    "required": "required",
    "format": "format_",
}
_LEFT_OUT = frozenset({"title", "default", "additionalProperties", "minLength", "maxLength"})
"""Not in Vertex's documented subset of schema keywords; the reply is checked against them after it came."""
_STRUCTURE = frozenset({"type", "properties", "items"})


def to_request(request: ModelRequest, *, model_path: str) -> Any:
    """The `GenerateContentRequest`: JSON answers only, no tools, rules apart from the caller's words."""
    from google.cloud.aiplatform_v1.types import content, prediction_service

    return prediction_service.GenerateContentRequest(
        model=model_path,
        system_instruction=content.Content(parts=[content.Part(text=request.system_instruction)]),
        contents=[content.Content(role="user", parts=[content.Part(text=request.user_text)])],
        generation_config=content.GenerationConfig(
            candidate_count=1,
            max_output_tokens=max(MIN_OUTPUT_TOKENS, request.max_output_tokens),
            response_mime_type="application/json",
            response_schema=to_schema(request.response_schema),
            thinking_config=content.GenerationConfig.ThinkingConfig(thinking_level=THINKING_LEVEL),
        ),
        safety_settings=[
            content.SafetySetting(category=f"HARM_CATEGORY_{harm}", threshold=SAFETY_THRESHOLD)
            for harm in FILTERED_HARMS
        ],
        labels={"tenant": request.tenant_label},
    )


def to_schema(schema: Mapping[str, Any]) -> Any:
    """A JSON Schema of plain types as Vertex's `Schema`; the order of properties is kept as the order of writing.

    Raises `ValueError` for a keyword that neither maps nor may be left out: it would be lost in silence.
    """
    from google.cloud.aiplatform_v1.types import openapi

    unknown = set(schema) - set(_RENAMED) - _LEFT_OUT - _STRUCTURE
    if unknown:
        raise ValueError(f"the response schema uses keywords that Vertex does not know: {sorted(unknown)}")
    fields = {_RENAMED[key]: value for key, value in schema.items() if key in _RENAMED}
    message = openapi.Schema(type_=_TYPES[schema["type"]], **fields)
    if "properties" in schema:
        message.properties = {name: to_schema(part) for name, part in schema["properties"].items()}
        message.property_ordering = list(schema["properties"])
    if "items" in schema:
        message.items = to_schema(schema["items"])
    return message


def read_answer(response: Any, *, model: str) -> ModelAnswer:
    """The text and its cost. Raises as `GeminiModel.generate` says."""
    if response.prompt_feedback.block_reason:
        reason = _name(response.prompt_feedback.block_reason)
        raise PermanentFailure("prompt_blocked", f"{model} refused to read the call: {reason}")
    if not response.candidates:
        raise TransientFailure("model_answer_empty", f"{model} answered without a candidate")
    candidate = response.candidates[0]
    _check_finish(_name(candidate.finish_reason), model=model)
    text = "".join(part.text for part in candidate.content.parts if not part.thought)
    if not text.strip():
        raise TransientFailure("model_answer_empty", f"{model} answered with no text")
    usage = response.usage_metadata
    return ModelAnswer(
        text=text,
        model_version=response.model_version or model,
        input_tokens=usage.prompt_token_count,
        output_tokens=usage.candidates_token_count + usage.thoughts_token_count,
    )


def _check_finish(reason: str, *, model: str) -> None:
    """STOP is the only good end; a reason that is newer than this client is a refusal like the known ones."""
    if reason == "STOP":
        return
    if reason == "MAX_TOKENS":
        raise ModelTruncated(f"{model} stopped at the output bound")
    if reason == "FINISH_REASON_UNSPECIFIED":
        raise TransientFailure("model_answer_unfinished", f"{model} gave no reason for stopping")
    raise PermanentFailure("model_refused", f"{model} stopped writing: {reason}")


def _name(value: Any) -> str:
    """The enum's name; a number this client has no name for stays a number."""
    return str(getattr(value, "name", value))
