"""After the storm: lets the stack come to rest, replays what it gave up, and lets it rest again."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from infra.local.chaos.audit import FINAL
from infra.local.chaos.evidence import Witness
from shared.dead_letters import DeadLetter
from shared.desk import Desk
from shared.errors import PipelineError
from shared.inbox import PREFIX as INBOX

_LOOK_EVERY_S = 1.0
_STILL_FOR = 4
"""So many looks that show the same picture, and only what was given up is left: time to replay."""
_CLOSED = frozenset({"closed", "discarded"})


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


def settle(witness: Witness, desk: Desk, *, most_s: float, report: Callable[[str], None]) -> Rest:
    """Return when nothing is left to do, or after `most_s` seconds."""
    begun = time.monotonic()
    replayed, still = 0, 0
    before: _Picture | None = None
    while time.monotonic() - begun < most_s:
        picture, open_letters = _look(witness)
        if picture.is_quiet:
            return Rest(is_quiet=True, seconds=time.monotonic() - begun, replayed=replayed)
        still = still + 1 if picture == before else 0
        if still == 0:
            report(
                f"{len(picture.moving)} on the way, {len(picture.given_up)} given up, "
                f"{len(open_letters)} dead letters, {picture.kept} in the inbox"
            )
        before = picture
        if open_letters and still >= _STILL_FOR:
            replayed += sum(_replay(desk, letter) for letter in open_letters)
            still = 0
        time.sleep(_LOOK_EVERY_S)
    return Rest(is_quiet=False, seconds=time.monotonic() - begun, replayed=replayed)


def _look(witness: Witness) -> tuple[_Picture, list[DeadLetter]]:
    """An emulator that has just thawed may not answer yet: then the next look counts."""
    while True:
        with contextlib.suppress(PipelineError, httpx.HTTPError):
            requests, runs = witness.rows()
            letters = [letter for letter in witness.letters() if letter.state not in _CLOSED]
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


def _replay(desk: Desk, letter: DeadLetter) -> int:
    """One letter; 0 when it could not be sent again now (closed meanwhile, or Pub/Sub did not answer)."""
    try:
        desk.replay(letter.tenant_id, letter.dead_letter_id, actor="chaos")
    except PipelineError:
        return 0
    return 1
