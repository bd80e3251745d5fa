"""Runs one tenant's backfill: lists, compares, starts the chain of what never arrived, and keeps its progress.

Safe to repeat and to run twice at once: a call's first request has a derived id, so the claim absorbs every double.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Protocol

import structlog

from schemas.events import CallReceived
from schemas.tenant import Tenant
from schemas.webhooks import Payload
from shared.backfill import (
    NOTHING,
    ONE_RECOVERED,
    ApiAccess,
    Findings,
    ListedCall,
    Part,
    Tally,
    call_key,
    compare,
    read_call,
)
from shared.errors import TransientFailure
from shared.names import first_request_id
from shared.ports import Clock, Publisher

log = structlog.get_logger()

MOST_IDS_LOGGED = 20
READINGS = 5
"""How often a list of several pages is read at most: twice when nothing moves."""


class CallLister(Protocol):
    """A provider's list of calls, by the time they began; both bounds included, whole seconds."""

    def pages(
        self, access: ApiAccess, *, company_id: str, since: datetime, until: datetime
    ) -> Iterator[tuple[Payload, ...]]:
        """The calls page by page. Raises `Deferred` (budget used up), `TenantBlocked` (key, rights, account),
        `PermanentFailure`, `TransientFailure`."""
        ...


@dataclass(frozen=True)
class KnownCalls:
    """What the database knows of the calls asked about, by call id."""

    started: frozenset[str]
    """Their first request exists."""
    seen: frozenset[str]


@dataclass(frozen=True)
class FinishedDay:
    """A day that an unfinished backfill has dealt with."""

    since: datetime
    until: datetime
    tally: Tally

    def covers(self, part: Part) -> bool:
        return self.since <= part.since and part.until <= self.until


class BackfillStore(Protocol):
    """What a backfill reads and leaves in the database."""

    def known(self, tenant_id: str, call_ids: Sequence[str]) -> KnownCalls:
        """One read, however many ids."""
        ...

    def finished_days(self, tenant_id: str, since: date, until: date) -> Mapping[date, FinishedDay]: ...

    def save_finished(self, tenant_id: str, part: Part, tally: Tally) -> None: ...

    def clear_finished(self, tenant_id: str, since: date, until: date) -> None:
        """Forget the progress of a backfill that came to its end: the next one looks at everything again."""
        ...

    def write_report(self, tenant_id: str, part: Part, tally: Tally) -> None:
        """The day's report; recovered calls are added to those of earlier looks."""
        ...


@dataclass(frozen=True)
class Inspector:
    """Looks at one tenant's calls, without changing anything. Remembers what it has seen: make one for each run."""

    lister: CallLister
    store: BackfillStore
    tenant: Tenant
    access: ApiAccess
    now: Clock
    _met: set[str] = field(default_factory=set)

    def pages(self, part: Part) -> Iterator[Findings]:
        """What each page of a part's list comes to. A call that is listed twice counts once.

        Raises what the lister and the store raise, and `TransientFailure` for a list that does not hold still.
        """
        for company_id in dict.fromkeys(self.tenant.config.callrail_company_ids):
            yield from self._company(part, company_id)

    def _company(self, part: Part, company_id: str) -> Iterator[Findings]:
        """A call that vanishes from the list (a person marks it as spam) moves those after it up by one, so that one
        is on no page that is read; a provider's count would not tell. So a list of several pages is read until a
        reading shows nothing new; one page is one answer and cannot shift."""
        listed: set[str] = set()
        for _ in range(READINGS):
            pages, known = 0, len(listed)
            for page in self.lister.pages(self.access, company_id=company_id, since=part.since, until=part.until):
                pages += 1
                listed.update(call_key(call) for call in page)
                yield self._findings(part, page, company_id)
            if pages <= 1 or len(listed) == known:
                return
        raise TransientFailure(
            "callrail_list_unsteady",
            f"CallRail's list of {part.day} kept changing while it was read",
            fix="run the command again; finished days are kept",
        )

    def _findings(self, part: Part, page: Iterable[Payload], company_id: str) -> Findings:
        calls, refused = self._sorted(part, page, company_id)
        if refused:
            log.error(
                "backfill_calls_refused",
                company_id=company_id,
                count=len(refused),
                call_ids=refused[:MOST_IDS_LOGGED],
            )
        not_taken = Tally(listed=len(refused), refused=len(refused))
        if not calls:
            return Findings(not_taken)
        known = self.store.known(self.tenant.tenant_id, [call.details.call_id for call in calls])
        found = compare(calls, started=known.started, seen=known.seen, now=self.now())
        return Findings(found.tally + not_taken, found.to_recover)

    def _sorted(self, part: Part, page: Iterable[Payload], company_id: str) -> tuple[list[ListedCall], list[str]]:
        """A page's calls that were not met before, and the ids of those that cannot be taken."""
        calls: list[ListedCall] = []
        refused: list[str] = []
        for payload in page:
            call = read_call(payload, company_id=company_id)
            if call and not part.holds(call.details):
                continue
            if not self._is_new(call_key(payload)):
                continue
            if call:
                calls.append(call)
            else:
                refused.append(call_key(payload))
        return calls, refused

    def _is_new(self, call_id: str) -> bool:
        if call_id and call_id in self._met:
            return False
        self._met.add(call_id)
        return True


def pacer(
    calls_per_s: float,
    *,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Callable[[], None]:
    """A function that returns at most `calls_per_s` times a second, evenly."""
    interval_s = 1 / calls_per_s
    next_at = monotonic()

    def pace() -> None:
        nonlocal next_at
        now = monotonic()
        if next_at > now:
            sleep(next_at - now)
        next_at = max(next_at, now) + interval_s

    return pace


@dataclass(frozen=True)
class Ingester:
    """Starts the chain of a call from CallRail's call object, as its webhook would have."""

    publisher: Publisher
    now: Clock
    pace: Callable[[], None]
    """Called before each call: waits so that the pipeline is not flooded."""

    def ingest(self, tenant_id: str, call: ListedCall) -> None:
        """Returns once Pub/Sub confirmed. Raises `TransientFailure`."""
        self.pace()
        call_id = call.details.call_id
        event = CallReceived(
            tenant_id=tenant_id,
            request_id=first_request_id(tenant_id, call_id),
            call_id=call_id,
            kind="post_call",
            origin="backfill",
            received_at=self.now(),
            payload=dict(call.payload),
        )
        self.publisher.publish(event.topic, event.model_dump_json().encode(), event.attributes())
        log.info("call_recovered", tenant_id=tenant_id, call_id=call_id, request_id=event.request_id)


def preview(inspector: Inspector, part: Part) -> Iterator[Tally]:
    """What a part holds, page by page; changes nothing."""
    for findings in inspector.pages(part):
        yield findings.tally


def recover(inspector: Inspector, ingester: Ingester, part: Part) -> Iterator[Tally]:
    """Bring in what a part misses; yields after each page and after each call, so that the caller may stop there."""
    for findings in inspector.pages(part):
        yield findings.tally
        for call in findings.to_recover:
            ingester.ingest(inspector.tenant.tenant_id, call)
            yield ONE_RECOVERED


@dataclass(frozen=True)
class Step:
    """Progress of a backfill. `ends_day` closes a day, whose calls were counted by the steps before."""

    part: Part
    tally: Tally = NOTHING
    ends_day: bool = False
    skipped: bool = False
    """The day was finished by an earlier, interrupted backfill, and its calls are counted from there."""


def run_preview(inspector: Inspector, parts: Sequence[Part]) -> Generator[Step]:
    """A dry run: everything is looked at, nothing kept."""
    for part in parts:
        yield from (Step(part, tally) for tally in preview(inspector, part))
        yield Step(part, ends_day=True)


def run_backfill(inspector: Inspector, ingester: Ingester, parts: Sequence[Part]) -> Generator[Step]:
    """Bring in what the parts miss, oldest day first.

    A day whose calls are all dealt with is remembered, and a run that was stopped does not list it again. A run
    that comes to its end forgets that. Whole days leave a report.
    """
    tenant_id, store = inspector.tenant.tenant_id, inspector.store
    first, last = parts[0].day, parts[-1].day
    finished = store.finished_days(tenant_id, first, last)
    for part in parts:
        done = finished.get(part.day)
        if done and done.covers(part):
            yield Step(part, done.tally, ends_day=True, skipped=True)
            continue
        total = NOTHING
        for tally in recover(inspector, ingester, part):
            total += tally
            yield Step(part, tally)
        if part.is_whole_day:
            store.write_report(tenant_id, part, total)
        if total.is_settled:
            store.save_finished(tenant_id, part, total)
        yield Step(part, ends_day=True)
    store.clear_finished(tenant_id, first, last)
