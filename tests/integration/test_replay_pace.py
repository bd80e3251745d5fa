"""A replay beside live calls: it goes by how long they take."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from shared import desk_live, desk_pace
from shared.desk_jobs import JobReport
from shared.desk_pace import ENOUGH_FOR_A_VERDICT, ENOUGH_LIVE
from shared.desk_replay_run import Progress
from tests.support.desk_bench import OURS, THEIRS, DeskBench
from tests.support.pipeline_database import PipelineDatabase

pytestmark = pytest.mark.emulators

LETTERS = 4
SPAN_S = 90
"""Live calls of so long are the measure here, so that a few are many a second."""
LIVE = 180
_COLUMNS = "tenant_id request_id call_id kind origin state stage received_at created_at updated_at finished_at"
_numbers = count(1)


@pytest.fixture
def bench(pipeline_database: PipelineDatabase, monkeypatch: pytest.MonkeyPatch) -> DeskBench:
    for module in (desk_live, desk_pace):
        monkeypatch.setattr(module, "LOOKED_BACK", timedelta(seconds=SPAN_S))
    bench = DeskBench(pipeline_database)
    bench.seed(LETTERS)
    return bench


def live_calls(
    bench: DeskBench,
    number: int,
    *,
    took_s: float,
    ended_ago_s: float = 0.0,
    tenant_id: str = OURS,
    kind: str = "post_call",
    origin: str = "webhook",
) -> None:
    """So many calls that went all the way, as rows."""
    ended_at = datetime.now(UTC) - timedelta(seconds=ended_ago_s)
    received_at = ended_at - timedelta(seconds=took_s)
    rows = [
        (tenant_id, f"r-live-{one}", f"CALlive{one}", kind, origin, "done", "crm_sync", received_at, *[ended_at] * 3)
        for one in (next(_numbers) for _ in range(number))
    ]
    with bench.database.database.batch() as batch:
        batch.insert("processing_requests", _COLUMNS.split(), rows)


class Watched:
    """One replay of all letters, its progress, and live calls that end during it."""

    def __init__(self, bench: DeskBench, *, took_s: float | None = None, max_slowdown: float = 0.1) -> None:
        self.bench = bench
        self.took_s = took_s
        self.seen: list[Progress] = []
        self.report: JobReport = bench.run(bench.job(rate=10.0, max_slowdown=max_slowdown), report=self._note)

    def _note(self, progress: Progress) -> None:
        self.seen.append(progress)
        if self.took_s is not None:
            live_calls(self.bench, ENOUGH_FOR_A_VERDICT, took_s=self.took_s)

    @property
    def rates(self) -> list[float]:
        return [progress.rate for progress in self.seen]


def test_beside_live_calls_it_begins_slowly_and_arrives(bench: DeskBench) -> None:
    live_calls(bench, LIVE, took_s=0.01, ended_ago_s=5)  # two a second

    watched = Watched(bench)

    assert watched.report.counts == {"arrived": LETTERS}
    assert watched.rates[0] == pytest.approx(2 / 20)
    assert bench.seconds > (LETTERS - 1) * 10


def test_it_goes_faster_while_live_calls_take_no_longer(bench: DeskBench) -> None:
    live_calls(bench, LIVE, took_s=0.01, ended_ago_s=5)

    watched = Watched(bench, took_s=0.0)

    assert watched.report.counts == {"arrived": LETTERS}
    assert watched.rates == sorted(watched.rates)
    assert watched.rates[-1] > 2 * watched.rates[0]


def test_live_calls_that_suffer_slow_it_down(bench: DeskBench) -> None:
    live_calls(bench, LIVE, took_s=0.0, ended_ago_s=5)

    watched = Watched(bench, took_s=0.001)

    assert watched.report.counts == {"arrived": LETTERS}
    assert set(watched.rates) == {0.1}
    assert watched.seen[-1].is_held_back


@pytest.mark.parametrize(
    "others",
    [
        {"number": ENOUGH_LIVE - 1},
        {"number": LIVE, "tenant_id": THEIRS},
        {"number": LIVE, "ended_ago_s": 3600},
        {"number": LIVE, "kind": "pre_call"},
        {"number": LIVE, "origin": "backfill"},
    ],
    ids=["too few", "another tenant's", "long ago", "no calls", "a backfill's"],
)
def test_without_live_calls_the_cap_alone_holds(bench: DeskBench, others: dict[str, object]) -> None:
    live_calls(bench, **({"took_s": 0.01, "ended_ago_s": 5} | others))  # type: ignore[arg-type] # one table of all kinds

    watched = Watched(bench)

    assert set(watched.rates) == {10.0}
    assert not any(progress.is_held_back for progress in watched.seen)


def test_whoever_does_not_want_it_is_not_slowed_down(bench: DeskBench) -> None:
    live_calls(bench, LIVE, took_s=0.01, ended_ago_s=5)

    watched = Watched(bench, max_slowdown=0.0, took_s=60.0)

    assert set(watched.rates) == {10.0}
