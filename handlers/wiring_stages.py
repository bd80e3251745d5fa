"""Builds each stage with its gateways: the half of the wiring that differs from stage to stage."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from handlers import wiring
from schemas.events import CallAnalyzed, CallLeftIncomplete, CallReceived, CallTranscribed, Event, RecordingStored
from shared.errors import ConfigurationError, InvalidEvent
from shared.incomplete import admit_incomplete, left_incomplete
from shared.pipeline import Service, load_pipeline
from shared.settings import Settings
from shared.telemetry import OFF, Telemetry

if TYPE_CHECKING:
    from shared.claims import Admission
    from shared.fair_vendors import Fence
    from shared.stage import Completed, StageContext
    from shared.stage_spec import StageSpec
    from shared.tenant_limits import TenantLimits


def stage_spec(name: str, settings: Settings, telemetry: Telemetry = OFF) -> StageSpec:
    """One stage with its dependencies bound."""
    builders = {
        "download": _download,
        "transcribe": _transcribe,
        "analyze": _analyze,
        "crm_sync": _crm_sync,
    }
    service = load_pipeline().services.get(name)
    if name not in builders or service is None:
        raise ConfigurationError("unknown_service", f"no service is called {name!r}")
    return builders[name](settings, service, telemetry)


def _download(settings: Settings, service: Service, telemetry: Telemetry) -> StageSpec:
    from shared.fair_vendors import FairRecordings
    from shared.gateways.call_merger import SpannerCallMerger
    from shared.gateways.recordings import CallRailRecordings
    from shared.guarded import GuardedRecordings
    from shared.measured import MeasuredRecordings
    from shared.stage_spec import StageSpec
    from stages.download import intake
    from stages.download import stage as download

    recordings = CallRailRecordings(
        wiring.secrets(settings), max_bytes=settings.recording_max_bytes, local_base_url=settings.stand_ins.callrail_url
    )
    deps = download.DownloadDeps(
        recordings=FairRecordings(
            GuardedRecordings(MeasuredRecordings(recordings, telemetry), wiring.breaker(settings, role="download")),
            _fence(settings, "CallRail"),
        ),
        objects=wiring.objects(settings),
        calls=wiring.recorded_calls(settings, role="download"),
    )
    intake_deps = intake.IntakeDeps(
        merger=SpannerCallMerger(wiring.database(settings, role="download"), wiring.vault(settings, role="download")),
        now=wiring.now,
    )

    def run(context: StageContext) -> Completed:
        event = context.event
        if isinstance(event, CallReceived) and event.kind != "post_call":
            return intake.run(context, intake_deps)
        return download.run(context, deps)

    def admit(event: Event) -> Admission:
        if not isinstance(event, CallReceived):
            raise InvalidEvent("wrong_topic", "the first stage takes CallReceived only")
        return intake.admit(event)

    return StageSpec(
        name="download",
        accepts=(CallReceived,),
        run=run,
        admit=admit,
        absorb=partial(intake.absorb, deps=intake_deps),
        after_failure=partial(left_incomplete, now=wiring.now),
        lease=_lease(settings, service),
        max_attempts=service.max_delivery_attempts,
    )


def _transcribe(settings: Settings, service: Service, telemetry: Telemetry) -> StageSpec:
    from shared.capacity import patient
    from shared.fair_stage import within_share
    from shared.gateways.speech import speech_recognizer
    from shared.measured import MeasuredSpeech
    from shared.stage_spec import StageSpec
    from stages.transcribe import stage as transcribe

    deps = transcribe.TranscribeDeps(
        speech=MeasuredSpeech(
            speech_recognizer(
                project_id=settings.project_id,
                location=settings.speech_location,
                dynamic_batch=settings.speech_dynamic_batch,
                local_address=settings.stand_ins.speech,
            ),
            telemetry,
        ),
        objects=wiring.objects(settings),
        calls=wiring.recorded_calls(settings, role="transcribe"),
        default_model=settings.speech_model,
        first_look=timedelta(seconds=settings.transcript_look_s),
    )
    pause = timedelta(seconds=settings.circuit_probe_s)
    submit = patient(partial(transcribe.submit, deps=deps), deps.calls, pause=pause)
    return StageSpec(
        name="transcribe",
        accepts=(RecordingStored,),
        run=within_share(submit, _shares(settings), vendor="Speech-to-Text"),
        after_failure=partial(left_incomplete, now=wiring.now),
        resume=patient(partial(transcribe.collect, deps=deps), deps.calls, pause=pause),
        clean_up=partial(transcribe.clean_up, deps=deps),
        lease=_lease(settings, service),
        max_attempts=service.max_delivery_attempts,
    )


def _analyze(settings: Settings, service: Service, telemetry: Telemetry) -> StageSpec:
    from shared.capacity import patient
    from shared.fair_stage import within_share
    from shared.gateways.gemini import GeminiModel
    from shared.measured import MeasuredModel
    from shared.stage_spec import StageSpec
    from stages.analyze import stage as analyze

    deps = analyze.AnalyzeDeps(
        model=MeasuredModel(
            GeminiModel(
                project=settings.project_id, location=settings.vertex_location, local_address=settings.stand_ins.vertex
            ),
            telemetry,
        ),
        calls=wiring.conversations(settings, role="analyze"),
        default_model=settings.analysis_model,
    )
    run = patient(partial(analyze.run, deps=deps), deps.calls, pause=timedelta(seconds=settings.circuit_probe_s))
    return StageSpec(
        name="analyze",
        accepts=(CallTranscribed,),
        run=within_share(run, _shares(settings), vendor="Vertex AI"),
        after_failure=partial(left_incomplete, now=wiring.now),
        lease=_lease(settings, service),
        max_attempts=service.max_delivery_attempts,
    )


def _crm_sync(settings: Settings, service: Service, telemetry: Telemetry) -> StageSpec:
    from shared.fair_vendors import FairCrms
    from shared.guarded import GuardedCrms
    from shared.measured import MeasuredCrms
    from shared.stage_spec import StageSpec
    from stages.crm_sync import stage as crm_sync

    measured = MeasuredCrms(wiring.crm_registry(settings), telemetry)
    crms = GuardedCrms(measured, wiring.breaker(settings, role="crm_sync"))
    fences = {"hubspot": _fence(settings, "HubSpot"), "salesforce": _fence(settings, "Salesforce")}
    fair = FairCrms(crms, fences.__getitem__)
    deps = crm_sync.CrmSyncDeps(crms=fair, calls=wiring.crm_calls(settings, role="crm_sync"))
    return StageSpec(
        name="crm_sync",
        accepts=(CallAnalyzed, CallLeftIncomplete),
        run=partial(crm_sync.run, deps=deps),
        admit=admit_incomplete,
        lease=_lease(settings, service),
        max_attempts=service.max_delivery_attempts,
    )


def _shares(settings: Settings) -> TenantLimits:
    """Google's quotas are the project's, and the workers are everybody's: a tenant gets a share of both."""
    from shared.tenant_limits import TenantLimits

    return TenantLimits(rate_per_s=settings.stage_tenant_rate, burst=settings.stage_tenant_burst)


def _fence(settings: Settings, vendor: str) -> Fence:
    from shared.fair_vendors import Fence

    return Fence(vendor, _shares(settings), wiring.now)


def _lease(settings: Settings, service: Service) -> timedelta:
    """As long as Pub/Sub waits for the answer: whoever is still silent then gets the message again elsewhere."""
    return timedelta(seconds=settings.lease_s or service.ack_deadline_s)
