"""The metrics that the code emits: names, units and labels, the one list (infra/monitoring/metrics.json repeats it for
Terraform; a test compares).

Names are Prometheus's, because Google keeps them as they are. Which metrics say whose they are, and why the others do
not: docs/operations/observability.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "histogram", "gauge"]

_WORK_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_WAIT_S = (0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
_TO_CRM_S = (10.0, 30.0, 60.0, 120.0, 180.0, 300.0, 450.0, 600.0, 900.0, 1800.0, 3600.0, 14400.0, 86400.0)
"""600 is a bound of the objective "in the CRM within ten minutes", so it must be one of these."""


@dataclass(frozen=True, eq=False)
class Measure:
    """One metric; there is one object of each, so that it is a cheap key. `bounds` are a histogram's, in its unit."""

    name: str
    kind: Kind
    unit: str
    labels: tuple[str, ...]
    description: str
    bounds: tuple[float, ...] = ()


WEBHOOKS = Measure(
    "pipeline_webhooks_total",
    "counter",
    "1",
    ("outcome", "code"),
    "Webhooks whose body could be taken, by what the receiver answered, and why.",
)
STAGE_SECONDS = Measure(
    "pipeline_stage_seconds", "histogram", "s", ("stage", "outcome"), "How long one attempt of a stage took.", _WORK_S
)
STAGE_OUTCOMES = Measure(
    "pipeline_stage_outcomes_total",
    "counter",
    "1",
    ("stage", "outcome", "reason"),
    "Attempts by how they left the run's row, and the error code.",
)
QUEUE_SECONDS = Measure(
    "pipeline_queue_seconds",
    "histogram",
    "s",
    ("stage",),
    "How long a message was in Pub/Sub when a worker took it, redeliveries included.",
    _WAIT_S,
)
CALL_TO_CRM_SECONDS = Measure(
    "pipeline_call_to_crm_seconds",
    "histogram",
    "s",
    (),
    "From the arrival of a call's webhook until every CRM of its tenant holds the call.",
    _TO_CRM_S,
)
VENDOR_SECONDS = Measure(
    "pipeline_vendor_seconds",
    "histogram",
    "s",
    ("vendor", "operation", "outcome"),
    "How long a vendor took to answer, our own short retries included.",
    _WORK_S,
)
VENDOR_REQUESTS = Measure(
    "pipeline_vendor_requests_total",
    "counter",
    "1",
    ("vendor", "outcome", "tenant_id"),
    "What a vendor answered to whose request: ok, refused (a person must act), throttled, failed, not_ready.",
)
AUDIO_SECONDS = Measure(
    "pipeline_audio_seconds_total", "counter", "s", ("tenant_id",), "Audio that Speech-to-Text has transcribed."
)
MODEL_TOKENS = Measure(
    "pipeline_model_tokens_total",
    "counter",
    "1",
    ("direction", "model", "tenant_id"),
    "Tokens that the model has read (input) and written (output).",
)
SWEEP_ACTIONS = Measure(
    "pipeline_sweep_actions", "gauge", "1", ("action",), "What the last sweep had to do, by kind; 0 for an idle one."
)

MEASURES: tuple[Measure, ...] = (
    WEBHOOKS,
    STAGE_SECONDS,
    STAGE_OUTCOMES,
    QUEUE_SECONDS,
    CALL_TO_CRM_SECONDS,
    VENDOR_SECONDS,
    VENDOR_REQUESTS,
    AUDIO_SECONDS,
    MODEL_TOKENS,
    SWEEP_ACTIONS,
)
