"""What a stage saves of an outside job it started, as stored in `stage_runs.checkpoint`."""

from __future__ import annotations

from pydantic import AwareDatetime, ConfigDict, Field

from schemas.base import Contract


class TranscriptionCheckpoint(Contract):
    """A recognition that was paid for, with all that is needed to read its output without another look-up."""

    # An older revision must be able to read what a newer one wrote, or a rollback would pay again for every call.
    model_config = ConfigDict(frozen=True, extra="ignore")

    operation: str = Field(min_length=1)
    """Name of Speech's long-running operation."""
    audio_uri: str
    output_prefix: str
    """Object name prefix within the audio bucket, ending with a slash."""
    channels: int = Field(ge=1, le=8)
    duration_s: float = Field(ge=0)
    model: str
    """The configured model; the gateway may have chosen another one for this recording."""
    languages: tuple[str, ...] = Field(min_length=1)
    agent_channel: int = Field(ge=1)
    submitted_at: AwareDatetime
    wait_until: AwareDatetime
    """When the sweeper should look at the operation."""
    submissions: int = Field(default=1, ge=1)
    """How often the audio was submitted in the present series."""
    rejected: tuple[str, ...] = ()
    """Output objects that turned out unreadable; a late notice of one is no news."""
    given_up: bool = False
    """The series ended without a transcript; a replay starts a new one."""
