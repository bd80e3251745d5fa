"""The receiver beside the bare handler: the same load, in turns, so that the machine's moods hit both alike."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.local.bench.backlog import Backlog, open_backlogs
from infra.local.bench.contestants import WORKERS, Contestant, contestants, topic_of
from infra.local.bench.webhooks import write_webhooks
from infra.local.bench.wrk import Findings, find_wrk, run_wrk
from infra.local.errors import Report
from shared.pipeline import load_pipeline

_WARM_UP_CONNECTIONS = 64
_WARM_UP_S = 4
"""Long enough for both processes of the receiver to load Spanner's client for the one look-up of the tenant."""
_KEPT_IN_INBOX = b'"webhook_kept_in_inbox"'


@dataclass(frozen=True)
class Course:
    """How long and how wide to race."""

    connections: tuple[int, ...] = (1, 32, 128, 512)
    rounds: int = 3
    seconds: int = 5


@dataclass(frozen=True)
class Round:
    """One run of one contestant.

    `published` is what then lay in its topic, `kept` what went to the inbox because Pub/Sub did not confirm in time.
    """

    findings: Findings
    published: int
    kept: int = 0

    @property
    def lost(self) -> int:
        """Answered with success and neither published nor kept; requests cut off at the end explain the contrary."""
        return max(0, self.findings.accepted - self.published - self.kept)


@dataclass(frozen=True)
class Figures:
    """One contestant at one number of connections: totals of all rounds, percentiles as medians of the rounds."""

    rps: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    errors: int
    kept: int
    lost: int


@dataclass(frozen=True)
class RaceResult:
    """Figures by number of connections."""

    bare: Mapping[int, Figures]
    receiver: Mapping[int, Figures]
    workers: int
    threads: int

    def ratio_at(self, connections: int) -> float:
        """The receiver's requests/s as a part of the bare handler's."""
        return self.receiver[connections].rps / self.bare[connections].rps

    @property
    def ratio_to_bare(self) -> float:
        """The same over the whole race: every round took equally long, so requests/s may be added."""
        return sum(one.rps for one in self.receiver.values()) / sum(one.rps for one in self.bare.values())

    @property
    def p99_ms(self) -> float:
        """The worst of all numbers of connections."""
        return max(one.p99_ms for one in self.receiver.values())

    @property
    def lost(self) -> int:
        return sum(one.lost for one in self.receiver.values())


def run_race(env: Mapping[str, str], *, key: str, course: Course, report: Report) -> RaceResult:
    """Race against a running stack; `env` is its workers' environment, `key` the demo tenant's signing key."""
    wrk = find_wrk(report)
    with tempfile.TemporaryDirectory(prefix="pipeline-bench-") as name:
        folder = Path(name)
        webhooks = folder / "webhooks.tsv"
        write_webhooks(webhooks, key=key)
        topics = [topic_of("bare"), topic_of("receiver")]
        with (
            open_backlogs(env["PUBSUB_EMULATOR_HOST"], topics=topics) as backlogs,
            contestants(env, key=key, folder=folder / "logs") as pair,
        ):
            return _Race(wrk, webhooks, backlogs, report).run(pair, course)


@dataclass(frozen=True)
class _Race:
    wrk: Path
    webhooks: Path
    backlogs: Mapping[str, Backlog]
    report: Report

    def run(self, pair: tuple[Contestant, Contestant], course: Course) -> RaceResult:
        for contestant in pair:
            self._round(contestant, connections=_WARM_UP_CONNECTIONS, seconds=_WARM_UP_S)
        seen: dict[str, dict[int, Figures]] = {contestant.name: {} for contestant in pair}
        for connections in course.connections:
            rounds: dict[str, list[Round]] = {contestant.name: [] for contestant in pair}
            for number in range(course.rounds):
                # Whoever goes second finds a machine that is still busy with the first.
                for contestant in pair if number % 2 == 0 else reversed(pair):
                    one = self._round(contestant, connections=connections, seconds=course.seconds)
                    rounds[contestant.name].append(one)
            for name, all_of_them in rounds.items():
                seen[name][connections] = sum_up(all_of_them)
                self.report(f"{name}, {connections} connections: {seen[name][connections].rps:,.0f} requests/s")
        threads = load_pipeline().services["webhook"].concurrency
        return RaceResult(bare=seen["bare"], receiver=seen["receiver"], workers=WORKERS, threads=threads)

    def _round(self, contestant: Contestant, *, connections: int, seconds: int) -> Round:
        kept_before = _count_kept(contestant.log)
        findings = run_wrk(self.wrk, contestant.url, webhooks=self.webhooks, connections=connections, seconds=seconds)
        published = self.backlogs[contestant.topic].take_all()
        return Round(findings, published, kept=_count_kept(contestant.log) - kept_before)


def _count_kept(log: Path) -> int:
    """Webhooks kept in the inbox, by the receiver's log: a body that comes again is the same object there."""
    with log.open("rb") as lines:
        return sum(_KEPT_IN_INBOX in line for line in lines)


def sum_up(rounds: Sequence[Round]) -> Figures:
    """The rounds of one contestant at one number of connections as one."""
    findings = [one.findings for one in rounds]
    return Figures(
        rps=sum(one.accepted for one in findings) / sum(one.duration_s for one in findings),
        p50_ms=statistics.median(one.p50_ms for one in findings),
        p95_ms=statistics.median(one.p95_ms for one in findings),
        p99_ms=statistics.median(one.p99_ms for one in findings),
        errors=sum(one.errors for one in findings),
        kept=sum(one.kept for one in rounds),
        lost=sum(one.lost for one in rounds),
    )
