"""A replay touches only what failed: the real CRM stage against both stand-ins, one of them down."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from schemas.calls import Provider
from schemas.events import CallAnalyzed, CallReceived
from schemas.tenant import CrmConfig, HubSpotConfig, SalesforceConfig, Tenant
from shared.gateways.calls import SpannerCalls
from shared.ports import CrmGateway
from shared.stage import CallChanges, Completed, StageContext
from stages.crm_sync.stage import CrmSyncDeps
from stages.crm_sync.stage import run as crm_sync
from tests.support.crm_calls import call_analysis
from tests.support.desk_bench import CALL, OURS, DeskBench, received
from tests.support.hubspot_portal import HubSpotHarness
from tests.support.pipeline_database import OUR_TENANT, PipelineDatabase
from tests.support.salesforce_org import SalesforceOrgs, salesforce_orgs

pytestmark = pytest.mark.emulators

BOTH = CrmConfig(
    hubspot=HubSpotConfig(token_secret="own"), salesforce=SalesforceConfig(credentials_secret="own-salesforce")
)
TENANT = OUR_TENANT.model_copy(update={"config": OUR_TENANT.config.model_copy(update={"crm_config": BOTH})})


@dataclass
class Crms:
    """Both CRMs of the one tenant."""

    hubspot: HubSpotHarness
    salesforce: SalesforceOrgs

    def for_tenant(self, tenant: Tenant, provider: Provider) -> CrmGateway:
        assert tenant.tenant_id == OURS
        return self.hubspot.gateway() if provider == "hubspot" else self.salesforce.gateway()

    def held(self) -> tuple[int, int, int, int]:
        """HubSpot's contacts and calls, Salesforce's people and tasks."""
        return (
            len(self.hubspot.persons()),
            len(self.hubspot.calls()),
            len(self.salesforce.persons()),
            len(self.salesforce.calls()),
        )


@pytest.fixture
def crms() -> Iterator[Crms]:
    with ExitStack() as stack, salesforce_orgs() as orgs:
        yield Crms(HubSpotHarness(stack), orgs)


@pytest.fixture
def bench(pipeline_database: PipelineDatabase, crms: Crms) -> DeskBench:
    """The whole chain with the real last stage; the first one goes straight on with an analysis."""
    bench = DeskBench(pipeline_database, tenants=(TENANT,))
    deps = CrmSyncDeps(crms=crms, calls=SpannerCalls(pipeline_database.open, pipeline_database.vault))
    bench.behaviours["download"] = analyzed
    bench.behaviours["crm_sync"] = lambda context: crm_sync(context, deps)
    return bench


def analyzed(context: StageContext) -> Completed:
    event = CallAnalyzed(tenant_id=OURS, request_id=context.request_id, call_id=context.call_id)
    return Completed(next_event=event, changes=CallChanges(analysis=call_analysis()))


def modified() -> CallReceived:
    """A second request of the same call."""
    return received(request_id="w-0123456789abcdef")


def take_hubspot_down(crms: Crms) -> None:
    crms.hubspot.fault("search", kind="status", status=503, times=1000)
    crms.hubspot.fault("person", kind="status", status=503, times=1000)
    crms.hubspot.fault("call", kind="status", status=503, times=1000)


def test_hubspot_down_and_salesforce_up_only_hubspot_is_asked_again(bench: DeskBench, crms: Crms) -> None:
    take_hubspot_down(crms)
    bench.receive()
    letter = bench.letter()
    assert (letter.stage, letter.state) == ("crm_sync", "open")
    assert crms.held() == (0, 0, 1, 1)
    assert bench.desk.show(OURS, letter.dead_letter_id).preview.keeps_in_stage == ("salesforce",)
    told_salesforce = crms.salesforce.state()["requests"]

    crms.hubspot.clear_faults()
    assert bench.replay(letter.dead_letter_id).remaining == 0

    assert crms.held() == (1, 1, 1, 1)
    assert crms.salesforce.state()["requests"] == told_salesforce
    assert bench.letter().state == "closed"


def test_two_letters_of_one_call_replayed_together_leave_one_record_in_each_crm(bench: DeskBench, crms: Crms) -> None:
    take_hubspot_down(crms)
    bench.receive(received(), modified())
    letters = bench.desk.list_letters(OURS, limit=10)
    assert [one.call_id for one in letters] == [CALL, CALL]

    crms.hubspot.clear_faults()
    report = bench.replay(*(one.dead_letter_id for one in letters))

    assert (report.counts, report.remaining) == ({"arrived": 2}, 0)
    assert crms.held() == (1, 1, 1, 1)


def test_a_failure_that_names_no_crm_repeats_none_that_worked(bench: DeskBench, crms: Crms) -> None:
    """A bug after the last CRM took the call: whatever the letter says, the checkpoint says what is done."""
    real = bench.behaviours["crm_sync"]

    def then_a_bug(context: StageContext) -> Completed:
        real(context)
        raise ValueError("a bug")

    bench.behaviours["crm_sync"] = then_a_bug
    bench.receive()
    letter = bench.letter()
    assert letter.reason == "internal_error"
    asked = (crms.hubspot.state()["requests"], crms.salesforce.state()["requests"])

    bench.behaviours["crm_sync"] = real
    assert bench.replay(letter.dead_letter_id).remaining == 0
    assert (crms.hubspot.state()["requests"], crms.salesforce.state()["requests"]) == asked
    assert crms.held() == (1, 1, 1, 1)


def test_a_re_run_from_the_start_upserts_what_the_crms_hold(bench: DeskBench, crms: Crms) -> None:
    take_hubspot_down(crms)
    bench.receive()
    crms.hubspot.clear_faults()
    assert bench.replay(bench.letter().dead_letter_id, from_stage="download").remaining == 0
    assert crms.held() == (1, 1, 1, 1)
