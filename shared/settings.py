"""Settings from the environment (prefix `PIPELINE_`): the only place that reads it. Parsed once at start-up."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.errors import ConfigurationError

PushAuth = Literal["verify", "platform", "off"]
TelemetryTarget = Literal["off", "console", "otlp", "google"]


class LocalEndpoints(BaseSettings):
    """Addresses of emulators and stand-ins; honoured only when the environment is `local`."""

    model_config = SettingsConfigDict(env_prefix="PIPELINE_LOCAL_", frozen=True)

    speech: str = ""
    """host:port of the Speech stand-in (gRPC, no TLS)."""
    vertex: str = ""
    pii_key_file: str = ""
    """The laptop's key-encryption key, in the place of Cloud KMS; `pipeline local up` makes it."""
    secret_manager: str = ""
    storage_url: str = Field(default="", validation_alias="STORAGE_EMULATOR_HOST")
    callrail_url: str = ""
    hubspot_url: str = ""
    salesforce_url: str = ""


class Settings(BaseSettings):
    """One immutable object per process."""

    model_config = SettingsConfigDict(env_prefix="PIPELINE_", frozen=True)

    environment: Literal["local", "google"] = "google"
    project_id: str = Field(default="", validation_alias="GOOGLE_CLOUD_PROJECT")
    on_cloud_run: str = Field(default="", validation_alias="K_SERVICE")
    revision: str = Field(default="local", validation_alias="K_REVISION")
    region: str = "us-central1"
    """Where the key ring lies."""
    spanner_instance: str = "pipeline-prod"
    spanner_database: str = "pipeline-db"
    audio_bucket: str = ""
    """Empty means `<project>-audio-files`, the guide's name."""
    pii_key: str = ""
    """Cloud KMS key that wraps tenants' keysets; empty means the guide's name, `pii-encryption-key`."""
    topic_prefix: str = ""
    """Put before every topic's name; lets two pipelines share a project."""

    push_auth: PushAuth = "verify"
    push_audience: str = ""
    push_service_account: str = ""
    """Whose tokens are taken; several with commas between (the operator's: Cloud Scheduler's and the receiver's)."""

    operator_url: str = ""
    """Base URL of the operator service, asked by the receiver for its neighbours' health."""

    speech_location: str = "us"
    speech_model: str = "chirp_3"
    speech_dynamic_batch: bool = False
    vertex_location: str = "us"
    analysis_model: str = "gemini-3.5-flash-lite"

    publish_timeout_s: float = Field(default=8.0, gt=0, le=60)
    receiver_publish_timeout_s: float = Field(default=1.2, gt=0, le=60)
    """After this the receiver writes the webhook to the inbox instead; the sender has its answer within 2 s or so."""
    receiver_tenant_rate: float = Field(default=200.0, gt=0)
    """Signed webhooks a second of one tenant, for good and in each receiver process; more are answered 429. CallRail
    sends nothing twice, so it is a fence against floods and no quota: twenty times what a large agency's calls make."""
    receiver_tenant_burst: float = Field(default=2000.0, ge=1)
    stage_tenant_rate: float = Field(default=50.0, gt=0)
    """Calls a second that one tenant may begin at each vendor, from CallRail to the CRMs, in each worker process;
    more wait."""
    stage_tenant_burst: float = Field(default=500.0, ge=1)
    circuit_probe_s: float = Field(default=300.0, gt=0)
    """How often a vendor that refuses a tenant, or has no capacity for anybody, is tried again."""
    sweep_stale_s: float = Field(default=1500.0, gt=0)
    """A run without any progress for so long is sent again (longer than Pub/Sub's longest back-offs)."""
    sweep_again_s: float = Field(default=300.0, gt=0)
    """When a run that was sent again, and did not move, is sent once more."""
    publish_window_ms: float = Field(default=5.0, ge=0, le=1000)
    """How long a publish request waits at most until as many messages are there as requests carried lately; a lone
    sender never waits.

    5 ms: below, a busy receiver makes more requests than it gains time; against Pub/Sub's own tens of milliseconds,
    more would be felt (docs/operations/bench.md)."""
    tenant_cache_ttl_s: float = Field(default=60.0, gt=0)
    secret_cache_ttl_s: float = Field(default=300.0, gt=0)
    keyset_cache_ttl_s: float = Field(default=600.0, gt=0)
    """How long a destroyed keyset may still serve in a process; each miss costs a read and two calls of Cloud KMS."""
    dead_letter_editing: bool = False
    """Whether an operator may replay an edited copy of a dead letter: rarely needed, easily regretted."""
    recording_max_bytes: int = Field(default=500_000_000, gt=0)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    transcript_look_s: float = Field(default=900.0, gt=0)
    """How long after its end a recognition may be silent before the sweeper asks Speech (beside the audio's length)."""
    lease_s: float | None = Field(default=None, gt=0)
    """Drills only: a claim's lease, instead of the ack deadline of the stage's subscription."""
    crash_points: str = ""
    """Drills only: where processes die, see `shared/crash_points.py`."""
    crash_marks: str = ""
    """Drills only: the directory that remembers which deaths have happened."""

    traces: TelemetryTarget = "off"
    """Where spans go."""
    metrics: TelemetryTarget = "off"
    telemetry_dir: str = ""
    """Where `console` writes files, a line a span; empty means standard output."""
    otlp_endpoint: str = "http://127.0.0.1:4318"
    """Base URL of the collector that `otlp` means."""
    trace_ratio: float = Field(default=1.0, ge=0, le=1)
    """The part of all requests whose spans are recorded: the same requests in every service."""
    trace_spans_per_s: float = Field(default=100.0, ge=0)
    """How many spans a process records in a second; the rest is left out. It keeps a flood of webhooks as cheap as
    without traces (docs/operations/observability.md has the figures)."""
    trace_every_s: float = Field(default=5.0, ge=0, le=600)
    metrics_every_s: float = Field(default=30.0, gt=0, le=600)
    """How often spans and metrics are sent, at most."""

    local: LocalEndpoints = Field(default_factory=LocalEndpoints)

    @model_validator(mode="after")
    def _refuse_dangerous_mixtures(self) -> Settings:
        if self.environment == "local" and self.on_cloud_run:
            raise ValueError("PIPELINE_ENVIRONMENT=local on Cloud Run: stand-ins and unsigned pushes would be trusted")
        if self.environment == "google" and self.push_auth == "off":
            raise ValueError("PIPELINE_PUSH_AUTH=off is allowed only with PIPELINE_ENVIRONMENT=local")
        if self.push_auth == "platform" and not self.on_cloud_run:
            raise ValueError("PIPELINE_PUSH_AUTH=platform trusts Cloud Run's own check, but K_SERVICE is not set")
        if self.environment != "local" and (self.lease_s or self.crash_points or self.crash_marks):
            raise ValueError("PIPELINE_LEASE_S and PIPELINE_CRASH_… are for drills on PIPELINE_ENVIRONMENT=local only")
        if self.environment == "local" and "google" in {self.traces, self.metrics}:
            raise ValueError("PIPELINE_TRACES and PIPELINE_METRICS cannot say google with PIPELINE_ENVIRONMENT=local")
        if not self.project_id:
            raise ValueError("GOOGLE_CLOUD_PROJECT is not set")
        return self

    @property
    def is_local(self) -> bool:
        return self.environment == "local"

    @property
    def stand_ins(self) -> LocalEndpoints:
        """The local endpoints; all empty unless the environment is `local`, whatever the variables say."""
        return self.local if self.is_local else LocalEndpoints.model_construct()

    @property
    def pii_key_name(self) -> str:
        ring = f"projects/{self.project_id}/locations/{self.region}/keyRings/pipeline"
        return self.pii_key or f"{ring}/cryptoKeys/pii-encryption-key"

    @property
    def bucket(self) -> str:
        return self.audio_bucket or f"{self.project_id}-audio-files"


def load_settings() -> Settings:
    """Read the environment. Raises `ConfigurationError` naming every wrong variable."""
    try:
        return Settings()
    except ValidationError as error:
        problems = "; ".join(_in_words(item["loc"], item["msg"]) for item in error.errors())
        raise ConfigurationError("bad_settings", problems, fix="see the settings table in README.md") from error


def _in_words(place: tuple[int | str, ...], said: str) -> str:
    """Our own complaints name the variables themselves; pydantic's stand after the field."""
    name = ".".join(str(part) for part in place)
    return f"{name}: {said}" if name else said.removeprefix("Value error, ")
