"""What to do about a call's audio, decided from its metadata and the clock alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from schemas.calls import CallDetails

MISSED = "missed_call"
ABANDONED = "abandoned_call"
OUTBOUND_UNANSWERED = "outbound_unanswered"
NEVER_CONNECTED = "no_conversation"
NEVER_ARRIVED = "recording_never_arrived"
NO_CONSENT = "no_consent_marker"

SOON = timedelta(minutes=2)
"""So long after a call a look every few seconds is worth it; later one waits in steps."""
_SHORTEST_STEP = timedelta(minutes=1)
_LONGEST_STEP = timedelta(minutes=15)
_SHARE_OF_AGE = 4
"""The step grows with the wait: a quarter of what has passed already."""

_REASON_OF_TYPE = {"missed": MISSED, "abandoned": ABANDONED}


def has_consent(details: CallDetails, consent_tag: str) -> bool:
    """Whether the tenant's marker is on the call; without a marker to ask for, every call has it."""
    wanted = consent_tag.strip().casefold()
    return not wanted or wanted in {tag.strip().casefold() for tag in details.marks.tags}


def reason_for_no_audio(details: CallDetails) -> str:
    """Why this call can have no recording, or an empty string when one is to be expected.

    A recording link always counts as a promise. Without one, a call that nobody answered and that left no voicemail
    has nothing to record (callrail.md §3: a normal end state, not an error).
    """
    if details.recording_url or details.voicemail or details.call_type.startswith("voicemail"):
        return ""
    if details.call_type in _REASON_OF_TYPE:
        return _REASON_OF_TYPE[details.call_type]
    if details.answered is False:
        return OUTBOUND_UNANSWERED if details.direction == "outbound" else MISSED
    return NEVER_CONNECTED if details.duration_s == 0 else ""


@dataclass(frozen=True)
class LookSoon:
    """The recording may come within seconds."""


@dataclass(frozen=True)
class LookAt:
    """The recording takes long: look again at `moment`."""

    moment: datetime


@dataclass(frozen=True)
class StopWaiting:
    """The tenant's deadline is over: go on without audio."""


def after_not_ready(
    details: CallDetails, *, received_at: datetime, now: datetime, wait_deadline_s: int
) -> LookSoon | LookAt | StopWaiting:
    """What to do when the expected recording is not there.

    The wait counts from the end of the call, or from the webhook when CallRail did not say when the call was, or an
    end that is still to come (clocks and time zones differ). The last look happens at the deadline itself.
    """
    ended_at = min(_ended_at(details) or received_at, received_at)
    deadline = ended_at + timedelta(seconds=wait_deadline_s)
    if now >= deadline:
        return StopWaiting()
    age = now - ended_at
    if age < SOON:
        return LookSoon()
    step = min(max(age / _SHARE_OF_AGE, _SHORTEST_STEP), _LONGEST_STEP)
    return LookAt(min(now + step, deadline))


def _ended_at(details: CallDetails) -> datetime | None:
    if details.started_at is None:
        return None
    return details.started_at + timedelta(seconds=details.duration_s or 0)
