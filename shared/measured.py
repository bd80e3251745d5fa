"""Vendors with a span and measurements around each request: the same ports, the same errors.

Inside the circuits (`shared/guarded.py`): a request that a circuit holds back asks nobody, so it measures nobody.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from time import perf_counter

from schemas.calls import CrmRecord, Provider
from schemas.crm import CrmCall
from schemas.tenant import Tenant
from schemas.transcript import Transcript
from shared.errors import Deferred, NotReady, PermanentFailure, PipelineError, TenantBlocked
from shared.measures import VENDOR_REQUESTS, VENDOR_SECONDS
from shared.names import owner_of_transcript
from shared.ports import (
    CrmGateway,
    CrmGateways,
    LanguageModel,
    ModelAnswer,
    ModelRequest,
    ModelTruncated,
    Recordings,
    RecordingStream,
    SpeechJob,
    SpeechOperation,
    SpeechRecognizer,
)
from shared.telemetry import Telemetry, span


def outcome_of(error: BaseException | None) -> str:
    """The label `outcome`: what the vendor's answer means for the one who asked."""
    match error:
        case None | ModelTruncated():
            return "ok"
        case NotReady():
            return "not_ready"
        case TenantBlocked():
            return "refused"
        case Deferred():
            return "throttled"
        case PermanentFailure():
            return "rejected"
        case _:
            return "failed"


@contextmanager
def vendor_request(telemetry: Telemetry, vendor: str, operation: str, *, tenant_id: str) -> Iterator[None]:
    """A client span and both measurements around one request to a vendor."""
    began = perf_counter()
    error: BaseException | None = None
    with span(telemetry, f"{vendor} {operation}", kind="client", vendor=vendor, operation=operation) as around:
        try:
            yield
        except (PipelineError, ModelTruncated) as known:
            error = known
            raise
        except Exception as unknown:
            error = unknown
            raise
        finally:
            outcome = outcome_of(error)
            around.set(outcome=outcome)
            telemetry.observe(
                VENDOR_SECONDS, perf_counter() - began, vendor=vendor, operation=operation, outcome=outcome
            )
            telemetry.count(VENDOR_REQUESTS, vendor=vendor, outcome=outcome, tenant_id=tenant_id)


@dataclass(frozen=True)
class MeasuredRecordings:
    """Implements `shared.ports.Recordings`. Measures the opening; the stage's own span has the rest."""

    recordings: Recordings
    telemetry: Telemetry

    def open(self, tenant: Tenant, *, call_id: str, recording_url: str) -> AbstractContextManager[RecordingStream]:
        return self._open(tenant, call_id, recording_url)

    @contextmanager
    def _open(self, tenant: Tenant, call_id: str, recording_url: str) -> Iterator[RecordingStream]:
        with ExitStack() as stack:
            with vendor_request(self.telemetry, "callrail", "open_recording", tenant_id=tenant.tenant_id):
                stream = stack.enter_context(self.recordings.open(tenant, call_id=call_id, recording_url=recording_url))
            yield stream


@dataclass(frozen=True)
class MeasuredSpeech:
    """Implements `shared.ports.SpeechRecognizer`. The place of a job's output says whose it is."""

    speech: SpeechRecognizer
    telemetry: Telemetry

    def submit(self, job: SpeechJob) -> str:
        with vendor_request(self.telemetry, "speech", "submit", tenant_id=_owner_of(job)):
            return self.speech.submit(job)

    def running(self, job: SpeechJob, *, apart_from: str = "") -> str:
        with vendor_request(self.telemetry, "speech", "running", tenant_id=_owner_of(job)):
            return self.speech.running(job, apart_from=apart_from)

    def operation(self, name: str) -> SpeechOperation:
        # An operation's name says nothing of its owner; a look is no paid request, so it counts for nobody.
        with vendor_request(self.telemetry, "speech", "operation", tenant_id=""):
            return self.speech.operation(name)

    def parse_output(self, data: bytes, job: SpeechJob) -> Transcript:
        return self.speech.parse_output(data, job)


def _owner_of(job: SpeechJob) -> str:
    """`gs://bucket/transcripts/<tenant>/<request>/`; see `shared/names.py`."""
    path = job.output_uri_prefix.removeprefix("gs://").partition("/")[2]
    try:
        return owner_of_transcript(f"{path.rstrip('/')}/x").tenant_id
    except PipelineError:
        return ""


@dataclass(frozen=True)
class MeasuredModel:
    """Implements `shared.ports.LanguageModel`."""

    model: LanguageModel
    telemetry: Telemetry

    def generate(self, request: ModelRequest) -> ModelAnswer:
        with vendor_request(self.telemetry, "vertex", "generate", tenant_id=request.tenant_label):
            return self.model.generate(request)


@dataclass(frozen=True)
class MeasuredCrm:
    """One tenant's CRM. Implements `shared.ports.CrmGateway`."""

    gateway: CrmGateway
    telemetry: Telemetry
    tenant_id: str

    @property
    def provider(self) -> Provider:
        return self.gateway.provider

    def sync_call(self, call: CrmCall) -> CrmRecord:
        with vendor_request(self.telemetry, self.provider, "sync_call", tenant_id=self.tenant_id):
            return self.gateway.sync_call(call)

    def inspect(self) -> list[str]:
        return self.gateway.inspect()

    def prepare(self) -> list[str]:
        return self.gateway.prepare()


@dataclass(frozen=True)
class MeasuredCrms:
    """Implements `shared.ports.CrmGateways`."""

    gateways: CrmGateways
    telemetry: Telemetry

    def for_tenant(self, tenant: Tenant, provider: Provider) -> CrmGateway:
        return MeasuredCrm(self.gateways.for_tenant(tenant, provider), self.telemetry, tenant.tenant_id)
