"""The result of a load test: exact percentiles of every answer, errors by status, loss from end to end."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from infra.load.fate import Fate
from infra.load.sender import NO_ANSWER, Answer

PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9, 100.0)
SLO_P95_S = 2.0
"""The production guide's objective for the webhook: 95th percentile under 2 s."""


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile of an ascending sequence: a value that was measured, never one in between."""
    if not ordered:
        return math.nan
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


@dataclass(frozen=True)
class LoadResult:
    """One run. Every sample is kept (at most 100,000), so no histogram's rounding stands between it and the figures."""

    run: str
    url: str
    rate: float
    answers: tuple[Answer, ...]
    fate: Fate

    @property
    def statuses(self) -> Counter[int]:
        return Counter(answer.status for answer in self.answers)

    @property
    def errors(self) -> int:
        """Answers other than 202, none included."""
        return sum(count for status, count in self.statuses.items() if status != 202)

    @property
    def holds(self) -> bool:
        """Every webhook accepted, every call in the CRMs, the guide's objective met."""
        all_done = self.fate.states["done"] == len(self.answers)
        return not self.errors and all_done and percentile(self.latencies_s(), 95) < SLO_P95_S

    def latencies_s(self) -> list[float]:
        """Ascending; requests without an answer count with the time that was waited."""
        return sorted(answer.latency_s for answer in self.answers)

    def document(self) -> dict[str, Any]:
        """The JSON form; times in milliseconds or seconds as the names say."""
        late = sorted(answer.late_s for answer in self.answers)
        last = max(answer.due_s + answer.latency_s for answer in self.answers)
        return {
            "run": self.run,
            "url": self.url,
            "rate_per_s": self.rate,
            "requests": len(self.answers),
            "achieved_per_s": round(len(self.answers) / last, 1),
            "statuses": {_status(status): count for status, count in sorted(self.statuses.items())},
            "errors": self.errors,
            "latency_ms": _table(self.latencies_s(), scale=1000),
            "sender_late_ms": _table(late, scale=1000),
            "end_to_end_s": _table(sorted(self.fate.end_to_end_s), scale=1),
            "states": dict(sorted(self.fate.states.items())),
            "lost": self.fate.lost,
            "unfinished": self.fate.unfinished,
            "followed_for_s": round(self.fate.waited_s, 1),
            "holds": self.holds,
        }


def lines_of(document: dict[str, Any]) -> list[str]:
    """The document for people."""
    states = ", ".join(f"{count} {state}" for state, count in document["states"].items()) or "none accepted"
    answers = ", ".join(f"{count} × {status}" for status, count in document["statuses"].items())
    return [
        f"{document['requests']} webhooks at {document['rate_per_s']:g}/s to {document['url']} "
        f"({document['achieved_per_s']:g}/s until the last answer)",
        f"answers       {answers}; {document['errors']} errors",
        f"latency       {_words(document['latency_ms'], 'ms')}",
        f"sender late   {_words(document['sender_late_ms'], 'ms')}",
        f"end to end    {_words(document['end_to_end_s'], 's')}",
        f"calls         {states}; {document['lost']} lost, {document['unfinished']} unfinished",
    ]


def _table(ordered: Sequence[float], *, scale: float) -> dict[str, float]:
    if not ordered:
        return {}
    return {
        "max" if percent == 100 else f"p{percent:g}": round(percentile(ordered, percent) * scale, 1)
        for percent in PERCENTILES
    }


def _words(table: dict[str, float], unit: str) -> str:
    return ", ".join(f"{name} {value:g} {unit}" for name, value in table.items()) or "nothing measured"


def _status(status: int) -> str:
    return "no answer" if status == NO_ANSWER else str(status)
