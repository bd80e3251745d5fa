"""A replay beside live calls: it goes by how long they take."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from shared.desk_jobs import JobReport, Progress
from shared.desk_pace import ENOUGH_FOR_A_VERDICT, ENOUGH_LIVE
from tests.support.desk_bench import OURS, THEIRS, DeskBench
from tests.support.pipeline_database import PipelineDatabase

pytestmark = pytest.mark.emulators

LETTERS = 4
LIVE = 180
"""Live calls that are the measure, two a second."""
_COLUMNS = "tenant_id request_id call_id kind origin state stage received_at created_at updated_at finished_at"
_numbers = count(1)


@pytest.fixture
def bench(pipeline_database: PipelineDatabase) -> DeskBench:
    bench = DeskBench(pipeline_database)
    bench.seed(LETTERS)
    return bench


def live_calls(
    bench: DeskBench,
    number: int,
    *,
    took_s: float,
    ended_ago_s: float = 0.0,
    apart_s: float = 0.5,
    tenant_id: str = OURS,
    kind: str = "post_call",
    origin: str = "webhook",
) -> None:
    """So many calls that went all the way, as rows."""
    now = datetime.now(UTC)
    rows = []
    for position in range(number):
        one = next(_numbers)
        ended_at = now - timedelta(seconds=ended_ago_s + position * apart_s)
        received_at = ended_at - timedelta(seconds=took_s)
        what = (tenant_id, f"r-live-{one}", f"CALlive{one}", kind, origin, "done", "crm_sync")
        rows.append((*what, received_at, ended_at, ended_at, ended_at))
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
            live_calls(self.bench, ENOUGH_FOR_A_VERDICT, took_s=self.took_s, apart_s=0.0)

    @property
    def rates(self) -> list[float]:
        return [progress.rate for progress in self.seen]


def test_beside_live_calls_it_begins_slowly_and_arrives(bench: DeskBench) -> None:
    live_calls(bench, LIVE, took_s=0.01, ended_ago_s=5)  # two a second

    watched = Watched(bench)

    assert watched.report.counts == {"arrived": LETTERS}
    assert watched.rates[0] == pytest.approx(2 / 20, rel=0.05)
    assert bench.seconds > (LETTERS - 1) * 10


def test_a_neighbours_live_calls_come_first_too(bench: DeskBench) -> None:
    """They wait for the same workers and the same database."""
    live_calls(bench, LIVE, took_s=0.01, ended_ago_s=5, tenant_id=THEIRS)

    watched = Watched(bench)

    assert watched.report.counts == {"arrived": LETTERS}
    assert watched.rates[0] == pytest.approx(2 / 20, rel=0.05)


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
    assert watched.rates == pytest.approx([0.1] * len(watched.rates), rel=0.05)


@pytest.mark.parametrize(
    "others",
    [
        {"number": ENOUGH_LIVE - 1},
        {"number": LIVE, "ended_ago_s": 3600},
        {"number": LIVE, "kind": "pre_call"},
        {"number": LIVE, "origin": "backfill"},
    ],
    ids=["too few", "long ago", "no calls", "a backfill's"],
)
def test_without_live_calls_the_cap_alone_holds(bench: DeskBench, others: dict[str, object]) -> None:
    live_calls(bench, **({"took_s": 0.01, "ended_ago_s": 5} | others))  # type: ignore[arg-type] # one table of all kinds

    watched = Watched(bench)

    assert set(watched.rates) == {10.0}


def test_whoever_does_not_want_it_is_not_slowed_down(bench: DeskBench) -> None:
    live_calls(bench, LIVE, took_s=0.01, ended_ago_s=5)

    watched = Watched(bench, max_slowdown=0.0, took_s=60.0)

    assert set(watched.rates) == {10.0}
