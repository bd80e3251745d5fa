"""Everything that the dead-letter desk keeps in Spanner, behind one name."""

from __future__ import annotations

from shared.gateways.dead_letter_changes import LetterChanges
from shared.gateways.dead_letter_closing import close_arrived
from shared.gateways.dead_letter_reads import LetterReads
from shared.gateways.replay_job_store import ReplayJobs


class SpannerDeadLetters(LetterChanges, LetterReads, ReplayJobs):
    """Implements `shared.desk_ports.DeadLetterStore`. One row for each piece of work that was given up, however often.

    All three parts are given the same `open_database` and `vault`.
    """

    def close_arrived(self, tenant_id: str, *, limit: int) -> int:
        return close_arrived(self._open, tenant_id, limit=limit)
