"""After the storm: lets the stack come to rest, replays what it gave up, and lets it rest again."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx

from infra.local.chaos.audit import FINAL, is_unresolved
from infra.local.chaos.evidence import Witness
from shared.dead_letters import LETTER_STATES, DeadLetter, LetterFilter
from shared.desk import Desk
from shared.desk_jobs import MOST_A_SECOND, ReplayOptions
from shared.desk_replay import ReplayDesk
from shared.desk_replay_run import JobRun
from shared.errors import PipelineError
from shared.inbox import PREFIX as INBOX

_LOOK_EVERY_S = 1.0
_LOOK_SHARE = 0.1
"""Looking reads every row: of the database's time it takes this share at most, and the rest is the pipeline's."""
_REPLAY_AFTER_S = 4.0
"""A letter that has been open for so long is replayed: whatever was to come of it has come."""
_STILL_S = 90.0
"""Nothing has moved for so long, although something waits for a minute at most: it will not move any more."""
_ACTOR = "chaos"


@dataclass(frozen=True)
class Rest:
    """How it ended: what is still open, how long it took, how many dead letters were sent again."""

    is_quiet: bool
    seconds: float
    replayed: int


@dataclass(frozen=True)
class _Picture:
    """What is left to be done."""

    moving: frozenset[tuple[str, str, str, int]]
    given_up: frozenset[str]
    letters: frozenset[tuple[str, int, int]]
    kept: int

    @property
    def is_quiet(self) -> bool:
        return not (self.moving or self.given_up or self.letters or self.kept)

    def line(self) -> str:
        """For people."""
        return (
            f"{len(self.moving)} on the way, {len(self.given_up)} given up, {len(self.letters)} dead letters, "
            f"{self.kept} in the inbox"
        )


def settle(witness: Witness, desk: Desk, *, most_s: float, report: Callable[[str], None]) -> Rest:
    """Return when nothing is left to do, when nothing has moved for long, or after `most_s` seconds."""
    begun = moved_at = time.monotonic()
    replays = _Replays(desk)
    before: _Picture | None = None
    while (now := time.monotonic()) < begun + most_s:
        picture, letters = _look(witness)
        looked_for_s = time.monotonic() - now
        if picture.is_quiet:
            return Rest(is_quiet=True, seconds=now - begun, replayed=replays.count)
        if picture != before:
            report(picture.line())
            before, moved_at = picture, now
        elif now >= moved_at + _STILL_S:
            break  # only a look can tell: beside it, sending many letters again takes a minute
        replays.send_old(letters, now=now)
        time.sleep(max(_LOOK_EVERY_S, looked_for_s / _LOOK_SHARE))
    return Rest(is_quiet=False, seconds=time.monotonic() - begun, replayed=replays.count)


@dataclass
class _Replays:
    """Sends each letter again once it has been open for a while; once more when it comes back.

    All that are due go with one replay, as an operator would have it: each replay reads through the tables of what is
    on its way.
    """

    desk: Desk
    count: int = 0
    _seen_open: dict[tuple[str, int, int], float] = field(default_factory=dict)

    def send_old(self, letters: list[DeadLetter], *, now: float) -> None:
        due: list[str] = []
        for letter in letters:
            if letter.state != "open":
                continue
            key = (letter.dead_letter_id, letter.occurrences, letter.replays)
            if now - self._seen_open.setdefault(key, now) >= _REPLAY_AFTER_S:
                due.append(letter.dead_letter_id)
        if due:
            self.count += _replay(self.desk, tuple(due))


def _look(witness: Witness) -> tuple[_Picture, list[DeadLetter]]:
    """An emulator that has just thawed may not answer yet: then the next look counts."""
    while True:
        with contextlib.suppress(PipelineError, httpx.HTTPError):
            requests, runs = witness.rows()
            letters = [letter for letter in witness.letters() if is_unresolved(letter)]
            picture = _Picture(
                moving=frozenset(
                    (run.request_id, run.stage, run.state, run.attempt)
                    for run in runs
                    if run.state not in {"done", "failed"}
                )
                | frozenset((row.request_id, row.stage, row.state, 0) for row in requests if row.state not in FINAL),
                given_up=frozenset(run.request_id for run in runs if run.state == "failed"),
                letters=frozenset((letter.dead_letter_id, letter.occurrences, letter.replays) for letter in letters),
                kept=len(witness.objects(INBOX)),
            )
            return picture, letters
        time.sleep(_LOOK_EVERY_S)


def _replay(desk: Desk, ids: tuple[str, ...]) -> int:
    """How many were sent: fewer where some were closed meanwhile, or the database or Pub/Sub did not answer."""
    replays = ReplayDesk(desk)
    options = ReplayOptions(rate=MOST_A_SECOND, max_slowdown=0, wait_s=0)
    with contextlib.suppress(PipelineError):
        plan = replays.plan(LetterFilter(states=LETTER_STATES, ids=ids), options, words="whatever was given up")
        if plan.letters:
            job = replays.create(plan, actor=_ACTOR)
            report = JobRun(replays, pause=lambda _seconds: False).run(job.job_id)
            return sum(report.counts.get(state, 0) for state in ("sent", "arrived", "failed"))
    return 0
