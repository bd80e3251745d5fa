"""What one call costs at each stage: its deliveries go through the real runners in this process, and are counted."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from google.pubsub_v1.types import PubsubMessage

from handlers.push import StageTaker
from infra.local.bench.backlog import Inbox, open_inboxes
from infra.local.bench.counting import ClientCalls, Cost, counted
from infra.local.demo_tenant import DEMO_COMPANY_ID
from infra.local.environment import applied
from infra.local.errors import Report, StackError
from infra.local.recordings.catalogue import SampleCall, load_catalogue
from infra.local.senders import new_call_id, put_recording
from schemas.events import CallReceived
from shared.deliveries import Delivery
from shared.names import first_request_id

STAGES = ("download", "transcribe.submit", "transcribe.collect", "analyze", "crm_sync")
_STEPS = {
    "download": ("download", "recording-stored"),
    "transcribe.submit": ("transcribe", "transcription-output"),
    "transcribe.collect": ("transcribe", "call-transcribed"),
    "analyze": ("analyze", "call-analyzed"),
    "crm_sync": ("crm_sync", "call-synced"),
}
"""For each stage: the service that does it, and the topic on which its outcome arrives."""
_OUTCOME_TIMEOUT_S = 120.0
"""The Speech stand-in recognises at ten times the speed of talking; a call has half a minute."""


@dataclass(frozen=True)
class _Trip:
    """Takes calls through all stages, one delivery after the other."""

    takers: Mapping[str, StageTaker]
    inboxes: Mapping[str, Inbox]
    calls: ClientCalls

    def run(self, delivery: Delivery) -> dict[str, Cost]:
        costs = {}
        for stage in STAGES:
            service, outcome = _STEPS[stage]
            self.calls.take()
            answer = self.takers[service](delivery)
            costs[stage] = self.calls.take()
            if answer.status != 204:
                raise StackError("stage_failed", f"{stage} answered {answer.status} instead of 204")
            delivery = _delivery(self.inboxes[outcome].next_message(timeout_s=_OUTCOME_TIMEOUT_S))
        return costs


def measure_stages(env: Mapping[str, str], *, tenant_id: str, report: Report) -> dict[str, Cost]:
    """The cost of a two-channel call, after another one that fills the caches and opens the connections.

    At each stage the cheaper of two such calls counts: on a slow machine a cache may have expired meanwhile.

    `env` is the environment of a running stack without workers, with its exported addresses.
    """
    from handlers import wiring
    from shared.settings import load_settings

    topics = [outcome for _, outcome in _STEPS.values()]
    with applied(env), open_inboxes(env["PUBSUB_EMULATOR_HOST"], topics=topics) as inboxes, counted() as calls:
        settings = load_settings()
        takers = {
            service: StageTaker(runner=wiring.runner_of(service, settings), audio_bucket=settings.bucket)
            for service, _ in _STEPS.values()
        }
        trip = _Trip(takers, inboxes, calls)
        report("one call to warm up")
        trip.run(_new_call(tenant_id, env["CALLRAIL_URL"]))
        report("two calls to count")
        begun = time.monotonic()
        first, second = (trip.run(_new_call(tenant_id, env["CALLRAIL_URL"])) for _ in range(2))
        report(f"counted in {time.monotonic() - begun:.1f} s")
    return {stage: min(first[stage], second[stage], key=lambda cost: cost.calls) for stage in STAGES}


def _new_call(tenant_id: str, callrail_url: str) -> Delivery:
    """The event that the receiver would have published, with a recording at CallRail's stand-in."""
    sample = _two_channel_sample()
    call_id = new_call_id()
    assert sample.audio_path is not None
    link = put_recording(callrail_url, call_id=call_id, audio=sample.audio_path)
    payload = sample.webhook_payload(
        call_id=call_id,
        company_id=DEMO_COMPANY_ID,
        started_at=datetime.now(UTC) - timedelta(minutes=4),
        recording_url=link,
    )
    event = CallReceived(
        tenant_id=tenant_id,
        request_id=first_request_id(tenant_id, call_id),
        call_id=call_id,
        kind="post_call",
        received_at=datetime.now(UTC),
        payload=payload,
    )
    return Delivery(call_id, event.model_dump_json().encode(), event.attributes(), "bench")


def _two_channel_sample() -> SampleCall:
    samples = [sample for sample in load_catalogue() if sample.script.channels == 2 and sample.audio_path]
    return min(samples, key=lambda sample: sample.audio_path.stat().st_size if sample.audio_path else 0)


def _delivery(message: PubsubMessage) -> Delivery:
    return Delivery(message.message_id, message.data, dict(message.attributes), "bench")
