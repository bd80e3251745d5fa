"""The dead-letter desk: record what was given up, look at it, and decide about it. One code for worker, CLI and page.

Replays are `shared.desk_replay`, editing `shared.desk_edit`, files `shared.desk_transfer`, the archive
`shared.desk_drain`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import structlog

from shared.dead_letters import (
    KEPT,
    KEPT_DISCARDED,
    LETTER_STATES,
    AuditEntry,
    DeadLetter,
    DeadLetterBody,
    LetterFilter,
    LetterGroup,
    LetterState,
    NewDeadLetter,
)
from shared.deliveries import Delivery
from shared.desk_letters import letter_of, unassigned
from shared.desk_ports import DeadLetterStore
from shared.desk_prices import StageCost, stage_costs
from shared.desk_stats import TenantStats, stats_of
from shared.desk_story import LetterStory, story_of
from shared.errors import ConfigurationError, InvalidEvent, TransientFailure
from shared.pipeline import Pipeline
from shared.ports import Clock, Publisher

log = structlog.get_logger()

T = TypeVar("T")

CLOSED_AT_ONCE = 200
"""Letters closed in one commit, and at most so many for each tenant and sweep."""
CLOSINGS_A_LOOK = 10
"""Commits of that size before somebody is shown letters: what arrived must not be counted as waiting."""
LATELY = timedelta(hours=24)
COMPARABLE_FOR = timedelta(days=90)
"""How far back the ledger is asked for what comparable calls used."""
_MAX_TEXT = 1000


def utc_now() -> datetime:
    """The wall clock, UTC and aware."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Desk:
    """What operators do with dead letters. Every change says who did it and is one commit with its audit line."""

    store: DeadLetterStore
    publisher: Publisher
    pipeline: Pipeline
    now: Clock = utc_now

    # -- record ----------------------------------------------------------------------------------------

    def record(self, delivery: Delivery) -> NewDeadLetter:
        """Keep a message of the dead-letter topic; the same message twice is kept once.

        Raises `TransientFailure` when Spanner does not answer.
        """
        letter = letter_of(delivery, self.pipeline)
        try:
            self.store.record(letter)
        except InvalidEvent:
            letter = unassigned(letter)
            self.store.ensure_unassigned_tenant()
            self.store.record(letter)
        log.error(
            "dead_letter_recorded",
            tenant_id=letter.tenant_id,
            request_id=letter.request_id,
            stage=letter.stage,
            reason=letter.reason,
            dead_letter_id=letter.dead_letter_id,
        )
        return letter

    def close_arrived(self, tenant_id: str) -> int:
        """Close the letters that wait for nothing any more, at most `CLOSED_AT_ONCE`; returns how many.

        Replayed ones whose call has arrived or has another letter by now, others whose stage was done in another way.
        Cheap when there are none (one read), harmless at any time and twice at once: for the sweeper and for whoever
        looks at letters.
        """
        closed = self.store.close_arrived(tenant_id, limit=CLOSED_AT_ONCE)
        if closed:
            log.info("dead_letters_closed", tenant_id=tenant_id, count=closed)
        return closed

    def close_arrivals(self, tenant_id: str, *, rounds: int = CLOSINGS_A_LOOK) -> None:
        """The same, so many times `CLOSED_AT_ONCE` at most.

        Where the database does not let us now, the next look or the sweeper closes them.
        """
        try:
            for _ in range(rounds):
                if self.close_arrived(tenant_id) < CLOSED_AT_ONCE:
                    return
        except TransientFailure as error:
            log.warning("dead_letters_not_closed", tenant_id=tenant_id, code=error.code, detail=error.detail)

    # -- look ------------------------------------------------------------------------------------------

    def list_letters(self, tenant_id: str, *, limit: int) -> list[DeadLetter]:
        """One tenant's letters in every state, newest first."""
        return self.find(LetterFilter(tenant_id=tenant_id, states=LETTER_STATES, limit=limit))

    def find(self, wanted: LetterFilter) -> list[DeadLetter]:
        """The letters of one tenant or of all, sorted and bounded. What has arrived meanwhile is closed first."""
        tenants = self._tenants(wanted, ("open", "replaying"))
        for tenant_id in tenants:
            self.close_arrivals(tenant_id)
        found = self._gather(wanted, lambda tenant_id: self.store.list_letters(tenant_id, wanted))
        return sorted(found, key=_SORT_KEYS[wanted.sort])[: wanted.limit]

    def groups(self, wanted: LetterFilter) -> list[LetterGroup]:
        """Letters by stage, reason and tenant; the largest group first."""
        for tenant_id in self._tenants(wanted, ("open", "replaying")):
            self.close_arrivals(tenant_id)
        found = self._gather(wanted, lambda tenant_id: self.store.group_letters(tenant_id, wanted))
        return sorted(found, key=lambda group: (-group.letters, group.tenant_id, group.stage, group.reason))

    def body(self, tenant_id: str, dead_letter_id: str) -> DeadLetterBody:
        """One letter with its event. Raises `ConfigurationError` when the tenant has none of this id."""
        body = self.store.read(tenant_id, dead_letter_id)
        if body is None:
            raise ConfigurationError(
                "no_such_dead_letter",
                f"tenant {tenant_id} has no dead letter {dead_letter_id}",
                fix=f"pipeline dead-letters list --tenant {tenant_id}",
            )
        return body

    def show(self, tenant_id: str, dead_letter_id: str) -> LetterStory:
        """A letter with everything that happened to it, and what a replay would do and cost. Raises as `body`."""
        self.close_arrivals(tenant_id)
        return story_of(self.body(tenant_id, dead_letter_id), self.store, self.pipeline, costs=self.costs(tenant_id))

    def stats(self, tenant_id: str | None) -> list[TenantStats]:
        """Counts by state, age of the oldest, outcomes of replays; for one tenant or for each that has letters."""
        tenants = [tenant_id] if tenant_id else self.store.tenants_with_letters(LETTER_STATES)
        for one in tenants:
            self.close_arrivals(one)
        since = self.now() - LATELY
        return [stats_of(one, self.store.counts(one, since=since), self.store.replay_outcomes(one)) for one in tenants]

    def costs(self, tenant_id: str) -> dict[str, StageCost]:
        """What each stage of this tenant's calls costs on average, from the ledger."""
        return stage_costs(self.store.usage_averages(tenant_id, since=self.now() - COMPARABLE_FOR))

    # -- decide ----------------------------------------------------------------------------------------

    def replay(self, tenant_id: str, dead_letter_id: str, *, actor: str) -> None:
        """Send one open letter again at once, without waiting for what comes of it; `shared.desk_replay` does more.

        Raises `ConfigurationError` when it cannot be replayed, `TransientFailure` when it was marked but not published:
        the replay can then be resumed.
        """
        from shared.desk_replay_one import replay_one  # it is made of desks

        replay_one(self, tenant_id, dead_letter_id, actor=actor)

    def discard(self, tenant_id: str, dead_letter_id: str, *, reason: str, actor: str) -> datetime:
        """Give an open letter up; returns until when it can be restored. Raises `ConfigurationError` if not open."""
        letter = self.body(tenant_id, dead_letter_id).letter
        text = _text(reason, what="a reason")
        kept_until = self.now() + KEPT_DISCARDED
        detail = {"reason": text, "restorable_until": kept_until.isoformat()}
        audit = AuditEntry(actor, "dead_letter.discard", dead_letter_id, detail)
        if not self.store.discard(letter, text, audit, kept_until=kept_until):
            raise ConfigurationError("not_open", f"dead letter {dead_letter_id} is {letter.state}, not open")
        return kept_until

    def restore(self, tenant_id: str, dead_letter_id: str, *, actor: str) -> None:
        """Open a discarded letter again. Raises `ConfigurationError` if it is not discarded or its time is over."""
        letter = self.body(tenant_id, dead_letter_id).letter
        now = self.now()
        audit = AuditEntry(actor, "dead_letter.restore", dead_letter_id, {})
        if self.store.restore(letter, audit, now=now, kept_until=now + KEPT):
            return
        if letter.restorable_until is not None:
            raise ConfigurationError(
                "too_late", f"dead letter {dead_letter_id} could be restored until {letter.restorable_until:%Y-%m-%d}"
            )
        raise ConfigurationError("not_discarded", f"dead letter {dead_letter_id} is {letter.state}, not discarded")

    def note(self, tenant_id: str, dead_letter_id: str, text: str, *, actor: str) -> None:
        """Write a note on a letter; earlier notes stay in its history."""
        letter = self.body(tenant_id, dead_letter_id).letter
        words = _text(text, what="a note")
        self.store.note(letter, words, AuditEntry(actor, "dead_letter.note", dead_letter_id, {"note": words}))

    # -- tenants ---------------------------------------------------------------------------------------

    def _gather(self, wanted: LetterFilter, ask: Callable[[str], Iterable[T]]) -> list[T]:
        return [one for tenant_id in self._tenants(wanted, wanted.states) for one in ask(tenant_id)]

    def _tenants(self, wanted: LetterFilter, states: tuple[LetterState, ...]) -> list[str]:
        """One tenant, or all that have letters in these states: every further question is asked tenant by tenant."""
        if wanted.tenant_id is not None:
            return [wanted.tenant_id]
        return self.store.tenants_with_letters(states)


_SORT_KEYS: dict[str, Callable[[DeadLetter], tuple[object, ...]]] = {
    "newest": lambda letter: (-letter.updated_at.timestamp(), letter.dead_letter_id),
    "oldest": lambda letter: (letter.created_at.timestamp(), letter.dead_letter_id),
    "attempts": lambda letter: (-letter.attempts, letter.dead_letter_id),
    "replays": lambda letter: (-letter.replays, letter.dead_letter_id),
    "occurrences": lambda letter: (-letter.occurrences, letter.dead_letter_id),
}
"""The orders of `list_letters` in sql/queries/dead_letters.sql, for the letters of several tenants."""


def _text(text: str, *, what: str) -> str:
    words = text.strip()
    if not words:
        raise ConfigurationError("empty_text", f"{what} must say something")
    return words[:_MAX_TEXT]
