"""The error table: each kind of error, how it leaves the row, and what Pub/Sub is told."""

from __future__ import annotations

from datetime import timedelta

import pytest

from shared.answers import ACKNOWLEDGED, AGAIN, BLOCKED_PAUSE, LONGEST_BACKOFF_S, Answer, consequence_of
from shared.errors import (
    ConfigurationError,
    Deferred,
    InvalidEvent,
    NotReady,
    PermanentFailure,
    PipelineError,
    TenantBlocked,
    TransientFailure,
)
from tests.support.ports import NOON

HOUR = timedelta(hours=1)
TOO_LONG_S = LONGEST_BACKOFF_S + 1

TABLE: dict[str, tuple[PipelineError, str, object, Answer | None]] = {
    "busy": (TransientFailure("c", "d"), "retrying", None, AGAIN),
    "busy, come back soon": (TransientFailure("c", "d", retry_after_s=7), "retrying", None, Answer(503, 7)),
    "busy, at the limit of a back-off": (
        TransientFailure("c", "d", retry_after_s=LONGEST_BACKOFF_S),
        "retrying",
        None,
        Answer(503, LONGEST_BACKOFF_S),
    ),
    "busy, come back much later": (
        TransientFailure("c", "d", retry_after_s=TOO_LONG_S),
        "deferred",
        NOON + timedelta(seconds=TOO_LONG_S),
        ACKNOWLEDGED,
    ),
    "busy, come back at once": (TransientFailure("c", "d", retry_after_s=0), "retrying", None, Answer(503, 0)),
    "not there yet": (NotReady("c", "d"), "retrying", None, AGAIN),
    "later": (Deferred("c", "d", until=NOON + HOUR), "deferred", NOON + HOUR, ACKNOWLEDGED),
    "later, and overdue already": (Deferred("c", "d", until=NOON - HOUR), "deferred", NOON - HOUR, ACKNOWLEDGED),
    "a tenant's mistake": (TenantBlocked("c", "d", fix="f"), "blocked", NOON + BLOCKED_PAUSE, ACKNOWLEDGED),
    "a tenant's mistake with a time": (
        TenantBlocked("c", "d", retry_at=NOON + HOUR),
        "blocked",
        NOON + HOUR,
        ACKNOWLEDGED,
    ),
    "a final no": (PermanentFailure("c", "d"), "failed", None, None),
    "against its schema": (InvalidEvent("c", "d"), "failed", None, None),
    "a setting of ours": (ConfigurationError("c", "d"), "failed", None, None),
}


@pytest.mark.parametrize("case", TABLE)
def test_each_kind_of_error(case: str) -> None:
    error, state, due_at, answer = TABLE[case]
    consequence = consequence_of(error, now=NOON)
    assert (consequence.row.state, consequence.row.due_at, consequence.answer) == (state, due_at, answer)


@pytest.mark.parametrize("case", TABLE)
def test_the_row_says_why(case: str) -> None:
    error, *_ = TABLE[case]
    row = consequence_of(error, now=NOON).row
    assert (row.error_code, row.error_detail, row.error_fix) == (error.code, error.detail, error.fix)
    assert row.checkpoint is None, "what an attempt saved stays"


@pytest.mark.parametrize("case", [TABLE["later"][0], TABLE["a tenant's mistake"][0]], ids=["Deferred", "TenantBlocked"])
def test_what_waits_for_a_vendor_names_it(case: Deferred | TenantBlocked) -> None:
    case.vendor = "hubspot"
    assert consequence_of(case, now=NOON).row.vendor == "hubspot"


@pytest.mark.parametrize("case", TABLE)
def test_what_sleeps_for_good_is_acknowledged_and_has_a_time_to_be_woken(case: str) -> None:
    """Nobody delivers it again: without a due time it would sleep for ever."""
    consequence = consequence_of(TABLE[case][0], now=NOON)
    if consequence.answer == ACKNOWLEDGED:
        assert consequence.row.due_at is not None
    else:
        assert consequence.row.due_at is None
