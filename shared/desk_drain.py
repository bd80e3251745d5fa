"""Drain the archive: record the raw dead letters that the table does not have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from shared.desk import Desk
from shared.desk_letters import letter_of, unassigned
from shared.desk_ports import Archive, ArchivedMessage

PULLED_AT_ONCE = 100
EMPTY_LOOKS = 2
"""Pub/Sub may answer a pull with nothing although something is there."""

Stop = Callable[[], bool]


@dataclass(frozen=True)
class DrainReport:
    """How many messages the archive gave, and how many of them were news to the table."""

    read: int
    recorded: int
    known: int

    def document(self) -> dict[str, int]:
        """For `--json`."""
        return {"read": self.read, "recorded": self.recorded, "known": self.known}


def drain_archive(
    desk: Desk,
    archive: Archive,
    *,
    should_stop: Stop = lambda: False,
    report: Callable[[DrainReport], None] = lambda _report: None,
) -> DrainReport:
    """Read until the archive is empty or `should_stop` says so.

    A message leaves the archive only once it is recorded; a crash before that brings it again, and its id tells that it
    is known. Raises `TransientFailure` when Pub/Sub or Spanner does not answer; what was read so far is kept.
    """
    so_far = DrainReport(0, 0, 0)
    empty = 0
    while empty < EMPTY_LOOKS and not should_stop():
        messages = archive.pull(limit=PULLED_AT_ONCE)
        empty = 0 if messages else empty + 1
        recorded = sum(_record(desk, message) for message in messages)
        archive.acknowledge([message.ack_id for message in messages])
        so_far = DrainReport(
            read=so_far.read + len(messages),
            recorded=so_far.recorded + recorded,
            known=so_far.known + len(messages) - recorded,
        )
        report(so_far)
    return so_far


def _record(desk: Desk, message: ArchivedMessage) -> bool:
    letter = letter_of(message.delivery, desk.pipeline)
    if desk.store.knows(letter) or desk.store.knows(unassigned(letter)):
        return False
    desk.record(message.delivery)
    return True
