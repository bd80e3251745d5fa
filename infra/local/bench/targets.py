"""What the figures are held against (README.md; docs/operations/bench.md says where each comes from)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from infra.local.bench.counting import Cost
from infra.local.bench.race import RaceResult
from infra.local.bench.replay import ReplayResult
from infra.local.bench.startup import Start

RATIO_TO_BARE = 0.90
RPS_AT_512 = 3_564
"""What Mozilla's ingestion-edge reached on two cores with the same emulator and load generator."""
RECEIVER_READY_S = 1.5
REPLAY_P95_RATIO = 1.10
"""How much a capped replay may lengthen the p95 of live calls."""
STAGE_COSTS: Mapping[str, Cost] = {
    "download": Cost(commits=2, reads=1, publishes=1, other=0),
    "transcribe.submit": Cost(commits=3, reads=1, publishes=0, other=0),
    "transcribe.collect": Cost(commits=2, reads=1, publishes=1, other=0),
    "analyze": Cost(commits=2, reads=1, publishes=1, other=0),
    "crm_sync": Cost(commits=4, reads=1, publishes=1, other=0),
}
"""Two commits for each delivery, and one for each checkpoint that guards something paid for or visible outside: the
operation at Speech, and each of the two CRMs. `other` calls are shown, not judged."""


@dataclass(frozen=True)
class Verdict:
    """One target; `miss` says by how much it was missed and is empty when it was met."""

    name: str
    target: str
    measured: str
    miss: str = ""

    @property
    def is_met(self) -> bool:
        return not self.miss


def judge_race(race: RaceResult) -> list[Verdict]:
    """The receiver's targets."""
    verdicts = [_judge_ratio("all numbers of connections", race.ratio_to_bare)]
    verdicts += [_judge_ratio(f"{connections} connections", race.ratio_at(connections)) for connections in race.bare]
    miss = f"{race.lost} lost" if race.lost else ""
    verdicts.append(Verdict("receiver: answered with success and not kept", "none", str(race.lost), miss))
    if 512 in race.receiver:
        verdicts.append(_judge_rps(race.receiver[512].rps, bare=race.bare[512].rps))
    return verdicts


def _judge_ratio(where: str, ratio: float) -> Verdict:
    miss = "" if ratio >= RATIO_TO_BARE else f"{(RATIO_TO_BARE - ratio) * 100:.1f} points short"
    return Verdict(f"receiver, of the bare handler: {where}", f"at least {RATIO_TO_BARE:.0%}", f"{ratio:.1%}", miss)


def _judge_rps(rps: float, *, bare: float) -> Verdict:
    miss = f"{1 - rps / RPS_AT_512:.0%} short; the bare handler reached {bare:,.0f}" if rps < RPS_AT_512 else ""
    return Verdict("receiver, requests/s: 512 connections", f"at least {RPS_AT_512:,}", f"{rps:,.0f}", miss)


def judge_stages(costs: Mapping[str, Cost]) -> list[Verdict]:
    """One verdict for each stage."""
    return [_judge_stage(stage, cost, STAGE_COSTS[stage]) for stage, cost in costs.items()]


def _judge_stage(stage: str, cost: Cost, most: Cost) -> Verdict:
    over = {
        "commits": cost.commits - most.commits,
        "reads": cost.reads - most.reads,
        "publishes": cost.publishes - most.publishes,
    }
    miss = ", ".join(f"{count} {what} too many" for what, count in over.items() if count > 0)
    return Verdict(f"{stage}: commits/reads/publishes", f"at most {_triple(most)}", _triple(cost), miss)


def _triple(cost: Cost) -> str:
    return f"{cost.commits}/{cost.reads}/{cost.publishes}"


def judge_starts(starts: Mapping[str, Start]) -> list[Verdict]:
    """The receiver alone has a target: it is what a sudden wave of calls waits for."""
    seconds = starts["webhook"].seconds
    miss = "" if seconds <= RECEIVER_READY_S else f"{seconds - RECEIVER_READY_S:.2f} s late"
    return [Verdict("receiver: ready after its start", f"within {RECEIVER_READY_S} s", f"{seconds:.2f} s", miss)]


def judge_replay(replay: ReplayResult) -> list[Verdict]:
    """Live calls must hardly feel a capped replay, and every letter that is due must arrive."""
    ratio = replay.p95_ratio
    miss = f"{(ratio - REPLAY_P95_RATIO) * 100:.0f} points over" if ratio > REPLAY_P95_RATIO else ""
    left = replay.due - replay.arrived
    return [
        Verdict(
            "replay: p95 of live calls, of what it is alone", f"at most {REPLAY_P95_RATIO:.0%}", f"{ratio:.0%}", miss
        ),
        Verdict(f"replay: of {replay.due} letters, not arrived", "none", str(left), f"{left} remain" if left else ""),
    ]
