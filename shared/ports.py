"""What the stages need from the outside, as Protocols. Concrete gateways live in `shared/gateways/`.

Every method raises only errors of `shared.errors`: a gateway translates its vendor's errors, keeps the
cause, and says what was tried on which object. Every method is bounded by an explicit time-out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, Literal, Protocol

from schemas.calls import CallDetails, CallRecord, CrmRecord, Provider
from schemas.crm import CrmCall
from schemas.tenant import Tenant
from schemas.transcript import Transcript
from shared.call_merge import Merged


class Clock(Protocol):
    """Returns the present moment, UTC and aware."""

    def __call__(self) -> datetime: ...


class Publisher(Protocol):
    """Publishes to a topic and waits for the confirmation."""

    def publish(self, topic: str, data: bytes, attributes: Mapping[str, str]) -> str:
        """Return the message id once Pub/Sub confirmed it; raise `TransientFailure` otherwise."""
        ...


class Secrets(Protocol):
    """Reads secrets by name, cached; values never appear in logs or errors."""

    def read(self, name: str) -> str:
        """The latest version. Raises `TenantBlocked` when missing or forbidden, `TransientFailure`."""
        ...

    def reread(self, name: str) -> str:
        """Drop the cached value and read again: what to do after a vendor's 401."""
        ...

    def write(self, name: str, value: str) -> None:
        """Create the secret if needed and add a version (used by the command line only)."""
        ...


class TenantDirectory(Protocol):
    """Finds tenants; cached, bounded, negative answers too."""

    def by_id(self, tenant_id: str) -> Tenant | None: ...

    def by_company(self, company_id: str) -> Tenant | None: ...

    def by_webhook_token(self, token: str) -> Tenant | None: ...


class CallReader(Protocol):
    """Reads calls."""

    def get(self, tenant_id: str, call_id: str) -> CallRecord | None:
        """Everything known of a call, in one read; None when the tenant has no such call."""
        ...


@dataclass(frozen=True)
class KnownCall:
    """What is known of a call after a merge, and how far the pipeline is with it."""

    details: CallDetails
    started: bool
    """The call's own chain was begun (its first request exists)."""
    analyzed: bool
    recorded: bool
    """Its audio lies in the bucket."""
    no_audio: bool
    """The chain went on without audio."""
    recording_is_news: bool = False
    """This merge brought the recording's address."""


class CallMerger(Protocol):
    """Brings what a webhook says of a call into its record."""

    def merge(self, tenant_id: str, said: Merged, *, now: datetime) -> KnownCall:
        """Merge, inserting when the call is unknown. A download that waits for a recording becomes due when one is
        known now. Raises `InvalidEvent` (unknown tenant), `TransientFailure`."""
        ...


# --- audio ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StoredObject:
    """An object as the store holds it."""

    name: str
    size_bytes: int
    generation: int


class ObjectStore(Protocol):
    """The audio bucket. Names are relative to the bucket."""

    bucket: str

    def create(
        self, name: str, chunks: Iterator[bytes], *, content_type: str, custom_time: datetime | None = None
    ) -> StoredObject | None:
        """Stream `chunks` into a new object (`if_generation_match=0`); None when it already exists.

        The bucket's life cycle deletes it a day after `custom_time` (infra/retention.json).

        Memory stays constant. An error raised by `chunks` aborts the upload: no object appears.
        """
        ...

    def open(self, name: str) -> BinaryIO:
        """A seekable reader that fetches ranges on demand. Raises `NotReady` when the object is missing."""
        ...

    def read(self, name: str, *, max_bytes: int) -> bytes:
        """The whole object. Raises `NotReady` when missing, `PermanentFailure` when larger than `max_bytes`."""
        ...

    def delete(self, name: str) -> None:
        """Remove the object; one that is gone already is fine."""
        ...

    def list_names(self, prefix: str) -> list[str]:
        """Names under `prefix`, sorted, at most 1,000."""
        ...

    def uri(self, name: str) -> str:
        """`gs://bucket/name`."""
        ...


@dataclass(frozen=True)
class RecordingStream:
    """An open download: `chunks` yields bytes as they arrive, bounded by size and time limits."""

    content_type: str
    chunks: Iterator[bytes]


class Recordings(Protocol):
    """Fetches a call's audio from CallRail."""

    def open(self, tenant: Tenant, *, call_id: str, recording_url: str) -> AbstractContextManager[RecordingStream]:
        """Follow the recording link to the audio.

        Raises `NotReady` (not published yet: 404, 202, empty), `PermanentFailure` (not audio, too large,
        forbidden host), `TenantBlocked` (CallRail refused the tenant's key), `TransientFailure`.
        """
        ...


# --- speech ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SpeechJob:
    """What to transcribe. `channels` counts the recording's channels; two mean one party on each."""

    audio_uri: str
    output_uri_prefix: str
    channels: int
    duration_s: float
    language_codes: tuple[str, ...]
    model: str
    agent_channel: int


@dataclass(frozen=True)
class SpeechOperation:
    """State of a long-running recognition."""

    name: str
    state: Literal["running", "succeeded", "failed"]
    output_uri: str = ""
    billed_s: float = 0.0
    error: str = ""


class SpeechRecognizer(Protocol):
    """Speech-to-Text v2, batch."""

    def submit(self, job: SpeechJob) -> str:
        """Start the recognition once; return the operation's name. No idempotency key exists."""
        ...

    def running(self, job: SpeechJob, *, apart_from: str = "") -> str:
        """The recognition that is writing under the job's prefix now; empty when none is found but `apart_from`.

        Raises `TransientFailure`: not knowing is no reason to pay once more.
        """
        ...

    def operation(self, name: str) -> SpeechOperation:
        """Where a recognition stands. Raises `PermanentFailure` when the operation is unknown."""
        ...

    def parse_output(self, data: bytes, job: SpeechJob) -> Transcript:
        """Speech's JSON output object as turns by speaker. Raises `PermanentFailure` when it is not one."""
        ...


# --- analysis -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ModelRequest:
    """One question to the language model. `response_schema` is a JSON Schema."""

    model: str
    system_instruction: str
    user_text: str
    response_schema: Mapping[str, object]
    max_output_tokens: int
    tenant_label: str


@dataclass(frozen=True)
class ModelAnswer:
    """The model's text, unparsed, with what it cost."""

    text: str
    model_version: str
    input_tokens: int
    output_tokens: int


class ModelTruncated(Exception):
    """The answer stopped at `max_output_tokens`; ask once more with a larger bound."""


class LanguageModel(Protocol):
    """Gemini on Vertex AI."""

    def generate(self, request: ModelRequest) -> ModelAnswer:
        """Ask once. Raises `ModelTruncated`, `PermanentFailure` (refused, blocked, retired model),
        `TransientFailure` (429, 5xx, time-out)."""
        ...


# --- CRM ------------------------------------------------------------------------------------------


class CrmGateway(Protocol):
    """One tenant's connection to one CRM."""

    @property
    def provider(self) -> Provider: ...

    def sync_call(self, call: CrmCall) -> CrmRecord:
        """Find or create the caller's person, upsert the call by our call id, associate the two.

        Safe to repeat: the same call leaves one record. Raises `TenantBlocked` (token, scope, missing
        field), `PermanentFailure` (this record refused), `TransientFailure`, `Deferred` (daily quota).
        """
        ...

    def prepare(self) -> list[str]:
        """Create or check the custom properties and fields we write; return what was done or is missing.

        One line each: `ok: …`, `created: …`, `note: …`, or `missing: …` with what a person has to do.
        """
        ...

    def inspect(self) -> list[str]:
        """What `prepare` would say, with `would create: …` for what it would make; changes nothing."""
        ...


class CrmGateways(Protocol):
    """Makes the gateway of a tenant's integration."""

    def for_tenant(self, tenant: Tenant, provider: Provider) -> CrmGateway: ...
