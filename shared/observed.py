"""One delivery as traces and metrics see it: the span around it, how it ended, what it used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import structlog

from shared.answers import Answer
from shared.claims import Admission, RunKey, Sleep, StageRun
from shared.dead_letters import UsageAverage
from shared.deliveries import Delivery
from shared.desk_prices import price
from shared.measures import (
    AUDIO_SECONDS,
    CALL_TO_CRM_SECONDS,
    MODEL_TOKENS,
    QUEUE_SECONDS,
    STAGE_OUTCOMES,
    STAGE_SECONDS,
)
from shared.ports import Clock
from shared.stage import Completed
from shared.telemetry import Telemetry, current_span, span
from shared.traces import ATTRIBUTE, read_traceparent

_FAILING = {"retrying", "blocked", "failed"}


def observed(
    telemetry: Telemetry, key: RunKey, delivery: Delivery, work: Callable[[Delivery], Answer], now: Clock
) -> Answer:
    """Do the work inside a span of the request's trace.

    The delivery that `work` gets names that trace, whoever sent it: the sweeper and Cloud Storage do not.
    """
    context = read_traceparent(delivery.traceparent) or telemetry.trace_of(key.tenant_id, key.request_id)
    traced = replace(delivery, attributes={**delivery.attributes, ATTRIBUTE: context.header})
    begun = now()
    with (
        span(telemetry, key.stage, kind="consumer", within=context) as around,
        structlog.contextvars.bound_contextvars(**{ATTRIBUTE: (around.context or context).header}),
    ):
        around.set(**key._asdict(), message_id=delivery.message_id)
        if delivery.published_at is not None:
            queue_s = max(0.0, (begun - delivery.published_at).total_seconds())
            around.set(queue_s=round(queue_s, 3))
            telemetry.observe(QUEUE_SECONDS, queue_s, stage=key.stage)
        answer = work(traced)
        around.set(answer=answer.status)
        outcome = str(around.attributes.get("outcome", ""))
        if outcome:
            reason = str(around.attributes.get("reason", ""))
            duration_s = max(0.0, (now() - begun).total_seconds())
            telemetry.observe(STAGE_SECONDS, duration_s, stage=key.stage, outcome=outcome)
            telemetry.count(STAGE_OUTCOMES, stage=key.stage, outcome=outcome, reason=reason)
        return answer


def note_admission(telemetry: Telemetry, key: RunKey, delivery: Delivery, admission: Admission) -> None:
    """The first claim of a request, which happens once, records the span that all others are inside of: from the
    arrival of what started the request until now."""
    context = read_traceparent(delivery.traceparent)
    if context is not None:
        telemetry.record_root(
            "request",
            context,
            begun_s=admission.received_at.timestamp(),
            tenant_id=key.tenant_id,
            request_id=key.request_id,
            kind=admission.kind,
            origin=admission.origin,
        )


def note_attempt(run: StageRun) -> None:
    """The claim is ours: the span says which attempt of which call it is."""
    current_span().set(attempt=run.attempt, call_id=run.call_id)


def note_sleep(sleep: Sleep) -> None:
    """The attempt ended without being done."""
    around = current_span()
    around.set(outcome=sleep.state, reason=sleep.error_code)
    if sleep.state in _FAILING:
        around.fail(sleep.error_code)


def note_done(telemetry: Telemetry, run: StageRun, completed: Completed, *, now: datetime) -> dict[str, float]:
    """The stage is recorded as done: what it used, counted once. Returns the same for the log line."""
    current_span().set(outcome="done")
    tenant_id, usage = run.key.tenant_id, completed.usage
    if completed.received_at is not None:
        waited_s = max(0.0, (now - completed.received_at).total_seconds())
        telemetry.observe(CALL_TO_CRM_SECONDS, waited_s)
    if usage.audio_s:
        telemetry.count(AUDIO_SECONDS, usage.audio_s, tenant_id=tenant_id)
    for direction, tokens in (("input", usage.input_tokens), ("output", usage.output_tokens)):
        if tokens:
            telemetry.count(MODEL_TOKENS, tokens, direction=direction, model=usage.model, tenant_id=tenant_id)
    if not (usage.audio_s or usage.input_tokens or usage.output_tokens):
        return {}
    cost_usd, _ = price(
        UsageAverage(
            stage=run.key.stage,
            model=usage.model,
            calls=1,
            audio_s=usage.audio_s,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
        )
    )
    return {
        "audio_s": usage.audio_s,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cost_usd": round(cost_usd, 6),
    }
