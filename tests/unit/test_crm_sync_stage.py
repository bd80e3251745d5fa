"""The CRM stage: every CRM of the tenant once, whatever fails in between."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from schemas.analysis import CallAnalysis
from schemas.calls import CallRecord, CrmRecord, Provider
from schemas.crm import CrmCall
from schemas.events import CallAnalyzed, CallSynced
from schemas.tenant import CrmConfig, HubSpotConfig, SalesforceConfig, Tenant
from shared.errors import Deferred, NotReady, PermanentFailure, PipelineError, TenantBlocked, TransientFailure
from stages.crm_sync.stage import CrmSyncDeps, run
from tests.support.analysis_calls import CALL_ID, NOW, REQUEST_ID, TENANT_ID, Attempt, Calls, call_record, tenant

HUBSPOT = HubSpotConfig(token_secret="crm-hubspot-acme")
SALESFORCE = SalesforceConfig(credentials_secret="crm-salesforce-acme")
ANALYSIS = CallAnalysis(
    basis="transcript",
    summary="Wants a new water heater.",
    sentiment="positive",
    intent="new_lead",
    lead_score=82,
    lead_score_reasons=("Asked for a price",),
    next_step="Call back.",
    qualified=True,
    model="gemini-3.5-flash-lite",
    prompt_version="1+abc",
)
FAILURES: dict[str, Callable[[], PipelineError]] = {
    "transient": lambda: TransientFailure("crm_down", "no answer"),
    "not_ready": lambda: NotReady("crm_busy", "busy"),
    "deferred": lambda: Deferred("crm_quota", "quota of the day", until=NOW + timedelta(hours=9)),
    "blocked": lambda: TenantBlocked("crm_token", "token refused", fix="renew the token"),
    "permanent": lambda: PermanentFailure("crm_refused", "record refused"),
}


@dataclass
class Crm:
    """One CRM in memory: an upsert by call id, and failures on demand."""

    provider: Provider
    held: dict[str, CrmCall] = field(default_factory=dict)
    writes: int = 0
    fails_with: list[PipelineError] = field(default_factory=list)

    def sync_call(self, call: CrmCall) -> CrmRecord:
        if self.fails_with:
            raise self.fails_with.pop(0)
        self.writes += 1
        self.held[call.call_id] = call
        return CrmRecord(provider=self.provider, activity_id=f"{self.provider}-1", activity_type="call", synced_at=NOW)

    def prepare(self) -> list[str]:
        return []

    def inspect(self) -> list[str]:
        return []


@dataclass
class Crms:
    """The tenant's CRMs; a provider in `unreachable` cannot even be opened (its secret is missing)."""

    hubspot: Crm = field(default_factory=lambda: Crm("hubspot"))
    salesforce: Crm = field(default_factory=lambda: Crm("salesforce"))
    unreachable: dict[Provider, PipelineError] = field(default_factory=dict)

    def for_tenant(self, tenant: Tenant, provider: Provider) -> Crm:
        assert tenant.tenant_id == TENANT_ID
        if provider in self.unreachable:
            raise self.unreachable[provider]
        return self.hubspot if provider == "hubspot" else self.salesforce


@pytest.fixture
def crms() -> Crms:
    return Crms()


def _deps(crms: Crms, *calls: CallRecord) -> CrmSyncDeps:
    return CrmSyncDeps(crms=crms, calls=Calls.of(*(calls or (call_record(analysis=ANALYSIS),))))


def _both() -> Attempt:
    return Attempt(tenant(crm=CrmConfig(hubspot=HUBSPOT, salesforce=SALESFORCE)), CallAnalyzed)


def test_the_call_ends_in_every_crm_and_the_request_is_done(crms: Crms) -> None:
    completed = run(_both().next(), _deps(crms))
    assert completed.request_state == "done"
    assert completed.next_event == CallSynced(tenant_id=TENANT_ID, request_id=REQUEST_ID, call_id=CALL_ID)
    assert [record.provider for record in completed.changes.crm] == ["hubspot", "salesforce"]
    for crm in (crms.hubspot, crms.salesforce):
        assert crm.held[CALL_ID].title == "Call from +13035550123: new lead (score 82, hot)"


def test_a_tenant_without_crm_is_done_at_once(crms: Crms) -> None:
    attempt = Attempt(tenant(), CallAnalyzed)
    completed = run(attempt.next(), _deps(crms))
    assert (completed.request_state, completed.changes.crm) == ("done", ())
    assert completed.next_event is not None
    assert attempt.checkpoint == {}


def test_each_crm_is_told_what_an_earlier_sync_left_in_it(crms: Crms) -> None:
    before = CrmRecord(provider="salesforce", activity_id="00T1", activity_type="task", synced_at=NOW)
    run(_both().next(), _deps(crms, call_record(analysis=ANALYSIS, crm=(before,))))
    assert crms.salesforce.held[CALL_ID].previous == before
    assert crms.hubspot.held[CALL_ID].previous is None


@pytest.mark.parametrize("failing", ["hubspot", "salesforce"])
@pytest.mark.parametrize("kind", sorted(FAILURES))
def test_one_crm_that_fails_does_not_hold_up_the_other(crms: Crms, failing: Provider, kind: str) -> None:
    broken, working = (crms.hubspot, crms.salesforce) if failing == "hubspot" else (crms.salesforce, crms.hubspot)
    failure = FAILURES[kind]()
    broken.fails_with = [failure]
    attempt = _both()
    with pytest.raises(type(failure)) as caught:
        run(attempt.next(), _deps(crms))
    assert caught.value is failure
    assert CALL_ID in working.held
    assert set(attempt.checkpoint) == {working.provider}


@pytest.mark.parametrize("failing", ["hubspot", "salesforce"])
def test_a_replay_touches_only_the_crm_that_failed(crms: Crms, failing: Provider) -> None:
    broken, working = (crms.hubspot, crms.salesforce) if failing == "hubspot" else (crms.salesforce, crms.hubspot)
    broken.fails_with = [FAILURES["transient"](), FAILURES["blocked"]()]
    attempt = _both()
    for _ in range(2):
        with pytest.raises(PipelineError):
            run(attempt.next(), _deps(crms))
    completed = run(attempt.next(), _deps(crms))
    assert [record.provider for record in completed.changes.crm] == ["hubspot", "salesforce"]
    assert (broken.writes, working.writes) == (1, 1)


def test_a_crash_after_the_last_crm_writes_nothing_again(crms: Crms) -> None:
    """The runner's own commit was lost: the checkpoint says that all is there."""
    attempt = _both()
    first = run(attempt.next(), _deps(crms))
    again = run(attempt.next(), _deps(crms))
    assert again == first
    assert (crms.hubspot.writes, crms.salesforce.writes) == (1, 1)


def test_a_crm_that_was_taken_away_since_is_not_reported(crms: Crms) -> None:
    attempt = _both()
    crms.salesforce.fails_with = [FAILURES["blocked"]()]
    with pytest.raises(TenantBlocked):
        run(attempt.next(), _deps(crms))
    attempt.tenant = tenant(crm=CrmConfig(salesforce=SALESFORCE))
    completed = run(attempt.next(), _deps(crms))
    assert [record.provider for record in completed.changes.crm] == ["salesforce"]


@pytest.mark.parametrize(
    ("first", "second"),
    list(itertools.combinations(["transient", "not_ready", "deferred", "blocked", "permanent"], 2)),
)
@pytest.mark.parametrize("swapped", [False, True])
def test_of_two_failures_the_one_that_mends_soonest_is_raised(
    crms: Crms, first: str, second: str, swapped: bool
) -> None:
    """Time mends first, then a person, then nobody; whichever CRM it is."""
    sooner, later = FAILURES[first](), FAILURES[second]()
    crms.hubspot.fails_with = [later if swapped else sooner]
    crms.salesforce.fails_with = [sooner if swapped else later]
    with pytest.raises(PipelineError) as caught:
        run(_both().next(), _deps(crms))
    assert caught.value is sooner


def test_a_crm_whose_secret_is_missing_does_not_hold_up_the_other(crms: Crms) -> None:
    crms.unreachable["hubspot"] = TenantBlocked("secret_missing", "secret crm-hubspot-acme does not exist")
    with pytest.raises(TenantBlocked):
        run(_both().next(), _deps(crms))
    assert CALL_ID in crms.salesforce.held


def test_a_bug_is_not_taken_for_a_failing_crm(crms: Crms) -> None:
    crms.unreachable["hubspot"] = RuntimeError("bug")  # type: ignore[assignment]  # no PipelineError, that is the point
    with pytest.raises(RuntimeError):
        run(_both().next(), _deps(crms))


@pytest.mark.parametrize(
    ("calls", "code"),
    [([call_record()], "analysis_missing"), ([call_record(tenant_id="other-tenant")], "call_not_found")],
)
def test_nothing_to_sync_is_final(crms: Crms, calls: list[CallRecord], code: str) -> None:
    with pytest.raises(PermanentFailure) as caught:
        run(_both().next(), _deps(crms, *calls))
    assert caught.value.code == code
    assert crms.hubspot.held == {}


def test_a_crm_that_was_told_of_an_older_call_is_told_again(crms: Crms) -> None:
    """And it alone: the other one was told after the change."""
    read_at = call_record(analysis=ANALYSIS).model_copy(update={"updated_at": NOW})
    attempt = _both()
    attempt.changes.append(NotReady("call_changed", "somebody tagged it"))

    with pytest.raises(NotReady, match="tagged"):
        run(attempt.next(), _deps(crms, read_at))
    assert set(attempt.checkpoint) == {"salesforce"}

    run(attempt.next(), _deps(crms, read_at))
    assert (crms.hubspot.writes, crms.salesforce.writes) == (2, 1)
