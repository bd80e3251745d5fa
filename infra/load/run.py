"""Runs a load test: signs, sends, follows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from infra.load.calls import signed_calls
from infra.load.fate import follow
from infra.load.report import LoadResult
from infra.load.sender import send_all
from shared.settings import Settings

Tell = Callable[[str, int, int], None]
"""What is counted, how many there are, of how many."""


@dataclass(frozen=True)
class LoadOptions:
    """What the command line asks for, checked."""

    url: str
    tenant_id: str
    company_id: str
    key: str = field(repr=False)
    rate: float
    count: int
    settle_s: float
    run: str


def run_load(options: LoadOptions, settings: Settings, *, tell: Tell) -> LoadResult:
    """Send everything, then follow what was accepted through the pipeline's own tables."""
    from handlers import wiring

    reader = wiring.calls(settings)
    # Before anything is sent: whoever cannot read the outcome must not make it.
    reader.story(options.tenant_id, "CALload-none")
    signed = list(
        signed_calls(options.run, count=options.count, company_id=options.company_id, key=options.key, now=wiring.now())
    )
    answers = send_all(
        options.url, signed, rate=options.rate, report=lambda number: tell("sent", number, options.count)
    )
    accepted = [answer for answer in answers if answer.status == 202]
    fate = follow(
        reader,
        options.tenant_id,
        accepted,
        timeout_s=options.settle_s,
        report=partial(_followed, tell, len(accepted)),
    )
    return LoadResult(options.run, options.url, options.rate, answers, fate)


def _followed(tell: Tell, count: int, number: int) -> None:
    tell("followed", number, count)
