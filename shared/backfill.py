"""What a backfill looks at and which calls it brings in: decided from CallRail's call objects and what we hold alone.

Times are UTC. A window is cut into days, because a day is what progress and reports are kept for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Set
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, time, timedelta

from schemas.calls import CallDetails
from schemas.tenant import Tenant
from schemas.webhooks import Payload, WebhookShapeError, parse_webhook
from shared.errors import ConfigurationError

HORIZON = timedelta(days=730)
"""How far back a backfill may go: CallRail answers for 25 months, and our own rows live 760 days. Beyond that a call
that we had would look like one that we never saw."""
WEBHOOK_DELAY = timedelta(minutes=20)
"""CallRail holds the post-call webhook back for the recording, so long at most (callrail.md §3)."""
MARGIN = timedelta(minutes=10)
"""For the webhook's way through Pub/Sub and the first stage."""
LONGEST_CALL = timedelta(hours=24)
"""A call in progress for longer is one whose end CallRail missed: better a bare record than a lost call."""
IN_PROGRESS = "in_progress"

_AGO = re.compile(r"^(?P<count>\d{1,4})(?P<unit>[dh])$")
_UNITS = {"d": "days", "h": "hours"}


# -- the window ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """One day of a window, or the part of a day that lies in it. `until` belongs to it, as CallRail's dates do."""

    day: date
    since: datetime
    until: datetime
    is_whole_day: bool
    """Whether everything of that day that has happened so far lies in it: then it makes a report."""

    @property
    def ends_day(self) -> bool:
        return self.until.date() > self.day

    def holds(self, details: CallDetails) -> bool:
        """False for a call in the first second of the next day, which is listed with the day's end."""
        started = details.started_at
        return not (self.ends_day and started and self.until <= started < self.until + timedelta(seconds=1))


@dataclass(frozen=True)
class Window:
    """From when to when calls are looked at, by the time they began. Whole seconds, `until` not in the future."""

    since: datetime
    until: datetime

    def parts(self, *, now: datetime) -> tuple[Part, ...]:
        """The days of the window, oldest first.

        A part ends with the first second of the next day: CallRail's bounds are whole seconds, and a call in the
        last second of a day must lie in one of two parts.
        """
        made: list[Part] = []
        day = self.since.date()
        while (midnight := _midnight(day)) < self.until:
            following = _midnight(day + timedelta(days=1))
            since, until = max(self.since, midnight), min(self.until, following)
            reaches_end = until == following or until >= now.replace(microsecond=0)
            made.append(Part(day, since, until, is_whole_day=since == midnight and reaches_end))
            day += timedelta(days=1)
        return tuple(made)


def window_of(since: str, until: str | None, *, now: datetime) -> Window:
    """The window that an operator wrote.

    `since`: `7d`, `36h`, a date (from its first second) or a date-time; `until`: a date (to its end), a date-time or
    nothing for now. Without an offset both are UTC. Raises `ConfigurationError`.
    """
    start = _moment(since, now=now, edge=timedelta(0), name="--since")
    end = now if until is None else _moment(until, now=now, edge=timedelta(days=1), name="--until")
    window = Window(start.replace(microsecond=0), min(end, now).replace(microsecond=0))
    if window.since >= window.until:
        raise ConfigurationError("empty_window", "--since must lie before --until and in the past")
    if window.since < now - HORIZON:
        raise ConfigurationError(
            "window_too_old",
            f"--since lies more than {HORIZON.days} days back",
            fix=f"start on {(now - HORIZON).date() + timedelta(days=1)} or later",
        )
    return window


def recent_days(*, now: datetime) -> Window:
    """Yesterday and today."""
    return Window(_midnight(now.date() - timedelta(days=1)), now.replace(microsecond=0))


def whole_day(day: date) -> Window:
    """One day that is over."""
    return Window(_midnight(day), _midnight(day + timedelta(days=1)))


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, tzinfo=UTC)


def _moment(text: str, *, now: datetime, edge: timedelta, name: str) -> datetime:
    """`edge` is added to a bare date: nothing for its start, a day for its end."""
    try:
        if ago := _AGO.match(text):
            return now - timedelta(**{_UNITS[ago["unit"]]: int(ago["count"])})
        if len(text) == len("2026-11-23"):
            return _midnight(date.fromisoformat(text)) + edge
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise ConfigurationError(
            "unreadable_time",
            f"{name} cannot be read: {text!r}",
            fix="write 7d, 36h, 2026-11-23 or 2026-11-23T14:30:00 (UTC, or with an offset)",
        ) from error


# -- access -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ApiAccess:
    """How a tenant's calls are asked for at CallRail: its account, and the name of the secret with its API key."""

    account_id: str
    key_secret: str


def access_of(tenant: Tenant) -> ApiAccess | None:
    """None when the tenant gave no account or no key."""
    config = tenant.config
    if not config.callrail_account_id or not config.callrail_api_key_secret:
        return None
    return ApiAccess(config.callrail_account_id, config.callrail_api_key_secret)


def require_access(tenant: Tenant) -> ApiAccess:
    """Raises `ConfigurationError` naming what is missing."""
    access = access_of(tenant)
    if access:
        return access
    given = {
        "callrail_account_id": tenant.config.callrail_account_id,
        "callrail_api_key_secret": tenant.config.callrail_api_key_secret,
    }
    missing = " and ".join(name for name, value in given.items() if not value)
    raise ConfigurationError(
        "callrail_access_missing",
        f"tenant {tenant.tenant_id} has no {missing}: its calls cannot be listed",
        fix=f"add {missing} to its configuration with `pipeline tenant update {tenant.tenant_id}`",
    )


# -- the comparison -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tally:
    """Counted calls; `listed` is the sum of all others but `recovered`."""

    listed: int = 0
    had: int = 0
    """Their chain was started before."""
    never_seen: int = 0
    never_started: int = 0
    """Known from a pre-call, routing or modification webhook, but the end of the call never arrived."""
    too_young: int = 0
    """Going on, or ended so lately that the webhook may still come."""
    refused: int = 0
    """Unreadable, or of another company than asked for: they need a person."""
    recovered: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(getattr(self, item.name) + getattr(other, item.name) for item in fields(self)))

    @property
    def missing(self) -> int:
        """Calls whose chain should have been started and was not, when they were looked at."""
        return self.never_seen + self.never_started

    @property
    def ours(self) -> int:
        """Calls whose chain is started now."""
        return self.had + self.recovered

    @property
    def left_behind(self) -> int:
        """What is still missing: a reason for exit status 1."""
        return self.missing - self.recovered + self.refused

    @property
    def is_settled(self) -> bool:
        """Whether another look could find nothing more."""
        return not self.left_behind and not self.too_young


NOTHING = Tally()
ONE_RECOVERED = Tally(recovered=1)


@dataclass(frozen=True)
class ListedCall:
    """A call as CallRail's API shows it, and in our own words."""

    details: CallDetails
    payload: Payload


@dataclass(frozen=True)
class Findings:
    """What one page of the list came to."""

    tally: Tally = NOTHING
    to_recover: tuple[ListedCall, ...] = ()


def call_key(payload: Payload) -> str:
    """CallRail's id of a listed call; empty when it has none."""
    return str(payload.get("id") or "")


def read_call(payload: Payload, *, company_id: str) -> ListedCall | None:
    """The call, or None when it cannot be read or is not of the company that was asked for."""
    try:
        details = parse_webhook(payload)
    except WebhookShapeError:
        return None
    return ListedCall(details, payload) if _is_of(details.company_id, asked_for=company_id) else None


def _is_of(company_id: str, *, asked_for: str) -> bool:
    """An old, numeric company id is answered with the new one: only ids of one generation can be compared."""
    return not company_id or company_id.isdigit() != asked_for.isdigit() or company_id == asked_for


def compare(calls: Iterable[ListedCall], *, started: Set[str], seen: Set[str], now: datetime) -> Findings:
    """Sort calls into those we have, those to leave for later and those to bring in.

    `started` are the call ids whose first request exists, `seen` those that are known at all.
    """
    tally, to_recover = NOTHING, []
    for call in calls:
        call_id = call.details.call_id
        if call_id in started:
            tally += Tally(listed=1, had=1)
        elif is_too_young(call.details, now=now):
            tally += Tally(listed=1, too_young=1)
        else:
            known = call_id in seen
            tally += Tally(listed=1, never_started=int(known), never_seen=int(not known))
            to_recover.append(call)
    return Findings(tally, tuple(to_recover))


def is_too_young(details: CallDetails, *, now: datetime) -> bool:
    """Whether the call's own webhook may still be on its way."""
    if details.started_at is None:
        return False
    if details.call_type == IN_PROGRESS:
        return now < details.started_at + LONGEST_CALL
    ended_at = details.started_at + timedelta(seconds=details.duration_s or 0)
    return now < ended_at + WEBHOOK_DELAY + MARGIN
