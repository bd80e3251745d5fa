"""What the transcribe stage decides about an operation, its output and another payment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from schemas.checkpoints import TranscriptionCheckpoint
from stages.transcribe import logic
from stages.transcribe.logic import Next

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def checkpoint(**changes: Any) -> TranscriptionCheckpoint:
    values: dict[str, Any] = {
        "operation": "projects/p/locations/us/operations/1",
        "audio_uri": "gs://b/recordings/acme/CAL1.mp3",
        "output_prefix": "transcripts/acme/r-12345678/",
        "channels": 2,
        "duration_s": 61.5,
        "model": "chirp_3",
        "languages": ("en-US",),
        "agent_channel": 1,
        "submitted_at": NOW,
        "wait_until": NOW + timedelta(minutes=20),
    }
    return TranscriptionCheckpoint.model_validate({**values, **changes})


@pytest.mark.parametrize(
    ("state", "error", "age", "expected"),
    [
        ("succeeded", "", timedelta(hours=1), Next.FINISH),
        ("running", "", timedelta(hours=1), Next.WAIT),
        ("running", "", timedelta(hours=25), Next.WAIT),
        ("running", "", timedelta(hours=49), Next.SUBMIT_AGAIN),
        ("failed", "INTERNAL: oops", timedelta(), Next.SUBMIT_AGAIN),
        ("failed", "RESOURCE_EXHAUSTED: quota", timedelta(), Next.SUBMIT_AGAIN),
        ("failed", "NOT_FOUND: no object", timedelta(), Next.GIVE_UP),
        ("failed", "INVALID_ARGUMENT: no audio", timedelta(), Next.GIVE_UP),
        ("failed", "PERMISSION_DENIED: bucket", timedelta(), Next.GIVE_UP),
        ("failed", "", timedelta(), Next.GIVE_UP),
    ],
)
def test_operation_is_judged_by_state_code_and_age(state: Any, error: str, age: timedelta, expected: Next) -> None:
    assert logic.judge_operation(state, error, submitted_at=NOW - age, now=NOW) is expected


def test_sweeper_looks_later_at_longer_calls() -> None:
    short, long = (logic.look_again_at(NOW, duration_s=seconds) for seconds in (0, 3600))
    assert short == NOW + timedelta(minutes=15)
    assert long - short == timedelta(hours=1)


def test_only_unrejected_json_objects_are_read() -> None:
    names = ["t/r/", "t/r/a.json", "t/r/a.vtt", "t/r/b.json"]
    assert logic.readable_outputs(names, rejected=("t/r/a.json",)) == ["t/r/b.json"]


def test_speechs_own_bill_counts_before_our_estimate() -> None:
    assert logic.billed_audio_s(120.0, duration_s=61.5, channels=2) == 120.0
    assert logic.billed_audio_s(0.0, duration_s=61.5, channels=2) == 124.0


def test_audio_is_submitted_twice_at_most_until_a_person_replays() -> None:
    first = checkpoint()
    assert logic.may_submit_again(first)
    second = checkpoint(submissions=logic.submissions_after(first))
    assert not logic.may_submit_again(second)
    replayed = second.model_copy(update={"given_up": True})
    assert logic.may_submit_again(replayed)
    assert logic.submissions_after(replayed) == 1


def test_rejected_objects_are_remembered_once() -> None:
    once = logic.rejecting(checkpoint(), "t/r/a.json")
    assert once.rejected == ("t/r/a.json",)
    assert logic.rejecting(once, "t/r/a.json") == once


def test_checkpoint_survives_the_database_and_a_rollback() -> None:
    saved = checkpoint(rejected=("t/r/a.json",), submissions=2)
    assert logic.saved_checkpoint(saved.model_dump(mode="json")) == saved
    assert logic.saved_checkpoint({**saved.model_dump(mode="json"), "field_of_next_year": 1}) == saved
    assert logic.saved_checkpoint({}) is None
