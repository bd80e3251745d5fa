"""Figures of the bench: what the load generator says, how rounds are summed up, what counts as a miss."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from google.cloud.spanner_v1.types import ExecuteSqlRequest, ReadRequest, TransactionSelector

from handlers.signature import callrail_signature
from infra.local.bench.counting import ClientCalls, Cost, kind_of
from infra.local.bench.machine import cpu_model
from infra.local.bench.race import Figures, RaceResult, Round, sum_up
from infra.local.bench.replay import LiveFigures, ReplayCourse, ReplayResult
from infra.local.bench.sealing import measure
from infra.local.bench.startup import Start
from infra.local.bench.targets import judge_race, judge_replay, judge_stages, judge_starts
from infra.local.bench.webhooks import BODY_BYTES, COUNT, write_webhooks
from infra.local.bench.wrk import Findings, read_findings
from schemas.webhooks import infer_kind


def figures(rps: float, *, p99_ms: float = 9.0, lost: int = 0) -> Figures:
    return Figures(rps=rps, p50_ms=1.0, p95_ms=5.0, p99_ms=p99_ms, errors=0, kept=0, lost=lost)


def race(*, bare: dict[int, Figures], receiver: dict[int, Figures]) -> RaceResult:
    return RaceResult(bare=bare, receiver=receiver, workers=2, threads=80)


def findings(accepted: int, *, seconds: float = 1.0, p50_ms: float = 1.0, errors: int = 0) -> Findings:
    return Findings(accepted=accepted, duration_s=seconds, p50_ms=p50_ms, p95_ms=2.0, p99_ms=3.0, errors=errors)


def test_an_answer_without_success_is_an_error_and_not_a_request_served() -> None:
    line = (
        '{"answered": 100, "duration_s": 2.0, "p50_ms": 1.5, "p95_ms": 3, "p99_ms": 4, '
        '"bad_status": 10, "connect": 1, "read": 2, "write": 3, "timeout": 4}'
    )
    seen = read_findings(line)
    assert seen.accepted == 90
    assert seen.errors == 20


def test_rounds_are_summed_up_by_requests_and_seconds_and_by_the_median_of_their_percentiles() -> None:
    rounds = [
        Round(findings(100, seconds=1.0, p50_ms=1.0, errors=1), published=100),
        Round(findings(500, seconds=3.0, p50_ms=9.0, errors=2), published=500),
        Round(findings(200, seconds=1.0, p50_ms=2.0), published=200),
    ]
    summed = sum_up(rounds)
    assert (summed.rps, summed.p50_ms, summed.errors, summed.lost) == (160.0, 2.0, 3, 0)


@pytest.mark.parametrize(
    ("accepted", "published", "kept", "lost"), [(10, 10, 0, 0), (10, 8, 0, 2), (10, 8, 2, 0), (10, 74, 0, 0)]
)
def test_lost_is_what_was_answered_with_success_and_neither_published_nor_kept(
    accepted: int, published: int, kept: int, lost: int
) -> None:
    # More published than answered is no loss: at the end, senders hang up on requests that are under way.
    assert Round(findings(accepted), published=published, kept=kept).lost == lost


def test_the_ratio_compares_what_was_served_over_the_whole_race() -> None:
    result = race(bare={1: figures(100), 32: figures(900)}, receiver={1: figures(200), 32: figures(700, p99_ms=40)})
    assert result.ratio_to_bare == pytest.approx(0.9)
    assert result.ratio_at(32) == pytest.approx(700 / 900)
    assert result.p99_ms == 40


def test_a_missed_target_says_by_how_much() -> None:
    result = race(bare={512: figures(2000)}, receiver={512: figures(1782, lost=3)})
    misses = {verdict.name: verdict.miss for verdict in judge_race(result)}
    assert misses == {
        "receiver, of the bare handler: all numbers of connections": "0.9 points short",
        "receiver, of the bare handler: 512 connections": "0.9 points short",
        "receiver: answered with success and not kept": "3 lost",
        "receiver, requests/s: 512 connections": "50% short; the bare handler reached 2,000",
    }


def test_met_targets_are_met() -> None:
    result = race(bare={512: figures(3900)}, receiver={512: figures(3564)})
    assert all(verdict.is_met for verdict in judge_race(result))
    assert all(verdict.is_met for verdict in judge_stages({"analyze": Cost(2, 1, 1, other=7)}))
    assert all(verdict.is_met for verdict in judge_starts({"webhook": Start(1.5, rss_mib=90.0)}))


def test_a_stage_that_costs_too_much_is_told_what() -> None:
    (verdict,) = judge_stages({"download": Cost(commits=4, reads=2, publishes=1, other=0)})
    assert verdict.miss == "2 commits too many, 1 reads too many"


def test_a_receiver_that_starts_late_is_told_so() -> None:
    (verdict,) = judge_starts({"webhook": Start(1.75, rss_mib=90.0), "download": Start(9.0, rss_mib=90.0)})
    assert verdict.miss == "0.25 s late"


@pytest.mark.parametrize(
    ("method", "sql", "kind"),
    [
        ("commit", "", "commit"),
        ("execute_streaming_sql", "SELECT 1", "select"),
        ("execute_streaming_sql", "  with x as (select 1) select * from x", "select"),
        ("execute_sql", "UPDATE stage_runs SET state = @state WHERE TRUE", "dml"),
    ],
)
def test_a_query_counts_as_a_read_and_dml_does_not(method: str, sql: str, kind: str) -> None:
    assert kind_of(method, {"request": ExecuteSqlRequest(sql=sql)}) == kind
    assert kind_of(method, {"request": {"sql": sql}}) == kind


@pytest.mark.parametrize(
    ("selector", "kind"),
    [
        ({"single_use": {"read_only": {"strong": True}}}, "streaming_read"),
        ({"begin": {"read_only": {"strong": True}}}, "streaming_read"),
        ({"begin": {"read_write": {}}}, "locking_read"),
        ({"id": b"one"}, "locking_read"),
    ],
)
def test_a_read_before_a_conditional_update_is_told_from_a_plain_one(selector: dict[str, Any], kind: str) -> None:
    request = ReadRequest(transaction=TransactionSelector(selector))

    assert kind_of("streaming_read", {"request": request}) == kind
    assert kind_of("streaming_read", {"request": {"transaction": request.transaction}}) == kind


def test_calls_are_counted_since_the_last_look() -> None:
    calls = ClientCalls()
    for kind in ("commit", "commit", "batch_write", "select", "read", "publish", "begin_transaction", "dml"):
        calls.note(kind)
    assert calls.take() == Cost(commits=3, reads=2, publishes=1, other=2)
    assert calls.take() == Cost(commits=0, reads=0, publishes=0, other=0)


def test_the_senders_post_distinct_signed_calls_of_one_size(tmp_path: Path) -> None:
    path = tmp_path / "webhooks.tsv"
    assert write_webhooks(path, key="a key") == BODY_BYTES
    lines = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
    bodies = [json.loads(body) for _, body in lines]
    assert len({body["resource_id"] for body in bodies}) == COUNT
    assert {len(body.encode()) for _, body in lines} == {BODY_BYTES}
    assert {infer_kind(body) for body in bodies} == {"post_call"}
    assert all(signature == callrail_signature("a key", body.encode()) for signature, body in lines)


def test_the_cpu_is_the_first_one_the_system_names() -> None:
    assert cpu_model("processor\t: 0\nmodel name\t: AMD EPYC 7B13\nmodel name\t: other\n") == "AMD EPYC 7B13"
    assert cpu_model("processor\t: 0\nBogoMIPS\t: 50\n") != ""


@pytest.mark.parametrize(
    ("most_s", "beside_ms", "sent", "arrived", "misses"),
    [
        (None, 109.0, 10, 10, ["", ""]),
        (None, 125.0, 10, 10, ["15 points over", ""]),
        (None, 100.0, 10, 8, ["", "2 remain"]),
        (None, 100.0, 8, 8, ["", "2 remain"]),  # it stopped by itself
        (60.0, 100.0, 4, 4, ["", ""]),
        (60.0, 100.0, 4, 3, ["", "1 remain"]),
    ],
)
def test_a_replay_may_lengthen_the_live_p95_by_a_tenth_and_leaves_no_letter_behind(
    most_s: float | None, beside_ms: float, sent: int, arrived: int, misses: list[str]
) -> None:
    alone, beside = LiveFigures(100, 0, 50.0, 100.0), LiveFigures(100, 0, 50.0, beside_ms)
    result = ReplayResult(
        ReplayCourse(letters=10, most_s=most_s), alone, beside, sent=sent, arrived=arrived, replay_s=1.0
    )
    assert [verdict.miss for verdict in judge_replay(result)] == misses


def test_sealing_is_measured_for_every_operation_and_size() -> None:
    figures = measure(repetitions=3)

    assert set(figures) == {"hash a number", "seal 1.5 kB", "open 1.5 kB", "seal 60 kB", "open 60 kB"}
    assert all(us > 0 for us in figures.values())
    assert figures["seal 60 kB"] > figures["seal 1.5 kB"]
