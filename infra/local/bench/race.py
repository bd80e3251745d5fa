"""The receiver beside the bare handler: same server, same load, turn by turn, so that noise is shared."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.local.bench.backlog import open_backlogs
from infra.local.bench.contestants import Contestant, contestants, topic_of
from infra.local.bench.webhooks import write_webhooks
from infra.local.bench.wrk import Findings, find_wrk, run_wrk

CONNECTIONS = (1, 32, 128, 512)
ROUNDS = 3
_WARM_UP_S = 2.0


@dataclass(frozen=True)
class Line:
    """One contestant at one number of connections, over all rounds."""

    rps: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    errors: int


@dataclass(frozen=True)
class Race:
    """Both contestants by number of connections, and whether every accepted webhook was published."""

    bare: Mapping[int, Line]
    receiver: Mapping[int, Line]
    answered: int
    published: int

    @property
    def ratio_to_bare(self) -> float:
        """Median over the numbers of connections: what the receiver's own work leaves of the bare handler's rate."""
        return statistics.median(self.receiver[count].rps / self.bare[count].rps for count in self.bare)


def run_race(env: Mapping[str, str], *, seconds: float, report: Callable[[str], None]) -> Race:
    """Measure both. Raises `ConfigurationError` when wrk cannot be had."""
    wrk = find_wrk(report)
    topics = [topic_of("bare"), topic_of("receiver")]
    with tempfile.TemporaryDirectory(prefix="pipeline-bench-") as folder:
        webhooks = Path(folder) / "webhooks.tsv"
        write_webhooks(webhooks, key=env["DEMO_WEBHOOK_SECRET"])
        with (
            open_backlogs(env["PUBSUB_EMULATOR_HOST"], topics=topics) as backlogs,
            contestants(env, key=env["DEMO_WEBHOOK_SECRET"], folder=Path(folder)) as running,
        ):
            seen: dict[tuple[str, int], list[Findings]] = {}
            published = 0
            for count in CONNECTIONS:
                for turn in range(ROUNDS):
                    for contestant in running if turn % 2 == 0 else running[::-1]:
                        report(f"{contestant.name}: {count} connections, round {turn + 1} of {ROUNDS}")
                        findings = _round(wrk, contestant, webhooks, count=count, seconds=seconds, first=turn == 0)
                        seen.setdefault((contestant.name, count), []).append(findings)
                        taken = backlogs[contestant.topic].take_all()
                        published += taken if contestant.name == "receiver" else 0
    answered = sum(one.answered for (name, _), rounds in seen.items() if name == "receiver" for one in rounds)
    lines = {key: _line(rounds) for key, rounds in seen.items()}
    by_name = {name: {count: lines[name, count] for count in CONNECTIONS} for name in ("bare", "receiver")}
    return Race(bare=by_name["bare"], receiver=by_name["receiver"], answered=answered, published=published)


def _round(wrk: Path, contestant: Contestant, webhooks: Path, *, count: int, seconds: float, first: bool) -> Findings:
    if first:
        run_wrk(wrk, contestant.url, webhooks=webhooks, connections=count, seconds=_WARM_UP_S)
    return run_wrk(wrk, contestant.url, webhooks=webhooks, connections=count, seconds=seconds)


def _line(rounds: list[Findings]) -> Line:
    """The median round's rate; of the latencies the median too; errors add up."""
    return Line(
        rps=statistics.median(one.rps for one in rounds),
        p50_ms=statistics.median(one.p50_ms for one in rounds),
        p95_ms=statistics.median(one.p95_ms for one in rounds),
        p99_ms=statistics.median(one.p99_ms for one in rounds),
        errors=sum(one.errors for one in rounds),
    )
