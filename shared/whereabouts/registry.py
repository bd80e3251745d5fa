"""The registry: which module speaks for which situation of a request."""

from __future__ import annotations

from collections.abc import Callable

from shared.whereabouts import ended, moving, stopped
from shared.whereabouts.case import Case, Words
from shared.whereabouts.situations import Situation

WORDS: dict[Situation, Callable[[Case], Words]] = {
    Situation.RUNNING: moving.running,
    Situation.LEASE_OVER: moving.lease_over,
    Situation.RETRYING: moving.retrying,
    Situation.WAITING: moving.waiting,
    Situation.DEFERRED: moving.deferred,
    Situation.BETWEEN_STAGES: moving.between,
    Situation.RECEIVED: moving.received,
    Situation.BLOCKED: stopped.blocked,
    Situation.SUSPENDED: stopped.suspended,
    Situation.FAILED: stopped.failed,
    Situation.FAILED_UNRECORDED: stopped.failed_unrecorded,
    Situation.REPLAYING: stopped.replaying,
    Situation.DISCARDED: stopped.discarded,
    Situation.SUPERSEDED: ended.superseded,
    Situation.DONE: ended.done,
    Situation.MERGED: ended.merged,
    Situation.NOT_PROCESSED: ended.not_processed,
}
