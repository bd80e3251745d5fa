"""Backfill against CallRail's stand-in and real Spanner rows: what never arrived is brought in, and once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import pytest

from infra.local.standins.callrail_store import Recording
from schemas.calls import CallRecord
from schemas.events import CallReceived, RecordingStored
from schemas.webhooks import parse_webhook
from shared.backfill import NOTHING, Tally, Window
from shared.deliveries import parse_event
from shared.errors import Deferred, TenantBlocked, TransientFailure
from shared.gateways import callrail_api
from shared.gateways.calls import SpannerCalls
from shared.names import first_request_id
from shared.stage import StageContext
from stages.download import stage as download
from stages.download.stage import DownloadDeps
from tests.support.audio import mp3
from tests.support.backfills import NORTH, NORTH_KEY, SOUTH, SOUTH_COMPANY, Bench, running_bench
from tests.support.gcs import fresh_store
from tests.support.pipeline_database import PipelineDatabase

pytestmark = pytest.mark.emulators


@pytest.fixture
def bench(pipeline_database: PipelineDatabase) -> Iterator[Bench]:
    with running_bench(pipeline_database) as made:
        yield made


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callrail_api, "PAGE_SIZE", 10)


def names(count: int, prefix: str = "CAL") -> list[str]:
    return [f"{prefix}{index:03d}" for index in range(count)]


# -- finding and bringing in --------------------------------------------------------------------------


@dataclass(frozen=True)
class KnownCall:
    """The claim has written the call before the download runs."""

    call: CallRecord

    def get(self, tenant_id: str, call_id: str) -> CallRecord | None:
        assert (tenant_id, call_id) == (self.call.tenant_id, self.call.details.call_id)
        return self.call


def test_of_600_calls_over_several_pages_the_5_percent_that_never_arrived_are_brought_in(bench: Bench) -> None:
    calls = bench.add_calls(names(600))
    lost = calls[::20]
    half_known = lost[:2]
    bench.webhooks_arrived([call for call in calls if call not in lost])
    bench.webhooks_arrived(half_known, started=False)
    theirs = bench.add_calls(names(40, "SOUTH"), company=SOUTH_COMPANY)

    first = bench.backfill(days=2)
    again = bench.backfill(days=2)

    assert first == Tally(listed=600, had=570, never_seen=28, never_started=2, recovered=30)
    assert again == Tally(listed=600, had=600)
    assert bench.started() == set(calls)
    assert bench.started(SOUTH) == set(), "the other customer of the same account is untouched"
    assert not bench.database.rows(f"SELECT call_id FROM call_records WHERE tenant_id = '{SOUTH.tenant_id}'")
    assert bench.started().isdisjoint(theirs)


def test_a_recovered_call_starts_as_its_webhook_would_have_started_it(bench: Bench) -> None:
    bench.add_calls(["CAL1"])
    bench.backfill()

    (line,) = SpannerCalls(bench.database.open, bench.database.vault).story(NORTH.tenant_id, "CAL1")
    assert (line.request_id, line.kind, line.origin) == (
        *(first_request_id(NORTH.tenant_id, "CAL1"), "post_call", "backfill"),
    )
    stored = SpannerCalls(bench.database.open, bench.database.vault).get(NORTH.tenant_id, "CAL1")
    assert stored is not None
    assert stored.details.caller_number == "+13035550142"
    assert stored.details.marketing.campaign == "winter-furnace"


def test_the_download_stage_fetches_a_recovered_calls_audio_through_the_api(bench: Bench, gcs_server: str) -> None:
    bench.add_calls(["CAL1"])
    bench.callrail.store.put_recording(Recording(call_id="CAL1", data=mp3(5.0)))
    for _ in bench.steps(bench.window()):
        pass
    event = parse_event(bench.publisher.messages[0].data)
    assert isinstance(event, CallReceived)
    objects = fresh_store(gcs_server)
    context = StageContext(
        tenant=NORTH,
        request_id=event.request_id,
        call_id=event.call_id,
        event=event,
        attempt=1,
        checkpoint={},
        save_checkpoint=lambda _, **_as_of: None,
        now=bench.clock,
    )

    calls = KnownCall(CallRecord(tenant_id=NORTH.tenant_id, details=parse_webhook(event.payload)))
    done = download.run(context, DownloadDeps(bench.callrail.recordings(secrets=bench.secrets), objects, calls))

    assert done.next_event == RecordingStored(
        tenant_id=NORTH.tenant_id, request_id=event.request_id, call_id=event.call_id
    )
    assert objects.list_names("") == [f"recordings/{NORTH.tenant_id}/CAL1.mp3"]


def test_a_webhook_that_arrives_meanwhile_changes_nothing(bench: Bench) -> None:
    """Found missing, and the late webhook overtakes: the claim lets one of the two through."""
    bench.add_calls(["CAL1"])
    for _ in bench.steps(bench.window()):
        pass
    (message,) = bench.publisher.messages
    bench.webhooks_arrived(["CAL1"])

    assert bench.handle(message) == 503, "the row is there, and its first stage is somebody else's"
    assert bench.handle(message) == 503
    assert bench.started() == {"CAL1"}
    assert bench.database.value("SELECT COUNT(*) FROM processing_requests") == 1
    assert bench.backfill() == Tally(listed=1, had=1)


def test_two_backfills_at_once_start_each_call_once(bench: Bench) -> None:
    calls = bench.add_calls(names(5))
    one, other = bench.steps(bench.window()), bench.steps(bench.window())
    for _ in (*one, *other):
        pass

    assert len(bench.publisher.messages) == 10
    bench.deliver()
    assert bench.started() == set(calls)
    assert bench.database.value("SELECT COUNT(*) FROM usage_ledger") == 5


def test_a_dry_run_counts_and_leaves_nothing(bench: Bench) -> None:
    calls = bench.add_calls(names(10))
    bench.webhooks_arrived(calls[:7])

    assert bench.preview() == Tally(listed=10, had=7, never_seen=3)
    assert bench.publisher.messages == []
    assert bench.database.value("SELECT COUNT(*) FROM reconciliation_reports") == 0
    assert bench.database.value("SELECT COUNT(*) FROM backfill_days") == 0


def test_calls_that_are_going_on_or_too_young_are_left_for_the_next_run(bench: Bench) -> None:
    now = bench.clock()
    bench.add_calls(["CAL1"], newest=now - timedelta(minutes=5), duration=0, call_type="in_progress")
    bench.add_calls(["CAL2"], newest=now - timedelta(minutes=40), duration=900)
    bench.add_calls(["CAL3"], newest=now - timedelta(minutes=40), duration=60)

    assert bench.backfill() == Tally(listed=3, too_young=2, never_seen=1, recovered=1)
    assert bench.started() == {"CAL3"}

    bench.add_calls(["CAL1"], newest=now - timedelta(minutes=5), duration=300)
    bench.clock.advance(3600)
    assert bench.backfill() == Tally(listed=3, had=1, never_seen=2, recovered=2)
    assert bench.started() == {"CAL1", "CAL2", "CAL3"}


def test_a_call_in_the_last_second_of_a_day_is_not_lost_between_two_days(bench: Bench) -> None:
    midnight = bench.clock().replace(hour=0)
    bench.add_calls(["CAL1"], newest=midnight - timedelta(milliseconds=1))
    bench.add_calls(["CAL2"], newest=midnight)

    assert bench.backfill(days=3) == Tally(listed=2, never_seen=2, recovered=2)


def test_a_call_that_cannot_be_read_is_counted_and_stops_no_other(bench: Bench) -> None:
    bench.add_calls(["CAL1", "CAL 2 with spaces", "CAL3"])

    assert bench.backfill() == Tally(listed=3, refused=1, never_seen=2, recovered=2)
    assert bench.started() == {"CAL1", "CAL3"}


def test_a_tenants_companies_are_all_looked_at(bench: Bench) -> None:
    both = NORTH.model_copy(
        update={"config": NORTH.config.model_copy(update={"callrail_company_ids": (SOUTH_COMPANY, "COM1", "COM1")})}
    )
    bench.add_calls(["CAL1"], company="COM1")
    bench.add_calls(["CAL2"], company=SOUTH_COMPANY)

    assert bench.backfill(tenant=both) == Tally(listed=2, never_seen=2, recovered=2)
    assert bench.pages_read() == 4, "two companies on two days; the one named twice is asked for once"


# -- stopped on its way -------------------------------------------------------------------------------


def test_interrupted_in_the_middle_it_goes_on_without_listing_finished_days_again(bench: Bench) -> None:
    noon = bench.clock()
    days = [noon - timedelta(days=back) for back in range(6)]
    calls = [
        call
        for back, day in enumerate(days)
        for call in bench.add_calls(names(8, f"D{back}C"), newest=day - timedelta(hours=2))
    ]
    window = Window(days[-1].replace(hour=0), noon)
    steps = bench.steps(window)
    found = NOTHING
    while found.recovered < 20:  # in the middle of the third day
        found += next(steps).tally
    steps.close()
    bench.deliver()
    bench.callrail.store.asked.clear()

    bench.clock.advance(600)
    resumed = list(bench.steps(Window(window.since, bench.clock())))
    bench.deliver()

    assert [step.part.day for step in resumed if step.skipped] == [day.date() for day in (days[5], days[4])]
    assert bench.pages_read() == 4
    total = sum((step.tally for step in resumed), NOTHING)
    assert (total.listed, total.left_behind) == (48, 0), "what the first run did is counted too"
    assert bench.started() == set(calls)
    assert bench.database.value("SELECT COUNT(*) FROM backfill_days") == 0, "the next backfill looks at everything"


def test_progress_of_another_window_counts_for_the_days_it_covers(bench: Bench) -> None:
    """`--since 5d` means another moment each time it is typed; whole days in the middle are the same."""
    steps = bench.steps(bench.window(days=5))
    finished = 0
    while finished < 3:
        finished += next(steps).ends_day
    steps.close()

    bench.clock.advance(3600)
    kept = [step.part.day for step in bench.steps(bench.window(days=5)) if step.skipped]
    bench_day = bench.clock().date()

    assert kept == [bench_day - timedelta(days=back) for back in (5, 4, 3)]
    steps = bench.steps(bench.window(days=5))
    assert next(steps).skipped is False


def test_a_day_that_was_covered_in_part_is_listed_again(bench: Bench) -> None:
    steps = bench.steps(bench.window(days=2))
    assert next(step for step in steps if step.ends_day)
    steps.close()

    wider = list(bench.steps(bench.window(days=2.2)))

    assert not any(step.skipped for step in wider)


def test_when_pubsub_fails_the_rest_is_brought_in_by_the_next_run(bench: Bench) -> None:
    calls = bench.add_calls(names(5))
    bench.publisher.then = lambda: setattr(bench.publisher, "failing", 1)

    with pytest.raises(TransientFailure):
        bench.backfill()
    bench.publisher.then = lambda: None
    bench.publisher.failing = 0
    bench.deliver()
    assert len(bench.started()) == 1

    assert bench.backfill() == Tally(listed=5, had=1, never_seen=4, recovered=4)
    assert bench.started() == set(calls)


def test_callrails_429_stops_it_and_the_next_run_goes_on(bench: Bench) -> None:
    for back in range(4):
        bench.add_calls(names(3, f"D{back}C"), newest=bench.clock() - timedelta(days=back, hours=2))
    bench.callrail.store.budget = 2

    with pytest.raises(Deferred) as caught:
        bench.backfill(days=3)
    assert caught.value.until > bench.clock()
    bench.deliver()
    assert len(bench.started()) == 3, "the first day's calls; the oldest part of a day had none"

    bench.callrail.store.budget = None
    bench.callrail.store.asked.clear()
    bench.budgets.close("ACC019a1111222273338444555566667777", for_s=0)  # the five minutes are over
    assert bench.backfill(days=3).left_behind == 0
    assert bench.pages_read() == 2
    assert len(bench.started()) == 9


def test_a_wrong_key_is_the_tenants_trouble_and_changes_nothing(bench: Bench) -> None:
    bench.add_calls(["CAL1"])
    bench.secrets.write(NORTH_KEY, "wrong")

    with pytest.raises(TenantBlocked) as caught:
        bench.backfill()

    assert NORTH_KEY in caught.value.fix
    assert bench.publisher.messages == []
    assert bench.database.value("SELECT COUNT(*) FROM backfill_days") == 0


# -- a list that changes while it is read -------------------------------------------------------------


@pytest.mark.usefixtures("small_pages")
def test_a_call_that_vanishes_between_two_pages_hides_no_other(bench: Bench) -> None:
    """Marked as spam, it leaves the list; all after it move up by one, and the next page begins one too late."""
    calls = bench.add_calls(names(35))
    bench.publisher.then = lambda: bench.callrail.store.remove_call("CAL003")

    found = bench.backfill()

    assert bench.started() == set(calls), "with the spam call itself, which was seen before"
    assert found == Tally(listed=35, never_seen=35, recovered=35)


@pytest.mark.usefixtures("small_pages")
def test_calls_that_begin_meanwhile_are_not_counted_twice_and_hide_no_other(bench: Bench) -> None:
    calls = bench.add_calls(names(35))
    added: list[str] = []

    def ring() -> None:
        if len(added) < 12:
            added.extend(bench.add_calls([f"NEW{len(added)}"], newest=bench.clock() - timedelta(minutes=90)))

    bench.publisher.then = ring

    found = bench.backfill()

    assert bench.started() == {*calls, *added}
    assert (found.listed, found.recovered) == (47, 47)


@pytest.mark.usefixtures("small_pages")
def test_a_list_that_never_holds_still_is_reported_and_its_day_not_finished(bench: Bench) -> None:
    bench.add_calls(names(35))
    added: list[str] = ["CAL000"]

    def ring() -> None:
        """Each reading shows one new call, at whose recovery the next one begins."""
        if bench.publisher.messages[-1].attributes["call_id"] == added[-1]:
            added.extend(bench.add_calls([f"NEW{len(added)}"], newest=bench.clock() - timedelta(minutes=90)))

    bench.publisher.then = ring
    midnight = bench.clock().replace(hour=0)

    with pytest.raises(TransientFailure, match="callrail_list_unsteady"):
        bench.backfill(window=Window(midnight, bench.clock()))
    assert bench.database.value("SELECT COUNT(*) FROM backfill_days") == 0
    assert bench.database.value("SELECT COUNT(*) FROM reconciliation_reports") == 0
