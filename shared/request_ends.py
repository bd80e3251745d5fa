"""When a request ends: with its last event published.

A request's last event starts no further stage of it (`call-synced`, or an event that goes on with another request), so
no missing row would tell the sweeper that it was not published. Whoever records the last stage under the first claim
need not fear that: the message comes again until it is answered. A run that was taken over has perhaps no such message
any more, because it may have been acknowledged when the run went to sleep. Its request stays active until the
event is published, and an active request that does not move is what the sweeper looks for.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Protocol

from schemas.events import EVENT_TYPES, CallSynced, Event
from shared.claims import RunKey, RunStore, StageRun
from shared.stage import Completed


class AnyEvent(Protocol):
    """An event, or what is told of one (`shared.story.NextEvent`)."""

    @property
    def type(self) -> str: ...

    @property
    def request_id(self) -> str: ...


def is_last(event: AnyEvent, request_id: str) -> bool:
    """Whether no stage of this request follows the event."""
    return EVENT_TYPES.get(event.type) is CallSynced or event.request_id != request_id


def open_until_published(run: StageRun, completed: Completed, *, now: datetime) -> Completed:
    """What to record of a finished stage before its event is published."""
    event = completed.next_event
    if event is None or not is_last(event, run.key.request_id):
        return completed
    # A lease that is over: somebody else may have put the run to sleep meanwhile, and the message with it.
    is_first_claim = not run.taken_over and now < run.lease_until
    return completed if is_first_claim else replace(completed, request_state="active")


def end_after(event: Event, key: RunKey, store: RunStore) -> None:
    """The event is published: end the request if it was the last one. Raises as `RunStore.end_request` does."""
    if is_last(event, key.request_id):
        store.end_request(key)
