"""Decisions of the transcribe stage: pure, no clock, no storage, no Speech."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Literal

from schemas.checkpoints import TranscriptionCheckpoint

MAX_SUBMISSIONS = 2
"""One more try when the service lost or spoiled its own work; what fails twice is for a person."""
LOST_AFTER = timedelta(hours=48)
"""Dynamic batch promises 24 hours (reference: Speech §3.3); an operation twice as old will not finish."""
MAX_OUTPUT_BYTES = 32 * 1024 * 1024
"""Eight hours of words with times are about 10 MB."""

OPERATION_UNKNOWN = "speech_operation_unknown"
"""The gateway's code for an operation that Speech has forgotten; it keeps finished ones for some days."""
FORBIDDEN = frozenset({"PERMISSION_DENIED", "UNAUTHENTICATED"})

FIRST_LOOK = timedelta(minutes=15)
"""The first batch after idle was seen to take minutes (reference: Speech §3.2)."""
_WORTH_ANOTHER_TRY = frozenset(
    {"RESOURCE_EXHAUSTED", "UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL", "UNKNOWN", "ABORTED", "CANCELLED"}
)


class Next(StrEnum):
    """What to do about an operation."""

    WAIT = "wait"
    FINISH = "finish"
    SUBMIT_AGAIN = "submit_again"
    GIVE_UP = "give_up"


def look_again_at(now: datetime, *, duration_s: float, first_look: timedelta = FIRST_LOOK) -> datetime:
    """When the sweeper should poll: the output's own notice comes long before, so this is generous."""
    return now + first_look + timedelta(seconds=duration_s)


def judge_operation(
    state: Literal["running", "succeeded", "failed"], error: str, *, submitted_at: datetime, now: datetime
) -> Next:
    """`error` of a failed operation reads `CODE: message`. A failed operation is not billed."""
    if state == "succeeded":
        return Next.FINISH
    if state == "running":
        return Next.SUBMIT_AGAIN if now - submitted_at > LOST_AFTER else Next.WAIT
    return Next.SUBMIT_AGAIN if error_code(error) in _WORTH_ANOTHER_TRY else Next.GIVE_UP


def error_code(error: str) -> str:
    """The gRPC code's name in front of an operation's error."""
    return error.partition(":")[0]


def is_transcript(object_name: str) -> bool:
    """Speech's native output ends with `.json`; anything else under the prefix is not for us."""
    return object_name.endswith(".json")


def readable_outputs(object_names: Sequence[str], *, rejected: Sequence[str]) -> list[str]:
    """What is worth reading under a prefix."""
    return [name for name in object_names if is_transcript(name) and name not in rejected]


def billed_audio_s(reported_s: float, *, duration_s: float, channels: int) -> float:
    """What Speech bills: its own figure when known, else whole seconds of each channel."""
    return reported_s or float(math.ceil(duration_s) * channels)


def saved_checkpoint(stored: Mapping[str, Any]) -> TranscriptionCheckpoint | None:
    """The checkpoint of an earlier attempt; None when nothing was submitted yet."""
    return TranscriptionCheckpoint.model_validate(stored) if stored else None


def rejecting(checkpoint: TranscriptionCheckpoint, object_name: str) -> TranscriptionCheckpoint:
    """The same, remembering an unreadable output object."""
    if object_name in checkpoint.rejected:
        return checkpoint
    return checkpoint.model_copy(update={"rejected": (*checkpoint.rejected, object_name)})


def may_submit_again(checkpoint: TranscriptionCheckpoint) -> bool:
    """A replay after giving up is a person's decision to pay again."""
    return checkpoint.given_up or checkpoint.submissions < MAX_SUBMISSIONS


def submissions_after(checkpoint: TranscriptionCheckpoint) -> int:
    """The count once the audio is submitted again."""
    return 1 if checkpoint.given_up else checkpoint.submissions + 1
