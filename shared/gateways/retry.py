"""The inner retry ring: short, bounded by a time budget, only for errors that say "again soon"."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, stop_before_delay
from tenacity.wait import wait_random_exponential

from shared.errors import TransientFailure

T = TypeVar("T")

_BACKOFF = wait_random_exponential(multiplier=0.2, max=5)


def with_short_retries(call: Callable[[], T], *, budget_s: float, attempts: int = 4) -> T:
    """Call again on `TransientFailure` while the budget lasts; the last error is raised as it is.

    A vendor's `retry_after_s` is waited for when it fits into the budget; when it does not, the failure goes
    to the outer ring (Pub/Sub's back-off) at once instead of holding the request open.
    """
    retrying = Retrying(
        retry=retry_if_exception_type(TransientFailure),
        wait=_wait,
        stop=stop_after_attempt(attempts) | stop_before_delay(budget_s),
        reraise=True,
    )
    return retrying(call)


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    hint = getattr(error, "retry_after_s", None)
    return max(hint, 0.0) if hint is not None else _BACKOFF(state)
