"""Analyze: the transcript becomes a summary, an intent, a lead score with reasons and a next step."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.analysis import CallAnalysis
from schemas.calls import CallRecord
from schemas.events import CallAnalyzed
from schemas.transcript import Transcript
from shared.errors import PermanentFailure
from shared.ports import CallReader, LanguageModel, ModelAnswer, ModelRequest, ModelTruncated
from shared.stage import CallChanges, Completed, StageContext, Usage
from stages.analyze import logic
from stages.analyze.prompt import PROMPT_VERSION, Question, make_question, response_schema
from stages.analyze.reply import ReplyInvalid, parse_reply

MAX_OUTPUT_TOKENS = 4096
"""Thinking included; the document itself needs a few hundred."""
_ASKS = 2
"""A reply that is cut off or breaks the schema is asked for once more; a third try would repeat the second."""


@dataclass(frozen=True)
class AnalyzeDeps:
    """What the stage uses. `default_model` answers for tenants that name no model of their own."""

    model: LanguageModel
    calls: CallReader
    default_model: str


def run(context: StageContext, deps: AnalyzeDeps) -> Completed:
    """Consumes `CallTranscribed`, produces `CallAnalyzed`, writes the call's analysis and the tokens used.

    No checkpoint: it would hold the caller's words and cost a commit, to save a fraction of a cent after a crash.
    Raises `PermanentFailure` (no such call, no transcript, model unknown or refusing, `model_reply_invalid`,
    `model_reply_truncated`) and `TransientFailure`. Text is stored only from a reply that passed every check.
    """
    call, transcript = _gather(context, deps)
    config = context.tenant.config.ai_config
    if not logic.has_words(transcript):
        silent = logic.analysis_without_words(
            call.details, threshold=config.lead_scoring_threshold, prompt_version=PROMPT_VERSION
        )
        return _completed(context, silent, Usage())
    model = config.analysis_model or deps.default_model
    question = make_question(details=call.details, transcript=transcript, instructions=config.instructions)
    if call.analysis is not None and logic.already_answers(call.analysis, model=model, prompt_version=question.version):
        kept = logic.with_threshold(call.analysis, config.lead_scoring_threshold)
        return _completed(context, kept, Usage())
    analysis, usage = _ask_until_valid(context, deps, question=question, model=model, transcript=transcript)
    return _completed(context, analysis, usage)


def _gather(context: StageContext, deps: AnalyzeDeps) -> tuple[CallRecord, Transcript]:
    call = deps.calls.get(context.tenant.tenant_id, context.call_id)
    if call is None:
        raise PermanentFailure(
            "call_not_found", f"the tenant has no call {context.call_id}", fix="it may be past its retention"
        )
    if call.transcript is None:
        raise PermanentFailure(
            "transcript_missing", f"call {context.call_id} has no transcript", fix="run it again from its recording"
        )
    return call, call.transcript


def _ask_until_valid(
    context: StageContext, deps: AnalyzeDeps, *, question: Question, model: str, transcript: Transcript
) -> tuple[CallAnalysis, Usage]:
    """The first reply that passes every check, and what all replies cost."""
    usage = Usage(model=model)
    bound = MAX_OUTPUT_TOKENS
    problem = PermanentFailure("model_reply_invalid", f"{model} was not asked")
    for _ in range(_ASKS):
        try:
            answer = deps.model.generate(_request(context, question=question, model=model, max_output_tokens=bound))
        except ModelTruncated:
            problem = PermanentFailure("model_reply_truncated", f"{model} needed more than {bound} output tokens")
            bound *= 2
            continue
        usage = _plus(usage, answer)
        try:
            return _judge(context, answer, model=model, question=question, transcript=transcript), usage
        except ReplyInvalid as invalid:
            problem = PermanentFailure("model_reply_invalid", f"the reply of {model} was refused: {invalid}")
    raise problem


def _judge(
    context: StageContext, answer: ModelAnswer, *, model: str, question: Question, transcript: Transcript
) -> CallAnalysis:
    return logic.judge(
        parse_reply(answer.text),
        transcript=transcript,
        threshold=context.tenant.config.ai_config.lead_scoring_threshold,
        model=logic.model_label(model, answer.model_version),
        prompt_version=question.version,
    )


def _request(context: StageContext, *, question: Question, model: str, max_output_tokens: int) -> ModelRequest:
    return ModelRequest(
        model=model,
        system_instruction=question.system_instruction,
        user_text=question.user_text,
        response_schema=response_schema(),
        max_output_tokens=max_output_tokens,
        tenant_label=context.tenant.tenant_id,
    )


def _plus(usage: Usage, answer: ModelAnswer) -> Usage:
    return Usage(
        input_tokens=usage.input_tokens + answer.input_tokens,
        output_tokens=usage.output_tokens + answer.output_tokens,
        model=usage.model,
    )


def _completed(context: StageContext, analysis: CallAnalysis, usage: Usage) -> Completed:
    event = CallAnalyzed(tenant_id=context.tenant.tenant_id, request_id=context.request_id, call_id=context.call_id)
    return Completed(next_event=event, changes=CallChanges(analysis=analysis), usage=usage)
