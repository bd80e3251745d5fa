"""One tenant's flood costs that tenant, and nobody else."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.health import HealthPage
from handlers.receiver import Receiver
from handlers.signature import callrail_signature
from handlers.webhook import SHARED_PATH, WebhookService
from handlers.wiring_stages import stage_spec
from schemas.calls import PROVIDERS, CrmRecord, Provider
from schemas.crm import CrmCall
from schemas.events import CallTranscribed
from schemas.tenant import Tenant
from shared.errors import Deferred
from shared.fair_stage import within_share
from shared.fair_vendors import FairCrms, FairRecordings, Fence
from shared.inbox import Inbox
from shared.ports import RecordingStream
from shared.settings import load_settings
from shared.stage import Completed, StageContext
from shared.tenant_limits import TenantLimits
from tests.support.crm_calls import crm_call
from tests.support.http_target import served
from tests.support.ports import NOON, HandClock, MemoryObjects, MemoryPublisher, MemorySecrets, MemoryTenants
from tests.support.tenants import COMPANY, OTHER_COMPANY, SIGNING_KEY, make_tenant

NOISY, QUIET = make_tenant("noisy"), make_tenant("quiet", company_id=OTHER_COMPANY)
COMPANIES = {"noisy": COMPANY, "quiet": OTHER_COMPANY}
OTHER_KEY = "ffffffffffffffffffffffffffffffff"
KEYS = {"noisy": SIGNING_KEY, "quiet": OTHER_KEY}


@dataclass
class Hand:
    """A timer moved by hand."""

    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds


@dataclass
class Bench:
    """The real receiver with a share of 10 webhooks a second and 20 at once."""

    timer: Hand = field(default_factory=Hand)
    publisher: MemoryPublisher = field(default_factory=MemoryPublisher)

    def __post_init__(self) -> None:
        receiver = Receiver(
            tenants=MemoryTenants((NOISY, QUIET)),
            secrets=MemorySecrets({f"{name}-webhook-secret": key for name, key in KEYS.items()}),
            publisher=self.publisher,
            inbox=Inbox(MemoryObjects()),
            now=HandClock(),
            limits=TenantLimits(rate_per_s=10, burst=20, timer=self.timer),
        )
        health = HealthPage(can_publish=lambda: True, can_keep=lambda: True, neighbours=dict, now=HandClock())
        self.client = served(WebhookService(receiver=receiver, health=health)).test_client()

    def post(self, tenant: str, number: int, *, key: str = "") -> tuple[int, str | None]:
        """Status and Retry-After."""
        body = b'{"resource_id":"CAL%s%d","company_resource_id":"%s"}' % (
            tenant.encode(),
            number,
            COMPANIES[tenant].encode(),
        )
        headers = {"Signature": callrail_signature(key or KEYS[tenant], body)}
        answer = self.client.post(SHARED_PATH, data=body, content_type="application/json", headers=headers)
        return answer.status_code, answer.headers.get("Retry-After")

    def published(self, tenant: str) -> int:
        return sum(message.attributes["tenant_id"] == tenant for message in self.publisher.messages)


# -- the receiver -------------------------------------------------------------------------------------


def test_a_tenant_that_sends_a_hundred_times_its_share_does_not_starve_another() -> None:
    bench = Bench()
    answers = {"noisy": [0, 0], "quiet": [0, 0]}
    for tick in range(20):  # two seconds: the noisy one sends 1,000 a second, the quiet one 10
        for number in range(100):
            status, _ = bench.post("noisy", tick * 100 + number)
            answers["noisy"][status == 202] += 1
        status, _ = bench.post("quiet", tick)
        answers["quiet"][status == 202] += 1
        bench.timer.seconds += 0.1

    assert answers["quiet"] == [0, 20]
    assert 35 <= answers["noisy"][True] <= 45  # the burst of 20, and 10 a second
    assert bench.published("quiet") == 20
    assert bench.published("noisy") == answers["noisy"][True]


def test_over_its_share_a_tenant_hears_when_to_come_again_and_then_may() -> None:
    bench = Bench()
    statuses = [bench.post("noisy", number) for number in range(21)]

    assert statuses[19] == (202, None)
    assert statuses[20] == (429, "1")

    bench.timer.seconds += 1.0
    assert bench.post("noisy", 20)[0] == 202


def test_a_flood_of_forgeries_uses_up_nobodys_share() -> None:
    bench = Bench()

    assert {bench.post("noisy", number, key=OTHER_KEY)[0] for number in range(100)} == {401}

    assert bench.post("noisy", 1)[0] == 202


def test_what_was_refused_for_its_number_was_not_kept() -> None:
    bench = Bench()
    for number in range(50):
        bench.post("noisy", number)

    assert len(bench.publisher.messages) == 20


# -- the stages ---------------------------------------------------------------------------------------


def _context(tenant_id: str, **checkpoint: str) -> StageContext:
    event = CallTranscribed(tenant_id=tenant_id, request_id="r-00000001", call_id="CAL1")
    tenant = NOISY if tenant_id == "noisy" else QUIET
    return StageContext(tenant, "r-00000001", "CAL1", event, 1, checkpoint, lambda _saved, **_as_of: None, lambda: NOON)


def test_a_stage_sleeps_over_a_tenants_share_and_goes_on_with_anothers_calls() -> None:
    run = within_share(
        lambda _context: Completed(None), TenantLimits(rate_per_s=2, burst=1, timer=Hand()), vendor="Vertex AI"
    )
    run(_context("noisy"))

    with pytest.raises(Deferred) as asleep:
        run(_context("noisy"))

    assert asleep.value.until == NOON + timedelta(seconds=0.5)
    assert run(_context("quiet")) == Completed(None)


def test_what_was_begun_at_a_vendor_is_never_kept_waiting_for_a_share() -> None:
    run = within_share(lambda _context: Completed(None), TenantLimits(rate_per_s=1, burst=1, timer=Hand()), vendor="x")

    assert [run(_context("noisy", operation="op-1")) for _ in range(5)] == [Completed(None)] * 5


# -- the buckets --------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 5)), max_size=200))
def test_whatever_the_order_nobody_gets_more_than_burst_and_rate(asks: list[tuple[str, float]]) -> None:
    timer = Hand()
    limits = TenantLimits(rate_per_s=3, burst=5, timer=timer)
    taken = dict.fromkeys("abc", 0)
    for tenant, pause_s in asks:
        timer.seconds += pause_s
        taken[tenant] += limits.wait_s(tenant) == 0
        assert taken[tenant] <= 5 + 3 * timer.seconds + 1e-6


def test_whoever_waits_as_long_as_told_is_let_in() -> None:
    timer = Hand()
    limits = TenantLimits(rate_per_s=0.7, burst=1, timer=timer)
    limits.wait_s("a")
    timer.seconds += limits.wait_s("a") + 1e-9

    assert limits.wait_s("a") == 0


def test_memory_is_bounded_however_many_tenants_there_are() -> None:
    limits = TenantLimits(rate_per_s=1, burst=1, max_tenants=100, timer=Hand())
    for number in range(10_000):
        limits.wait_s(f"tenant-{number}")

    assert len(limits) == 100


def test_a_clock_that_goes_backwards_gives_nothing_away() -> None:
    timer = Hand(100.0)
    limits = TenantLimits(rate_per_s=1, burst=1, timer=timer)
    limits.wait_s("a")
    timer.seconds = 0.0

    assert limits.wait_s("a") > 0


def test_many_threads_take_no_more_than_there_is() -> None:
    limits = TenantLimits(rate_per_s=1, burst=50, timer=Hand())
    taken: list[float] = []
    threads = [Thread(target=lambda: taken.extend(limits.wait_s("a") for _ in range(20))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert taken.count(0) == 50


# -- CallRail and the CRMs ----------------------------------------------------------------------------


def _fence(vendor: str = "HubSpot") -> Fence:
    return Fence(vendor, TenantLimits(rate_per_s=2, burst=1, timer=Hand()), lambda: NOON)


class _Crm:
    """A CRM that takes every call."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self.taken = 0

    def for_tenant(self, _tenant: Tenant, _provider: Provider) -> _Crm:
        return self

    def sync_call(self, _call: CrmCall) -> CrmRecord:
        self.taken += 1
        return CrmRecord(
            provider=self.provider, person_id="1", person_type="contact", person_created=True, activity_id="2",
            activity_type="call", synced_at=NOON,
        )  # fmt: skip

    def prepare(self) -> list[str]:
        return []

    def inspect(self) -> list[str]:
        return []


def test_a_crm_is_asked_no_more_than_a_tenants_share_and_anothers_calls_go_on() -> None:
    crm, fence = _Crm("hubspot"), _fence()
    crms = FairCrms(crm, lambda _provider: fence)

    crms.for_tenant(NOISY, "hubspot").sync_call(crm_call())
    with pytest.raises(Deferred) as asleep:
        crms.for_tenant(NOISY, "hubspot").sync_call(crm_call())
    crms.for_tenant(QUIET, "hubspot").sync_call(crm_call())

    assert asleep.value.code == "over_share"
    assert asleep.value.until == NOON + timedelta(seconds=0.5)
    assert crm.taken == 2


def test_one_crms_share_is_not_the_others() -> None:
    fences = {"hubspot": _fence(), "salesforce": _fence("Salesforce")}
    crms = FairCrms(_Crm("hubspot"), fences.__getitem__)

    crms.for_tenant(NOISY, "hubspot").sync_call(crm_call())
    crms.for_tenant(NOISY, "salesforce").sync_call(crm_call())

    with pytest.raises(Deferred):
        crms.for_tenant(NOISY, "salesforce").sync_call(crm_call())


def test_a_recording_over_the_share_is_not_asked_for() -> None:
    asked: list[str] = []

    class Host:
        def open(self, tenant: Tenant, **_which: str) -> AbstractContextManager[RecordingStream]:
            asked.append(tenant.tenant_id)
            return nullcontext(RecordingStream("audio/mpeg", iter(())))

    recordings = FairRecordings(Host(), _fence("CallRail"))
    for tenant in (NOISY, QUIET):
        with recordings.open(tenant, call_id="CAL1", recording_url="https://example.com/1"):
            pass

    with pytest.raises(Deferred, match="CallRail"):
        recordings.open(NOISY, call_id="CAL2", recording_url="https://example.com/2")

    assert asked == [NOISY.tenant_id, QUIET.tenant_id]


def test_the_services_have_these_fences(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wiring is what counts: a stage whose vendor is not behind a fence has no share at all."""
    monkeypatch.setenv("PIPELINE_ENVIRONMENT", "local")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "test-project")
    settings = load_settings()
    download, crm_sync = (stage_spec(name, settings) for name in ("download", "crm_sync"))
    fences = crm_sync.run.keywords["deps"].crms  # type: ignore[attr-defined] # a partial

    assert isinstance(fences, FairCrms)
    assert {fences.fence_of(provider).vendor for provider in PROVIDERS} == {"HubSpot", "Salesforce"}
    closure = {type(cell.cell_contents).__name__: cell.cell_contents for cell in download.run.__closure__ or ()}
    assert isinstance(closure["DownloadDeps"].recordings, FairRecordings)
