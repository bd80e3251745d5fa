"""Alarms over what our own code emits: the real runner, sweeper and receiver under a fault, their log lines and metrics
as they were written, and Prometheus's engine over them. Firing, and clearing once the fault is gone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog

from handlers.receiver import Post, Receiver
from handlers.signature import callrail_signature
from shared.gateways.sweep_store import SpannerSweepStore
from shared.gateways.telemetry import OpenTelemetry, Pace
from shared.gateways.telemetry_exports import Destination, telemetry_to
from shared.inbox import Inbox
from shared.logs import configure_logging
from shared.stage import Completed, StageContext, Usage
from shared.sweeper import Sweeper
from tests.support.alarms import (
    Growth,
    Story,
    faults_of,
    grown,
    growth_of_logs,
    json_lines,
    load,
    rules_of,
    totals_of_metrics,
)
from tests.support.backfills import running_bench
from tests.support.pipeline_database import PipelineDatabase
from tests.support.ports import NOON, MemoryObjects, MemoryPublisher, MemorySecrets, MemoryTenants
from tests.support.runner_bench import RECEIVED, STORED, Bench, delivery_of, raising
from tests.support.tenants import SIGNING_KEY, make_tenant
from tests.support.webhooks import POST_CALL, as_json

pytestmark = pytest.mark.emulators

AN_HOUR_OF_AUDIO = Usage(audio_s=3600.0)


@dataclass
class Watched:
    """What the code emits while a part of a story happens."""

    lines: Callable[[], str]
    telemetry: OpenTelemetry
    folder: Path
    before: Growth = field(default_factory=dict)

    def during(self, happening: Callable[[], object]) -> Growth:
        """By how much the series grew: application metrics and log-based ones."""
        self.lines()
        happening()
        self.telemetry.flush()
        now = totals_of_metrics(self.folder)
        growth = grown(self.before, now)
        self.before = now
        growth.update(growth_of_logs(json_lines(self.lines())))
        return growth


@pytest.fixture
def watched(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Watched:
    configure_logging(service="download", project_id="p", level="INFO")
    structlog.configure(cache_logger_on_first_use=False)  # the next test must not inherit it
    place = Destination("download", "p", "r", "v", "off", "console", "", str(tmp_path), on_cloud_run=False)
    telemetry = telemetry_to(place, Pace(0, 3600, 100, 1.0))
    return Watched(lambda: capfd.readouterr().out, telemetry, tmp_path)


@pytest.fixture
def bench(pipeline_database: PipelineDatabase) -> Bench:
    return Bench(pipeline_database, max_attempts=50)


def next_call(number: int) -> Any:
    """The event of another call."""
    return RECEIVED.model_copy(update={"request_id": f"r-{number:016x}", "call_id": f"CAL{number}"})


def work(_context: StageContext) -> Completed:
    return Completed(next_event=STORED)


def sweeper_of(bench: Bench) -> Sweeper:
    store = SpannerSweepStore(bench.database.open, bench.database.vault)
    return Sweeper(store, bench.publisher, Inbox(MemoryObjects()), bench.clock)


def check(promtool: Path, folder: Path, *alerts: str, story: Story) -> None:
    assert faults_of(promtool, folder, rules=rules_of(*alerts), story=story) == ""


# --- workers ----------------------------------------------------------------------------------------------


def test_workers_that_die_in_the_middle_of_their_work(
    bench: Bench, watched: Watched, promtool: Path, tmp_path: Path
) -> None:
    """A killed worker leaves its claim behind; the lease ends, the sweeper sends the run again, another takes over."""

    def one_well() -> None:
        bench.behave = work
        assert bench.deliver(next_call(1)) == 204

    def dying() -> None:
        bench.behave = raising(KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            bench.deliver(next_call(2))
        bench.clock.advance(61)
        assert sweeper_of(bench).sweep().actions == {"running_sent_again": 1}
        with pytest.raises(KeyboardInterrupt):
            bench.deliver(next_call(2), swept="true")

    def recovered() -> None:
        bench.behave = work
        bench.clock.advance(61)
        bench.deliver(next_call(3))

    story = Story(watched.during(one_well), watched.during(dying), watched.during(recovered))

    check(promtool, tmp_path, "leases_taken_over", "calls_without_progress", story=story)


def test_a_bug_in_a_stage(bench: Bench, watched: Watched, promtool: Path, tmp_path: Path) -> None:
    def buggy() -> None:
        bench.behave = raising(ValueError("a bug"))
        assert bench.deliver(next_call(1)) == 500

    def mended() -> None:
        bench.behave = work
        assert bench.deliver(next_call(1)) == 204

    story = Story({}, watched.during(buggy), watched.during(mended))

    check(promtool, tmp_path, "bugs", story=story)


def test_paying_for_far_more_audio_than_usual(bench: Bench, watched: Watched, promtool: Path, tmp_path: Path) -> None:
    """An hour of audio a minute costs $58 an hour; the alarm looks at a day, so it clears a day later."""

    def paid(number: int, usage: Usage) -> Callable[[], object]:
        bench.behave = lambda _context: Completed(next_event=STORED, usage=usage)
        return lambda: bench.deliver(next_call(number))

    story = Story(
        watched.during(paid(1, Usage(audio_s=6.0))),
        watched.during(paid(2, AN_HOUR_OF_AUDIO)),
        watched.during(paid(3, Usage(audio_s=6.0))),
        well_again_min=1600,
    )

    check(promtool, tmp_path, "daily_cost", story=story)


def test_calls_that_reach_the_crm_late(bench: Bench, watched: Watched, promtool: Path, tmp_path: Path) -> None:
    """The objective of ten minutes, as Cloud Monitoring burns it down: bad over all, by what the objective leaves."""

    def arriving(number: int, *, after: timedelta) -> Callable[[], object]:
        def happen() -> None:
            received_at = bench.clock() - after
            bench.behave = lambda _context: Completed(None, received_at=received_at, request_state="done")
            runner = replace(bench.runner("crm_sync"), telemetry=watched.telemetry)
            bench.deliver(next_call(number))  # its request
            event = STORED.model_copy(update={"request_id": f"r-{number:016x}", "call_id": f"CAL{number}"})
            assert runner.handle(delivery_of(event), event).status == 204

        return happen

    quick, slow = timedelta(minutes=3), timedelta(minutes=15)
    story = Story(
        watched.during(arriving(1, after=quick)),
        watched.during(arriving(2, after=slow)),
        watched.during(arriving(3, after=quick)),
        well_again_min=600,
    )
    slo = next(slo for slo in load("slos")["slos"] if slo["id"] == "call_to_crm")
    rules = [_burn(slo, burn) for burn in slo["burn_rates"]]

    assert faults_of(promtool, tmp_path, rules=rules, story=story) == ""


def _burn(slo: dict[str, Any], burn: dict[str, Any]) -> dict[str, str]:
    name, cut, window = "pipeline_call_to_crm_seconds", slo["distribution_cut"]["max"], f"[{burn['window_s']}s]"
    good, total = f'sum(increase({name}_bucket{{le="{cut}"}}{window}))', f"sum(increase({name}_count{window}))"
    return {"alert": f"late{burn['window_s']}", "expr": f"(1 - {good} / {total}) / {1 - slo['goal']} > {burn['rate']}"}


# --- the sweep and reconciliation -------------------------------------------------------------------------


def test_a_sweep_that_does_not_run(bench: Bench, watched: Watched, promtool: Path, tmp_path: Path) -> None:
    sweeping = watched.during(lambda: sweeper_of(bench).sweep())
    every_five_minutes = {name: value / 5 for name, value in sweeping.items()}

    check(promtool, tmp_path, "sweep_missing", story=Story(every_five_minutes, {}, every_five_minutes))


def test_calls_whose_webhooks_never_came(
    pipeline_database: PipelineDatabase, watched: Watched, promtool: Path, tmp_path: Path
) -> None:
    with running_bench(pipeline_database) as bench:
        bench.add_calls(["CAL1", "CAL2", "CAL3"])
        lost = watched.during(bench.backfill)
        nothing_lost = watched.during(bench.backfill)

    check(promtool, tmp_path, "calls_recovered", story=Story({}, lost, nothing_lost, well_again_min=500))


# --- the receiver -----------------------------------------------------------------------------------------


@dataclass
class Door:
    """A receiver whose Pub/Sub and bucket fail when told to."""

    telemetry: OpenTelemetry
    publisher: MemoryPublisher = field(default_factory=MemoryPublisher)
    objects: MemoryObjects = field(default_factory=MemoryObjects)

    def post(self, *, key: str = SIGNING_KEY) -> int:
        receiver = Receiver(
            tenants=MemoryTenants((make_tenant(),)),
            secrets=MemorySecrets({"acme-plumbing-webhook-secret": SIGNING_KEY}),
            publisher=self.publisher,
            inbox=Inbox(self.objects),
            now=lambda: NOON,
            telemetry=self.telemetry,
        )
        body = as_json(POST_CALL)
        headers = {"Signature": callrail_signature(key, body)}
        return receiver.receive(Post("application/json", body, headers), traceparent="").status


def test_pubsub_takes_no_webhooks_and_then_the_bucket_neither(watched: Watched, promtool: Path, tmp_path: Path) -> None:
    door = Door(watched.telemetry)

    def outage() -> None:
        door.publisher.failing = 2
        assert door.post() == 202
        door.objects.failing = 10
        assert door.post() == 503

    def over() -> None:
        door.publisher.failing = door.objects.failing = 0
        assert door.post() == 202

    story = Story(watched.during(door.post), watched.during(outage), watched.during(over))

    check(promtool, tmp_path, "webhooks_in_inbox", "webhooks_not_kept", story=story)


def test_webhooks_signed_with_another_key(watched: Watched, promtool: Path, tmp_path: Path) -> None:
    door = Door(watched.telemetry)

    def knocking() -> None:
        assert [door.post(key="f" * 32) for _ in range(3)] == [401] * 3

    story = Story(watched.during(door.post), watched.during(knocking), watched.during(door.post))

    check(promtool, tmp_path, "webhooks_refused", story=story)


# --- telemetry itself -------------------------------------------------------------------------------------


def test_telemetry_that_nobody_takes(watched: Watched, promtool: Path, tmp_path: Path) -> None:
    """A collector's address where nobody listens: said once a minute, and calls go on."""
    nobody = Destination("download", "p", "r", "v", "otlp", "off", "http://127.0.0.1:9", "", on_cloud_run=False)
    telemetry = telemetry_to(nobody, Pace(0, 30, 100, 1.0))

    def send() -> None:
        telemetry.end(telemetry.begin("x", kind="internal", within=telemetry.trace_of("acme", "r-1")))
        telemetry.flush()

    story = Story({}, watched.during(send), watched.during(lambda: None))

    check(promtool, tmp_path, "telemetry_lost", story=story)
