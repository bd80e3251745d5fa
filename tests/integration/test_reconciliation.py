"""The scheduled reconciliation: a report for each tenant and day, everybody served, nobody stopped by another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, timedelta
from typing import NoReturn

import pytest
from flask import Flask, Request
from google.cloud.spanner_v1 import COMMIT_TIMESTAMP, JsonObject
from werkzeug.test import EnvironBuilder

from handlers.reconcile import ReconcileRoute
from infra.local.standins.callrail_store import LOCAL_API_KEY
from shared.backfill import Part, Tally
from shared.errors import TransientFailure
from shared.gateways.backfill_store import SpannerBackfillStore
from shared.gateways.callrail_budget import RequestBudgets
from shared.reconciliation import Outcome, Reconciliation, Report, RunSummary
from tests.support.backfills import (
    ACCOUNT,
    NORTH,
    NORTH_KEY,
    SOUTH,
    SOUTH_COMPANY,
    Bench,
    customer,
    running_bench,
)
from tests.support.pipeline_database import PipelineDatabase

pytestmark = pytest.mark.emulators

LIMIT = timedelta(minutes=4)


@pytest.fixture
def bench(pipeline_database: PipelineDatabase) -> Iterator[Bench]:
    with running_bench(pipeline_database) as made:
        yield made


def reconciliation(bench: Bench) -> Reconciliation:
    return Reconciliation(bench.lister, bench.store, bench.ingester, bench.clock, LIMIT)


def run(bench: Bench) -> RunSummary:
    summary = reconciliation(bench).run()
    bench.deliver()
    return summary


def reports(bench: Bench, tenant_id: str = NORTH.tenant_id) -> dict[date, Report]:
    since = bench.clock().date() - timedelta(days=10)
    return {report.day: report for report in bench.store.reports(tenant_id, since=since)}


def counts(report: Report) -> tuple[int, int, int, int]:
    """The provider has N, we have N, missing, recovered."""
    return (report.provider_calls, report.our_calls, report.missing_calls, report.recovered_calls)


def today(bench: Bench) -> date:
    return bench.clock().date()


def yesterday(bench: Bench) -> date:
    return today(bench) - timedelta(days=1)


# -- reports ------------------------------------------------------------------------------------------


def test_every_tenant_with_access_gets_a_report_for_yesterday_and_today(bench: Bench) -> None:
    # One of them begins exactly at midnight, which both days' lists show.
    ours = bench.add_calls([f"N{n}" for n in range(20)], apart=timedelta(hours=1))
    bench.webhooks_arrived(ours[:19])
    theirs = bench.add_calls([f"S{n}" for n in range(5)], company=SOUTH_COMPANY)
    bench.webhooks_arrived(theirs, tenant=SOUTH)

    summary = run(bench)

    assert summary.outcomes == {Outcome.LOOKED_AT: 2, Outcome.NO_ACCESS: 2}
    assert (summary.tally.listed, summary.tally.recovered) == (25, 1)
    assert summary.is_whole
    ours_by_day = reports(bench)
    assert counts(ours_by_day[today(bench)]) == (11, 11, 0, 0)
    assert counts(ours_by_day[yesterday(bench)]) == (9, 9, 0, 1)
    assert ours_by_day[yesterday(bench)].state == "complete"
    assert ours_by_day[today(bench)].state == "open"
    assert counts(reports(bench, SOUTH.tenant_id)[today(bench)]) == (5, 5, 0, 0)
    assert bench.started() == set(ours)


def test_what_is_recovered_adds_up_over_the_day(bench: Bench) -> None:
    bench.add_calls(["CAL1", "CAL2"])
    run(bench)
    bench.clock.advance(3600)
    bench.add_calls(["CAL3"])
    run(bench)
    run(bench)

    assert counts(reports(bench)[today(bench)]) == (3, 3, 0, 3)


def test_calls_too_young_are_counted_and_found_an_hour_later(bench: Bench) -> None:
    bench.add_calls(["CAL1"], newest=bench.clock() - timedelta(minutes=10))

    run(bench)
    assert reports(bench)[today(bench)].waiting_calls == 1
    assert bench.started() == set()

    bench.clock.advance(3600)
    run(bench)
    assert reports(bench)[today(bench)].waiting_calls == 0
    assert counts(reports(bench)[today(bench)]) == (1, 1, 0, 1)


def test_a_complete_day_costs_no_more_requests(bench: Bench) -> None:
    run(bench)
    first = bench.pages_read()
    run(bench)

    assert first == 4, "two tenants, two days"
    assert bench.pages_read() - first == 2, "today only"


def test_a_day_whose_last_call_was_too_young_is_looked_at_once_more_on_the_next(bench: Bench) -> None:
    bench.clock.moment = bench.clock().replace(hour=23, minute=50)
    bench.add_calls(["CAL1"], newest=bench.clock() - timedelta(minutes=5))
    run(bench)
    bench.clock.advance(3600)

    run(bench)

    assert reports(bench)[yesterday(bench)].state == "complete"
    assert counts(reports(bench)[yesterday(bench)]) == (1, 1, 0, 1)


# -- days that were missed ----------------------------------------------------------------------------


def test_days_on_which_the_schedule_stood_still_are_made_up_for(bench: Bench) -> None:
    """Yesterday and today alone would leave a hole that nobody ever looks into again."""
    run(bench)
    before = today(bench)
    age_reports(bench)
    bench.clock.advance(5 * 86_400)
    lost = bench.add_calls([f"CAL{n}" for n in range(6)], apart=timedelta(days=1))

    run(bench)

    assert bench.started() == set(lost)
    found = reports(bench)
    for day in (before + timedelta(days=n) for n in range(5)):
        assert (found[day].state, counts(found[day])) == ("complete", (1, 1, 0, 1))


def test_what_was_lost_while_a_key_was_refused_is_found_once_it_is_renewed(bench: Bench) -> None:
    run(bench)
    bench.secrets.write(NORTH_KEY, "wrong")
    lost = []
    for day in range(4):
        bench.clock.advance(86_400)
        lost += bench.add_calls([f"CAL{day}"])
        run(bench)
    assert bench.started() == set()
    refused = [day for day, report in reports(bench).items() if report.state == "blocked"]
    assert len(refused) == 5

    bench.secrets.write(NORTH_KEY, LOCAL_API_KEY)
    run(bench)

    assert bench.started() == set(lost)
    assert {reports(bench)[day].state for day in refused if day != today(bench)} == {"complete"}


def test_a_day_is_not_forgotten_when_the_run_that_missed_it_is_stopped(bench: Bench) -> None:
    run(bench)
    bench.clock.advance(5 * 86_400)
    (lost,) = bench.add_calls(["CAL1"], newest=bench.clock() - timedelta(days=3))
    bench.callrail.misbehaves({"operation": "calls.list", "kind": "status", "status": 500, "times": 6})
    assert run(bench).outcomes[Outcome.FAILED]
    assert bench.started() == set()
    age_reports(bench)

    run(bench)

    assert bench.started() == {lost}


def test_what_was_before_a_tenant_came_is_not_brought_in(bench: Bench) -> None:
    """A new customer's history is a decision of a person (`pipeline backfill`), and costs money."""
    bench.add_calls(["OLD"], newest=bench.clock() - timedelta(days=3))
    run(bench)
    run(bench)
    assert bench.started() == set()


def test_an_earlier_day_that_cannot_be_finished_is_looked_at_every_six_hours(bench: Bench) -> None:
    bench.add_calls(["CAL 1 with spaces"], newest=bench.clock() - timedelta(days=1))
    run(bench)
    bench.clock.advance(86_400)
    run(bench)
    before = bench.pages_read()
    run(bench)
    assert bench.pages_read() - before == 2, "two tenants' today"
    age_reports(bench)
    before = bench.pages_read()
    run(bench)
    assert bench.pages_read() - before == 3, "and the day of the call that nobody can take"


def age_reports(bench: Bench) -> None:
    """Hours pass for the database, whose clock is its own."""
    aged = (
        "UPDATE reconciliation_reports SET looked_at = TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 7 HOUR) WHERE true"
    )
    bench.database.database.run_in_transaction(lambda transaction: transaction.execute_update(aged))


# -- trouble of one is not trouble of another ---------------------------------------------------------


def test_a_wrong_key_is_reported_with_what_to_do_and_stops_nobody_else(bench: Bench) -> None:
    bench.secrets.write(NORTH_KEY, "wrong")
    bench.add_calls(["N1"])
    bench.add_calls(["S1"], company=SOUTH_COMPANY)

    summary = run(bench)

    assert (summary.outcomes[Outcome.BLOCKED], summary.outcomes[Outcome.LOOKED_AT]) == (1, 1)
    assert bench.started(SOUTH) == {"S1"}
    for day in (yesterday(bench), today(bench)):
        report = reports(bench)[day]
        assert (report.state, report.error_code) == ("blocked", "callrail_key_refused")
        assert NORTH_KEY in report.error_fix

    bench.secrets.write(NORTH_KEY, LOCAL_API_KEY)
    run(bench)
    report = reports(bench)[today(bench)]
    assert (report.state, report.error_code, report.error_fix) == ("open", "", "")
    assert counts(report) == (1, 1, 0, 1)


def test_trouble_keeps_the_counts_of_the_look_before(bench: Bench) -> None:
    bench.add_calls(["CAL1"])
    run(bench)
    bench.callrail.misbehaves({"operation": "calls.list", "kind": "status", "status": 500, "times": 100})

    summary = run(bench)

    assert summary.outcomes[Outcome.FAILED] == 2
    assert not summary.is_whole
    report = reports(bench)[today(bench)]
    assert (report.state, report.error_code) == ("failed", "callrail_unavailable")
    assert counts(report) == (1, 1, 0, 1)


def test_an_unreadable_configuration_stops_nobody_else(bench: Bench) -> None:
    with bench.database.database.batch() as batch:
        batch.insert(
            "tenants",
            ("tenant_id", "name", "status", "config", "created_at", "updated_at"),
            [("a-broken-one", "Broken", "active", JsonObject({}), COMMIT_TIMESTAMP, COMMIT_TIMESTAMP)],
        )

    summary = run(bench)

    assert (summary.outcomes[Outcome.BLOCKED], summary.outcomes[Outcome.LOOKED_AT]) == (1, 2)
    assert reports(bench, "a-broken-one")[today(bench)].error_code == "tenant_config_unreadable"


def test_a_suspended_tenant_is_not_looked_at(bench: Bench) -> None:
    with bench.database.database.batch() as batch:
        batch.update("tenants", ("tenant_id", "status"), [(NORTH.tenant_id, "suspended")])
    bench.add_calls(["CAL1"])

    assert run(bench).outcomes[Outcome.LOOKED_AT] == 1
    assert bench.started() == set()


def test_a_bug_met_at_one_tenant_stops_nobody_else_and_is_noted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.add_calls(["S1"], company=SOUTH_COMPANY)
    real = SpannerBackfillStore.write_report

    def fail_for_north(store: SpannerBackfillStore, tenant_id: str, part: Part, tally: Tally) -> None:
        if tenant_id == NORTH.tenant_id:
            raise RuntimeError("a bug")
        real(store, tenant_id, part, tally)

    monkeypatch.setattr(SpannerBackfillStore, "write_report", fail_for_north)

    summary = run(bench)

    assert (summary.outcomes[Outcome.FAILED], summary.outcomes[Outcome.LOOKED_AT]) == (1, 1)
    assert reports(bench)[today(bench)].error_code == "internal_error"
    assert bench.started(SOUTH) == {"S1"}


# -- budget and time ----------------------------------------------------------------------------------


def test_within_its_budget_each_run_begins_where_the_last_one_stopped(bench: Bench) -> None:
    """Ten tenants of one account, and a budget for three of them (two days each) in a run."""
    tenants = [customer(f"t{n}-customer", f"COM{n}", NORTH_KEY) for n in range(8)]
    for tenant in tenants:
        bench.database.add_tenant(tenant)
    seen: list[set[str]] = []
    for _ in range(4):
        bench.budgets = RequestBudgets(per_hour=0.001, burst=6)
        before = bench.pages_read()
        summary = run(bench)
        assert bench.pages_read() - before == 6
        assert summary.outcomes[Outcome.POSTPONED] > 0
        assert not summary.outcomes[Outcome.FAILED]
        seen.append({row[0] for row in bench.database.rows("SELECT DISTINCT tenant_id FROM reconciliation_reports")})

    assert [len(served) for served in seen] == [3, 6, 9, 10]


def test_callrails_429_postpones_the_account_and_not_the_others(bench: Bench) -> None:
    other = customer("other-account", "COM9", NORTH_KEY, account="ACC2")
    bench.database.add_tenant(other)
    bench.budgets.close(ACCOUNT, for_s=300)

    summary = run(bench)

    assert (summary.outcomes[Outcome.POSTPONED], summary.outcomes[Outcome.LOOKED_AT]) == (2, 1)
    assert reports(bench) == {}, "nothing was looked at, so nothing is said, and the next run begins with it"
    assert len(reports(bench, "other-account")) == 2
    assert bench.budgets.take(ACCOUNT) > 0


def test_out_of_time_the_rest_is_postponed_and_what_was_recovered_is_counted(bench: Bench) -> None:
    bench.add_calls(["N1", "N2", "N3"])
    bench.add_calls(["S1"], company=SOUTH_COMPANY)
    bench.publisher.then = lambda: bench.clock.advance(LIMIT.total_seconds() / 2)

    summary = run(bench)

    assert summary.outcomes[Outcome.POSTPONED] == 2
    assert summary.tally.recovered == 2
    bench.publisher.then = lambda: None
    assert reports(bench)[today(bench)].recovered_calls == 2
    assert bench.store.due_tenants(yesterday(bench), oldest=yesterday(bench))[-1].tenant_id == NORTH.tenant_id, (
        "to the end of the line"
    )

    assert run(bench).is_whole
    assert counts(reports(bench)[today(bench)]) == (3, 3, 0, 3)
    assert bench.started(SOUTH) == {"S1"}


# -- the route ----------------------------------------------------------------------------------------


def answer(run: Callable[[], RunSummary], *, method: str = "POST") -> tuple[int, str]:
    with Flask(__name__).app_context():
        response = ReconcileRoute(run)(Request(EnvironBuilder("/internal/backfill", method=method).get_environ()))
    return response.status_code, response.get_data(as_text=True)


def test_cloud_scheduler_gets_the_counts(bench: Bench) -> None:
    bench.add_calls(["CAL1"])

    status, body = answer(reconciliation(bench).run)

    assert status == 200
    assert '"is_whole": true' in body
    assert '"looked_at": 2, "no_access": 2, "blocked": 0, "failed": 0, "postponed": 0' in body
    assert '"recovered": 1' in body
    assert "CAL1" not in body


def test_a_look_with_get_runs_nothing(bench: Bench) -> None:
    bench.add_calls(["CAL1"])

    assert answer(reconciliation(bench).run, method="GET")[0] == 405
    assert bench.publisher.messages == []


def test_when_our_own_database_is_away_cloud_scheduler_is_asked_to_come_again(bench: Bench) -> None:
    def away() -> NoReturn:
        raise TransientFailure("spanner_unavailable", "away")

    broken = replace(reconciliation(bench), store=SpannerBackfillStore(away))

    assert answer(broken.run) == (503, "try again")


def test_reports_are_read_by_their_owner_only(bench: Bench) -> None:
    run(bench)

    assert set(reports(bench)) == {today(bench), yesterday(bench)}
    assert reports(bench, "other-dental") == {}
